//! What a widely copied table claims of boards, beside what their memory allows.

use serde::{Deserialize, Serialize};

use super::fit::{self, Subject};
use super::predict::{self, Speed};
use super::shape::Shape;
use crate::error::Error;
use crate::quantize::Preset;

const CLAIMS: &str = include_str!("../../../fixtures/boards/guide.toml");

/// Tokens in the context: few, which favours the claims.
const N_CTX: usize = 512;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    claim: Vec<Claim>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Claim {
    board: String,
    params: f64,
    r#type: String,
    #[serde(default)]
    type_is_assumed: bool,
    claimed: [f64; 2],
}

/// A claim, in one of the board's modes, and what is to be thought of it.
#[derive(Debug, Serialize)]
pub struct Judged {
    /// The profile's name.
    pub board: String,
    /// The power mode, if the board has several.
    pub mode: Option<String>,
    /// A model of the claimed size.
    pub model: String,
    /// Its format.
    pub r#type: &'static str,
    /// Whether the table gives no format.
    pub type_is_assumed: bool,
    /// The claimed range, in tokens a second.
    pub claimed: [f64; 2],
    /// What the theoretical bandwidth allows.
    pub ceiling: Option<f64>,
    /// What is to be expected, by what engines were seen to reach there.
    pub expected: Option<Speed>,
    /// Whether it fits into the board's largest memory.
    pub fits: Option<bool>,
    /// What is to be thought of the claim.
    pub verdict: Verdict,
}

/// What is to be thought of a claim.
#[derive(Clone, Copy, Debug, Serialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The model does not fit.
    DoesNotFit,
    /// Even the low end is more than the bandwidth allows.
    Impossible,
    /// The high end is more than the bandwidth allows.
    HighEndImpossible,
    /// Even the low end is more than is to be expected.
    TooHigh,
    /// The high end is less than is to be expected.
    TooLow,
    /// The two ranges overlap.
    Plausible,
    /// The bandwidth allows it, and nobody was seen to reach anything there.
    NotExcluded,
    /// Nothing is known to judge it by.
    Unknown,
}

impl Verdict {
    /// Returns the verdict in words.
    pub const fn words(self) -> &'static str {
        match self {
            Verdict::DoesNotFit => "impossible: it does not fit into memory",
            Verdict::Impossible => "impossible: the low end is above the ceiling",
            Verdict::HighEndImpossible => "high end impossible: above the ceiling",
            Verdict::TooHigh => "too high: above what is expected",
            Verdict::TooLow => "too low: more is expected",
            Verdict::Plausible => "plausible",
            Verdict::NotExcluded => "not excluded by bandwidth; no measurement to expect it by",
            Verdict::Unknown => "unknown: the bandwidth is not known",
        }
    }
}

/// Returns every claim judged, once for each of the board's modes.
///
/// # Errors
/// [`Error::Usage`] if a claim names a board or a format that there is none of.
pub fn judge() -> Result<Vec<Judged>, Error> {
    let file: File = super::from_toml(CLAIMS).map_err(Error::Usage)?;
    let mut judged = Vec::new();
    for claim in &file.claim {
        let preset = Preset::from_name(&claim.r#type)
            .ok_or_else(|| Error::Usage(format!("{}: no such format", claim.r#type)))?;
        let board = super::find(&claim.board)?;
        let subject = Subject::typical(Shape::near(claim.params), preset);
        for mode in &board.modes {
            let profile = super::in_mode(&board, &mode.name)?;
            let fits = fit::assess(&profile, &subject, N_CTX)?.fits;
            let work = subject.work(N_CTX / 2);
            let ceiling = predict::ceiling(&profile, &work);
            let speeds = profile.processors.iter().filter_map(|processor| {
                predict::generation(&profile, processor, &work).filter(|speed| speed.low.is_some())
            });
            let expected = speeds.max_by(|a, b| a.high.total_cmp(&b.high));
            judged.push(Judged {
                board: claim.board.clone(),
                mode: (board.modes.len() > 1).then(|| mode.name.clone()),
                model: subject.name.clone(),
                r#type: subject.ty,
                type_is_assumed: claim.type_is_assumed,
                claimed: claim.claimed,
                ceiling,
                expected,
                fits,
                verdict: verdict(claim.claimed, ceiling, expected, fits),
            });
        }
    }
    Ok(judged)
}

fn verdict(
    [low, high]: [f64; 2],
    ceiling: Option<f64>,
    expected: Option<Speed>,
    fits: Option<bool>,
) -> Verdict {
    let Some(ceiling) = ceiling else { return Verdict::Unknown };
    if fits == Some(false) {
        return Verdict::DoesNotFit;
    }
    if low > ceiling {
        return Verdict::Impossible;
    }
    let expected = expected.and_then(|speed| Some((speed.low?, speed.high)));
    match expected {
        _ if high > ceiling => Verdict::HighEndImpossible,
        Some((_, most)) if low > most => Verdict::TooHigh,
        Some((least, _)) if high < least => Verdict::TooLow,
        Some(_) => Verdict::Plausible,
        None => Verdict::NotExcluded,
    }
}
