//! How far the weights of two quantizations of a model are from the model's own, tensor by tensor.
//!
//! `cargo xtask quant-error` makes the two with `bantam quantize` and `llama-quantize` and starts
//! this. Squared errors are summed three ways: as they are; by the importance of their columns, if
//! an imatrix has it; and by what GGML's quantizer for the format counts them by, which is what its
//! search and ours make small. The exit code is 1 if by this rule the first file's error is the
//! larger one anywhere; the other sums show what that costs or gains by other measures.

use std::path::PathBuf;
use std::process::ExitCode;

use bantam::Error;
use bantam::imatrix::Importance;
use bantam::model_file::ModelFile;
use bantam_core::gguf::TensorInfo;
use bantam_core::quant::{GgmlType, dequantize_row};
use clap::Parser;
use serde_json::{Value, json};

#[derive(Parser)]
struct Args {
    /// The model that both were made from
    source: PathBuf,
    /// The quantization that is to be as near
    ours: PathBuf,
    /// The one that it is held against
    theirs: PathBuf,
    /// What both were made with
    #[arg(long)]
    imatrix: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// The sums of a file's squared errors: plain, by importance, by GGML's rule.
type Sums = [f64; 3];

const NAMES: [&str; 3] = ["plain", "importance", "rule"];
const PLAIN: usize = 0;
const IMPORTANCE: usize = 1;
const RULE: usize = 2;

struct Row<'a> {
    name: &'a str,
    ty: GgmlType,
    has_importance: bool,
    ours: Sums,
    theirs: Sums,
}

impl Row<'_> {
    fn ratio(&self, by: usize) -> f64 {
        // Files that are both exact are as good as each other.
        if self.ours[by] == self.theirs[by] { 1.0 } else { self.ours[by] / self.theirs[by] }
    }

    /// Which sum the weights' users would count.
    fn main(&self) -> usize {
        if self.has_importance { IMPORTANCE } else { PLAIN }
    }

    fn as_json(&self) -> Value {
        let sums =
            (0..NAMES.len()).filter(|&by| by != IMPORTANCE || self.has_importance).map(|by| {
                let (ours, theirs) = (self.ours[by], self.theirs[by]);
                (NAMES[by].into(), json!({"ours": ours, "theirs": theirs, "ratio": self.ratio(by)}))
            });
        json!({"tensor": self.name, "type": self.ty.name(), "errors": Value::Object(sums.collect())})
    }
}

