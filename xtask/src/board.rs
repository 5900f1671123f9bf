//! `cargo xtask bench --board NAME`: Bantam on a board, over ssh or emulated.
//!
//! Over ssh it is measured: accuracy, the bits of its logits, speed by threads, and the board's
//! state before and after. Without, QEMU plays the board's CPU: accuracy and bits are as real,
//! executed instructions stand for speed, and the speed that the profile predicts is called so.
//! Firmware boards run their own programs (`cargo xtask firmware`).

mod place;
mod report;
mod ssh;

use crate::bench::record;
use crate::cmd::Cmd;
use crate::context::{Context, Ran};
use crate::count;
use crate::targets::{AARCH64_LINUX, Arch, Compiler, EmulatedArm};
use crate::test::TEST_FEATURES;
use anyhow::{Context as _, Result, bail, ensure};
use place::{Place, Ssh};
use report::{Identity, Model, Report, Speed};
use serde::Deserialize;
use serde_json::Value;
pub(crate) use ssh::{check as check_ssh, has_openssh};
use std::fs;
use std::path::{Path, PathBuf};

/// What is wanted of a board.
pub(crate) struct Options<'a> {
    /// The board's name in boards/profiles.
    pub(crate) board: &'a str,
    /// `user@host`, if the board is there.
    pub(crate) ssh: Option<&'a str>,
    /// What ssh is configured by, if not by the user's own file.
    pub(crate) ssh_config: Option<&'a Path>,
    /// Models to run; the bundled one if there are none.
    pub(crate) models: &'a [PathBuf],
    /// Tokens of the prompt and tokens to generate, where time is measured.
    pub(crate) tokens: [u32; 2],
    /// What the bundled model is asked, if not [`SENTENCES`].
    pub(crate) sentences: Option<&'a Path>,
    pub(crate) json: bool,
    /// Where to keep the report, if not in [`RECORDS`].
    pub(crate) records: Option<&'a Path>,
    pub(crate) keep: bool,
}

/// What this needs of a profile; `bantam fit` reads the rest.
#[derive(Deserialize)]
struct Profile {
    title: String,
    os: String,
    target: Option<String>,
    qemu_cpu: Option<String>,
    #[serde(rename = "cluster")]
    clusters: Vec<Cluster>,
}

#[derive(Deserialize)]
struct Cluster {
    cores: usize,
}

/// Where profiles lie.
const PROFILES: &str = "boards/profiles";
/// Where the last report of each board is kept.
const RECORDS: &str = "boards/record";
/// The bundled model, and sentences with the commands that they are.
const BUNDLED: &str = "fixtures/intent/bantam-intent.Q8_0.gguf";
const SENTENCES: &str = "fixtures/intent/hand.jsonl";
/// Tokens of prompt and answer where time is none.
const EMULATED_TOKENS: [u32; 2] = [24, 6];
/// Tokens of a prompt that instructions are counted for.
const COUNTED_BATCH: u32 = 32;

