//! Predictions held against what others measured: `fixtures/boards/measured.toml`, whose README
//! says how rows were chosen.

use serde::{Deserialize, Serialize};

use super::predict::{self, Work};
use crate::error::Error;

const ROWS: &str = include_str!("../../../fixtures/boards/measured.toml");

/// Errors of generation that count are to be no larger, and their median no larger than the other.
pub const MOST_ERROR: f64 = 0.40;
/// See [`MOST_ERROR`].
pub const MEDIAN_ERROR: f64 = 0.20;

/// A speed that somebody measured and published.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// The profile's name.
    pub board: String,
    /// The power mode; the first one if absent.
    pub mode: Option<String>,
    /// The processor's name.
    pub processor: String,
    /// What was measured.
    pub kind: Kind,
    /// The model and its format.
    pub model: String,
    /// With what, and its settings.
    pub engine: String,
    /// Tokens a second.
    pub tokens_per_second: f64,
    /// 10⁹ bytes that a generated token reads.
    pub gb_per_token: Option<f64>,
    /// 10⁹ multiplications with addition that a token of a prompt takes.
    pub gmacs_per_token: Option<f64>,
    /// Layers; needed where a layer has a cost of its own.
    pub n_layer: Option<usize>,
    /// How the bytes follow from the model and its format.
    pub bytes_are: Option<String>,
    /// Whether it counts.
    pub r#use: Use,
    /// Why it does not.
    pub why: Option<String>,
    /// Where it was published.
    pub source: String,
    /// How far that is trusted: A or B.
    pub trust: String,
}

/// What was measured.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "they are names")]
pub enum Kind {
    Generation,
    Prompt,
}

/// What a row is for.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
pub enum Use {
    /// A profile's figure was taken from it.
    #[serde(rename = "sets")]
    Sets,
    /// It only checks predictions.
    #[serde(rename = "checks")]
    Checks,
    /// It does not count.
    #[serde(rename = "left out")]
    LeftOut,
}

impl Use {
    /// Returns its name, as in the file.
    pub const fn name(self) -> &'static str {
        match self {
            Use::Sets => "sets",
            Use::Checks => "checks",
            Use::LeftOut => "left out",
        }
    }
}

/// A row and its prediction.
#[derive(Debug, Serialize)]
pub struct Checked {
    /// What was measured.
    #[serde(flatten)]
    pub row: Row,
    /// The middle of the predicted range; `None` if it cannot be predicted.
    pub predicted: Option<f64>,
    /// How much more that is than what was measured, as a share of it.
    pub error: Option<f64>,
}

/// How far off predictions of some rows are.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Summary {
    /// How many.
    pub n_rows: usize,
    /// The middle one of their errors' sizes.
    pub median_error: f64,
    /// The largest of them.
    pub largest_error: f64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    row: Vec<Row>,
}

/// Returns every row with its prediction.
///
/// # Errors
/// [`Error::Usage`] if a row names a board that there is none of.
pub fn check() -> Result<Vec<Checked>, Error> {
    let file: File = super::from_toml(ROWS).map_err(Error::Usage)?;
    file.row
        .into_iter()
        .map(|row| {
            let predicted = predict(&row)?;
            let error = predicted.map(|predicted| predicted / row.tokens_per_second - 1.0);
            Ok(Checked { row, predicted, error })
        })
        .collect()
}

fn predict(row: &Row) -> Result<Option<f64>, Error> {
    let profile = super::find(&row.board)?;
    let profile = match &row.mode {
        Some(mode) => super::in_mode(&profile, mode)?,
        None => profile,
    };
    let Some(processor) = profile.processors.iter().find(|p| p.name == row.processor) else {
        return Ok(None);
    };
    let work = Work {
        read_bytes: row.gb_per_token.unwrap_or(0.0) * 1e9,
        prompt_macs: row.gmacs_per_token.unwrap_or(0.0) * 1e9,
        // Rows do not tell of the head; of none do caches hold the model, where it would count.
        generation_macs: row.gmacs_per_token.unwrap_or(0.0) * 1e9,
        n_layer: row.n_layer.unwrap_or(0),
        is_float: false,
    };
    let speed = match (row.kind, row.gb_per_token, row.gmacs_per_token) {
        (Kind::Generation, Some(_), _) => predict::generation(&profile, processor, &work),
        (Kind::Prompt, _, Some(_)) => predict::prompt(&profile, processor, &work),
        _ => None,
    };
    Ok(speed.and_then(|speed| speed.middle()))
}

/// Returns the rows of one kind that count.
pub fn counted(rows: &[Checked], kind: Kind) -> impl Iterator<Item = &Checked> {
    rows.iter().filter(move |row| row.row.kind == kind && row.row.r#use != Use::LeftOut)
}

/// Returns those of them that no figure of a profile was taken from.
pub fn checking(rows: &[Checked], kind: Kind) -> impl Iterator<Item = &Checked> {
    counted(rows, kind).filter(|row| row.row.r#use == Use::Checks)
}

/// Returns the summary of some rows, or `None` if there is none.
pub fn summary<'r>(rows: impl Iterator<Item = &'r Checked>) -> Option<Summary> {
    let mut errors: Vec<f64> = rows.filter_map(|row| row.error).map(f64::abs).collect();
    errors.sort_by(f64::total_cmp);
    let (n_rows, &largest_error) = (errors.len(), errors.last()?);
    // Of an even number the larger one of the two in the middle: nothing is made to look better.
    let median_error = errors.get(n_rows / 2).copied()?;
    Some(Summary { n_rows, median_error, largest_error })
}