fn main() -> ExitCode {
    let args = Args::parse();
    match run(&args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}

/// Prints the errors and returns whether the first file is as near everywhere, by GGML's rule.
fn run(args: &Args) -> Result<bool, Error> {
    let source = ModelFile::open(&args.source)?;
    let [ours, theirs] = [ModelFile::open(&args.ours)?, ModelFile::open(&args.theirs)?];
    let (originals, files) = (source.gguf()?, [(&ours, ours.gguf()?), (&theirs, theirs.gguf()?)]);
    let importance = args.imatrix.as_deref().map(Importance::read).transpose()?;
    let mut rows = Vec::new();
    for tensor in originals.tensors() {
        let [mut ours, mut theirs] = [None, None];
        for ((file, gguf), found) in files.iter().zip([&mut ours, &mut theirs]) {
            let same = gguf.tensor(tensor.name).filter(|other| other.dims == tensor.dims);
            *found = Some(same.ok_or_else(|| {
                file.model_error(format_args!("it has no {} of the model's shape", tensor.name))
            })?);
        }
        let (Some(ours), Some(theirs)) = (ours, theirs) else { continue };
        if ours.ty != theirs.ty {
            let (name, theirs) = (tensor.name, theirs.ty);
            return Err(files[0]
                .0
                .model_error(format_args!("{name} is {}, not {theirs}", ours.ty)));
        }
        if ours.ty.block_elems() > 1 {
            let [n_cols, _, n_experts, _] = tensor.dims;
            let importance = importance.as_ref().and_then(|all| all.of(tensor.name));
            let importance = importance.filter(|all| all.len() as u64 == n_cols * n_experts);
            let [ours_sums, theirs_sums] =
                [&ours, &theirs].map(|quantized| errors(&tensor, quantized, importance));
            rows.push(Row {
                name: tensor.name,
                ty: ours.ty,
                has_importance: importance.is_some(),
                ours: ours_sums,
                theirs: theirs_sums,
            });
        }
    }
    let ratios = rows.iter().map(|row| [row.main(), PLAIN, RULE].map(|by| row.ratio(by)));
    let [main, plain, rule] = ratios
        .reduce(|[a, b, c], [d, e, f]| [a.max(d), b.max(e), c.max(f)])
        .ok_or_else(|| ours.model_error("it has no quantized tensors"))?;
    if args.json {
        let tensors: Vec<_> = rows.iter().map(Row::as_json).collect();
        let worst = json!({"error": main, "plain": plain, "rule": rule});
        println!("{:#}", json!({"tensors": tensors, "worst_ratios": worst}));
    } else {
        println!("{:<28} type       ours       theirs  ratio    plain    rule", "tensor");
        for row in &rows {
            let by = row.main();
            let [main, plain, rule] = [by, PLAIN, RULE].map(|by| row.ratio(by));
            let (name, ty, ours, theirs) = (row.name, row.ty, row.ours[by], row.theirs[by]);
            println!(
                "{name:<28} {:<5} {ours:10.4e} {theirs:12.4e} {main:7.4} {plain:7.4} {rule:7.4}",
                ty.name()
            );
        }
        println!("worst of {:<51} {main:7.4} {plain:7.4} {rule:7.4}", rows.len());
    }
    Ok(rule <= 1.0)
}

/// The sums of a tensor's squared errors.
fn errors(source: &TensorInfo<'_>, quantized: &TensorInfo<'_>, importance: Option<&[f32]>) -> Sums {
    let n_cols = source.view.n_cols();
    let (mut x, mut y) = (vec![0.0; n_cols], vec![0.0; n_cols]);
    let mut sums = [0.0; 3];
    for i in 0..source.view.n_rows() {
        for (tensor, floats) in [(source, &mut x), (quantized, &mut y)] {
            let row = tensor.view.row(i).unwrap_or_default();
            dequantize_row(tensor.ty, row, floats).expect("a view's rows are whole");
        }
        // Experts follow one another, as their importance does.
        let expert = i / source.dims[1] as usize * n_cols;
        let importance = importance.and_then(|all| all.get(expert..expert + n_cols));
        let rule = rule(quantized.ty, &x, importance);
        for (i, (x, y)) in x.iter().zip(&y).enumerate() {
            let off = (f64::from(*x) - f64::from(*y)).powi(2);
            sums[PLAIN] += off;
            sums[IMPORTANCE] += off * importance.map_or(0.0, |all| f64::from(all[i]));
            sums[RULE] += off * rule[i];
        }
    }
    sums
}

/// What GGML's quantizer counts the squared errors of a row by; 1 where it does not search.
fn rule(ty: GgmlType, x: &[f32], importance: Option<&[f32]>) -> Vec<f64> {
    let square = |x: &f32| f64::from(*x) * f64::from(*x);
    let mean_square = |x: &[f32]| x.iter().map(square).sum::<f64>() / x.len() as f64;
    let by_size = |extra: f64, group: usize, importance: &[f32]| {
        let groups = x.chunks(group).zip(importance.chunks(group));
        let weigh = |(x, importance): (&[f32], &[f32])| {
            let extra = extra * mean_square(x);
            let each = x.iter().zip(importance);
            each.map(|(x, w)| f64::from(*w) * (extra + square(x)).sqrt()).collect::<Vec<_>>()
        };
        groups.flat_map(weigh).collect()
    };
    match (ty, importance) {
        (GgmlType::Q4_K | GgmlType::Q5_K, Some(importance)) => by_size(2.0, 256, importance),
        (GgmlType::Q6_K, Some(importance)) => importance.iter().copied().map(f64::from).collect(),
        (GgmlType::Q4_0 | GgmlType::Q4_1 | GgmlType::Q5_0 | GgmlType::Q5_1, Some(importance)) => {
            by_size(1.0, x.len(), importance)
        }
        (GgmlType::Q4_K | GgmlType::Q5_K, None) => {
            let weigh = |x: &[f32]| {
                let root = mean_square(x).sqrt();
                x.iter().map(|x| root + f64::from(x.abs())).collect::<Vec<_>>()
            };
            x.chunks(32).flat_map(weigh).collect()
        }
        (GgmlType::Q6_K, None) => x.iter().map(square).collect(),
        _ => vec![1.0; x.len()],
    }
}