/// Runs what can be run, prints it, and keeps a report.
///
/// # Errors
/// When the board is unknown, something fails to build or to run, or the board's logits or answers
/// are not this machine's.
pub(crate) fn run(cx: &Context, options: &Options<'_>) -> Result<()> {
    let profile = profile(cx, options.board)?;
    if profile.os == "none" {
        ensure!(options.ssh.is_none(), "{} has no system to log in to", profile.title);
        return crate::firmware::bench(cx, options.board);
    }
    let models = match options.models {
        [] => vec![cx.root().join(BUNDLED)],
        models => models.to_vec(),
    };
    let sentences = options.sentences.map_or_else(|| cx.root().join(SENTENCES), Path::to_owned);
    for path in models.iter().chain([&sentences]) {
        ensure!(path.is_file(), "there is no file {}", path.display());
    }
    let target = profile.target.as_deref().filter(|target| *target == AARCH64_LINUX);
    // A board that cannot be had is told of before anything is built for it.
    let there = match (options.ssh, target) {
        (Some(host), Some(target)) => Some(Ssh::log_in(host, options.ssh_config, target)?),
        _ => None,
    };
    // This machine says what is right, and is not measured: as the tests have it built will do.
    let build = ["build", "--workspace", "--features", TEST_FEATURES, "--bin", "bantam"];
    Cmd::cargo().args(build).dir(cx.root()).run()?;
    let host = Place::here(cx.target_dir().join("debug/bantam"));
    let Some(target) = target else {
        cx.not_run(format!(
            "{}: Bantam is built for {AARCH64_LINUX}, not for {}; what follows is predicted",
            options.board,
            profile.target.as_deref().unwrap_or("what it runs")
        ));
        let mut report = Report::new(cx, options.board, "predicted", None);
        for model in &models {
            report.models.push(Model::predicted(model, predict(&host, options.board, model)?));
        }
        return finish(cx, options, &report);
    };
    let Some(compiler) = Compiler::find(target) else {
        cx.not_run(format!("{}: no compiler for {target}; `cargo xtask setup`", options.board));
        return Ok(());
    };
    compiler
        .cargo_in(cx, cx.root(), "build", &[target])
        .args(["--release", "--package", "bantam"])
        .run()?;
    let program = compiler.target_dir(cx).join(target).join("release/bantam");

    let cpu = profile.qemu_cpu.as_deref().unwrap_or("max");
    let (board, how) = match there {
        Some(ssh) => (Place::by_ssh(ssh, &program)?, "measured"),
        None => {
            let Some(arm) = EmulatedArm::find(cx, Arch::of(cpu), options.board) else {
                return Ok(());
            };
            (Place::emulated(arm.emulator(cpu), &program), "emulated")
        }
    };
    let mut report = Report::new(cx, options.board, how, Some(compiler.version()?));
    report.before = board.health();
    for model in &models {
        eprintln!("{}: {}", options.board, model.display());
        report.models.push(measure(options, &host, &board, model, profile.clusters[0].cores)?);
    }
    report.accuracy = Some(accuracy(&sentences, &host, &board)?);
    if options.ssh.is_some() {
        report.after = board.health();
    } else if let Some(costs) = count::costs(cx, cpu, COUNTED_BATCH, &models)? {
        for (model, cost) in report.models.iter_mut().zip(costs) {
            model.instructions = Some(cost);
        }
    }
    finish(cx, options, &report)
}

/// Boards with a system that CI runs, emulated.
const CHECKED: [&str; 3] = ["pi5", "pi4", "jetson-orin-nano"];

/// Runs the bundled model on emulated boards, and keeps nothing.
///
/// # Errors
/// As [`run`].
pub(crate) fn check(cx: &Context) -> Result<Ran> {
    let before = cx.n_not_run();
    for board in CHECKED {
        let options = Options {
            board,
            ssh: None,
            ssh_config: None,
            models: &[],
            tokens: [0; 2],
            sentences: None,
            json: false,
            records: None,
            keep: false,
        };
        run(cx, &options)?;
    }
    Ok(if cx.n_not_run() == before { Ran::Yes } else { Ran::No })
}

/// The profile of a board.
fn profile(cx: &Context, board: &str) -> Result<Profile> {
    let dir = cx.root().join(PROFILES);
    let path = dir.join(format!("{board}.toml"));
    let Ok(text) = fs::read_to_string(&path) else {
        let names = fs::read_dir(&dir).with_context(|| format!("no {}", dir.display()))?;
        let mut names: Vec<_> = names
            .filter_map(|file| {
                let name = file.ok()?.file_name().into_string().ok()?;
                Some(name.strip_suffix(".toml")?.to_owned())
            })
            .collect();
        names.sort();
        bail!("no board is called {board:?}; there are {}", names.join(", "));
    };
    let profile: Profile =
        toml::from_str(&text).with_context(|| format!("in {}", path.display()))?;
    ensure!(!profile.clusters.is_empty(), "{} has no cluster", path.display());
    Ok(profile)
}

/// What the profile lets expect of a model.
fn predict(host: &Place, board: &str, model: &Path) -> Result<Value> {
    let model = model.to_string_lossy();
    let args = ["fit", "--json", "--board", board, "--model", &model, "--ctx", "512"];
    let fit = host.json(&args.map(str::to_owned))?;
    let speeds = fit["models"][0]["speeds"].as_array().cloned().unwrap_or_default();
    let own = speeds.into_iter().find(|speed| speed["runs_bantam"] == true);
    Ok(own.unwrap_or(Value::Null))
}

