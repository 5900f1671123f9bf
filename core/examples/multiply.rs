//! Multiplies one matrix with the activations of one token or more, so many times that what is counted or
//! measured of it is the kernel.
//!
//! ```text
//! cargo run --release -p bantam-core --features std --example multiply -- best Q4_0 256 1024 3
//! ```
//!
//! The arguments are a kernel set, a format, rows, columns, and how often; then, if it is not one,
//! the number of tokens. `cargo xtask count --products` takes the difference of two runs, `cargo
//! xtask mca` finds the loop in which most of one is spent.

use bantam_core::kernels::{ActGroup, Acts, KernelSet, Product};
use bantam_core::par::Serial;
use bantam_core::quant::{Activation, GgmlType};
use bantam_core::rng::Rng;
use bantam_core::tensor::TensorView;
use std::error::Error;

const USAGE: &str = "usage: multiply KERNELS FORMAT ROWS COLUMNS TIMES [TOKENS]";

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (args, tokens) = match args.split_last() {
        Some((tokens, args)) if args.len() == 5 => (args, tokens.parse()?),
        _ => (&args[..], 1usize),
    };
    let [kernels, format, rows, cols, times] = args else {
        return Err(USAGE.into());
    };
    let set = match &**kernels {
        "best" => KernelSet::best(),
        name => KernelSet::by_name(name).ok_or_else(|| format!("no kernel set {name} here"))?,
    };
    let ty = GgmlType::from_name(format).ok_or_else(|| format!("no format {format}"))?;
    let (rows, cols): (usize, usize) = (rows.parse()?, cols.parse()?);

    // Any bytes are weights. Activations are of one size, so that none rounds to zero.
    let mut rng = Rng::new(1);
    let bytes = ty.row_bytes(cols).ok_or("a row has whole blocks only")? * rows;
    let bytes: Vec<u8> = (0..bytes).map(|_| rng.next_u64() as u8).collect();
    let weights = TensorView::new(ty, cols, rows, &bytes)?;
    let x: Vec<f32> = (0..tokens * cols).map(|_| rng.next_f32() - 0.5).collect();
    let (mut qs, mut groups) =
        (vec![0; x.len()], vec![ActGroup::default(); x.len() / ActGroup::LEN]);
    set.quantize(&x, &mut qs, &mut groups);
    let acts = match ty.activation() {
        Activation::F32 => Acts::floats(&x, tokens, cols),
        Activation::Q8 => Acts::quantized(&qs, &groups, tokens, cols),
    };
    let acts = acts.ok_or("a row has whole groups of 32 only")?;

    let mut out = vec![0.0; tokens * rows];
    for _ in 0..times.parse()? {
        let product = Product::new(weights, std::hint::black_box(&mut out));
        set.matmul(&Serial, acts, &mut [product]);
    }
    std::hint::black_box(&out);
    println!("{}", set.name());
    Ok(())
}