/// One model on the board, held to what this machine makes of it.
fn measure(
    options: &Options<'_>,
    host: &Place,
    board: &Place,
    model: &Path,
    cores: usize,
) -> Result<Model> {
    let mut row = Model::predicted(model, predict(host, options.board, model)?);
    let tokens = if options.ssh.is_some() { options.tokens } else { EMULATED_TOKENS };
    let bench = |place: &Place, threads: &str| {
        let model = place.take(model)?;
        let [prompt, generate] = tokens.map(|n| n.to_string());
        let args = ["bench", "--json", "-r", "1", "-p", &prompt, "-n", &generate, "-t", threads];
        let args = args.map(str::to_owned).into_iter().chain(["-m".to_owned(), model]);
        place.json(&args.collect::<Vec<_>>())
    };
    let here = Speed::all(&bench(host, "1")?)?;
    let threads = match options.ssh {
        // By twos up to the big cores.
        Some(_) => {
            let steps = (0..).map(|i| 1 << i).take_while(|n| *n < cores).chain([cores]);
            steps.map(|n: usize| n.to_string()).collect::<Vec<_>>().join(",")
        }
        None => "1".to_owned(),
    };
    let there = Speed::all(&bench(board, &threads)?)?;
    for speed in &there {
        let wanted = here.iter().find(|here| here.test == speed.test);
        let wanted = wanted.and_then(|here| here.checksum.as_deref());
        let found = speed.checksum.as_deref();
        ensure!(
            wanted.is_some() && wanted == found,
            "{}, {} with {} threads: the board's logits are {found:?}, this machine's {wanted:?}",
            model.display(),
            speed.test,
            speed.threads
        );
    }
    row.identity = Some(Identity {
        here: here.iter().map(|speed| speed.kernels.clone()).next().unwrap_or_default(),
        there: there.iter().map(|speed| speed.kernels.clone()).next().unwrap_or_default(),
        checksums: here.into_iter().filter_map(|speed| speed.checksum).collect(),
    });
    if options.ssh.is_some() {
        row.measured = there;
    }
    Ok(row)
}

/// How many of the bundled model's answers are right on the board: as many as here.
fn accuracy(sentences: &Path, host: &Place, board: &Place) -> Result<Value> {
    let ask = |place: &Place| {
        let sentences = place.take(sentences)?;
        place.json(&["intent", "--json", "--test", &sentences].map(str::to_owned))
    };
    let (here, there) = (ask(host)?, ask(board)?);
    let scores = |json: &Value| [json["right"].clone(), json["cases"].clone()];
    ensure!(
        scores(&here) == scores(&there),
        "of the answers {:?} are right on the board, {:?} here",
        scores(&there),
        scores(&here)
    );
    Ok(serde_json::json!({ "right": there["right"], "cases": there["cases"] }))
}

/// Prints a report beside the last one, and keeps it.
fn finish(cx: &Context, options: &Options<'_>, report: &Report) -> Result<()> {
    let folder = options.records.map_or_else(|| cx.root().join(RECORDS), Path::to_owned);
    let path = folder.join(format!("{}.{}.json", options.board, report.how));
    let last = fs::read_to_string(&path).ok();
    let last = last.map(|text| serde_json::from_str(&text)).transpose();
    let last = last.with_context(|| format!("in {}", path.display()))?;
    if options.json {
        println!("{:#}", serde_json::to_value(report)?);
    } else {
        report.print();
        report.print_changes(last.as_ref());
    }
    if options.keep {
        let text = format!("{:#}\n", serde_json::to_value(report)?);
        fs::create_dir_all(&folder)
            .and_then(|()| fs::write(&path, text))
            .with_context(|| format!("cannot write {}", path.display()))?;
        eprintln!("kept in {}", path.display());
    }
    Ok(())
}

impl Report {
    fn new(cx: &Context, board: &str, how: &str, compiler: Option<String>) -> Self {
        Report {
            board: board.to_owned(),
            how: how.to_owned(),
            time: record::now().0,
            commit: record::commit(cx),
            compiler,
            ..Report::default()
        }
    }
}
