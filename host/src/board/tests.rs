//! Profiles, predictions and what they are held against.

use std::fs;
use std::path::Path;

use bantam_core::model::{MemoryPlan, Model, PlanOptions};

use super::fit::{Subject, assess};
use super::guide::{self, Verdict};
use super::measured::{self, Kind, Use};
use super::predict::{self, Limit, Work};
use super::shape::{SHAPES, Shape};
use super::*;
use crate::model_file::ModelFile;
use crate::quantize::Preset;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace")
}

#[test]
fn every_profile_is_right_and_part_of_the_program() {
    for (file, text) in BUILT_IN {
        let profile = parse(text).unwrap_or_else(|what| panic!("{file}: {what}"));
        assert_eq!(format!("{}.toml", profile.name), file);
        for mode in &profile.modes {
            in_mode(&profile, &mode.name).unwrap();
        }
    }
    let files = fs::read_dir(root().join("boards/profiles")).unwrap();
    let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    assert_eq!(names.filter(|name| name.ends_with(".toml")).count(), BUILT_IN.len());
}

/// What is said of the profile of a Pi 5 with one passage replaced, and the passage's line.
fn spoilt(from: &str, to: &str) -> (String, usize) {
    let text = BUILT_IN[0].1;
    let (before, after) = text.split_once(from).unwrap_or_else(|| panic!("no {from}"));
    let what = parse(&[before, to, after].concat());
    let what = what.err().unwrap_or_else(|| panic!("{to} is accepted"));
    (what, before.matches('\n').count() + 1)
}

#[test]
fn bad_profiles_say_where_and_what() {
    for (from, to, says) in [
        ("reserved =", "reservde =", "line LINE: unknown field `reservde`"),
        ("cores = 4", "cores = 0", "cluster 1: cores: 0 is not from 1 to 1024"),
        ("cores = 4", "cores = -4", "line LINE: invalid value: integer `-4`"),
        ("cores = 4", "", "missing field `cores`"),
        ("[\"neon\"", "[\"noen\"", "line LINE: unknown variant `noen`"),
        ("value = 2400", "value = -2400", "cluster 1: mhz: -2400 is not from 1 to 10000"),
        ("value = 2400", "value = nan", "cluster 1: mhz: NaN is not from"),
        ("value = 2400, source", "valeu = 2400, source", "line LINE: unknown field `valeu`"),
        ("value = 12.4", "value = 18", "measured_gbps: 18 is more than theoretical_gbps, 17.1"),
        ("\"400 MiB\"", "\"2 GiB\"", "memory.reserved: 2 GiB leave nothing"),
        ("\"400 MiB\"", "\"400 MB\"", "line LINE: invalid value: string \"400 MB\""),
        ("\"2 GiB\", \"4 GiB\"", "\"4 GiB\", \"2 GiB\"", "memory.total: sizes are to be"),
        ("[0.52, 0.73]", "[0.73, 0.52]", "processor \"cpu\": reach: [0.73, 0.52] is no share"),
        ("[0.52, 0.73]", "[0.52, 1.73]", "processor \"cpu\": reach: [0.52, 1.73] is no share"),
        ("[0.52, 0.73]", "[0.52]", "line LINE: invalid length 1"),
        ("name = \"pi5\"", "name = \"Pi 5\"", "name: \"Pi 5\" is no name"),
        ("os = \"linux\"", "os = \"none\"", "memory.flash and memory.flash_reserved"),
        ("os = \"linux\"", "os = \"linx\"", "line LINE: unknown variant `linx`"),
        ("[[processor]]", "[[processor", "line LINE: "),
        ("[0.24, 0.29]", "[0.29, 0.24]", "instructions_per_mac: [0.29, 0.24] are not"),
        ("cycle = { value = 4,", "cycle = { value = 0,", "instructions_per_cycle: 0 is not from"),
        ("value = 11.9, source", "value = 11.9, sauce", "line LINE: unknown field `sauce`"),
    ] {
        let (what, line) = spoilt(from, to);
        let says = says.replace("LINE", &line.to_string());
        assert!(what.contains(&says), "{to}: {what}");
        assert!(!what.contains('\n'), "{what}");
    }
    let (what, _) =
        spoilt("source = \"docs.zephyrproject.org, boards/raspberrypi/rpi_5\"", "source = \" \"");
    assert!(what.contains("a figure needs a source"), "{what}");
    let two = BUILT_IN[0]
        .1
        .replace("[[mode]]", "[[mode]]\nname = \"stock\"\nwatts = \"unknown\"\n[[mode]]");
    assert_eq!(parse(&two).unwrap_err(), "mode: two are named \"stock\"; rename one");
}

#[test]
fn unknown_figures_are_allowed_and_stay_unknown() {
    let text = BUILT_IN[0].1;
    let start = text.find("theoretical_gbps").unwrap();
    let end = start + text[start..].find('\n').unwrap();
    let text = text.replace(&text[start..end], "theoretical_gbps = \"unknown\"");
    let profile = parse(&text).unwrap();
    let subject = Subject::typical(SHAPES[7], Preset::Q4_0);
    let fit = assess(&profile, &subject, 4096).unwrap();
    assert_eq!(fit.speeds[0].generation, None);
    assert_eq!(fit.speeds[0].limit, None);
    assert!(fit.speeds[0].prompt.is_some());
    assert_eq!(fit.fits, Some(true));
}

#[test]
fn modes_replace_what_they_name() {
    let board = find("jetson-orin-nano").unwrap();
    let stock = in_mode(&board, "stock").unwrap();
    let faster = in_mode(&board, "super").unwrap();
    assert_eq!(stock.memory.theoretical_gbps.value(), Some(&68.0));
    assert_eq!(faster.memory.theoretical_gbps.value(), Some(&102.0));
    assert_eq!(faster.clusters[0].mhz.value(), Some(&1700.0));
    let [cpu, gpu] = faster.processors.as_slice() else { panic!("two processors") };
    assert_eq!(faster.peak_gmacs(cpu), Some(6.0 * 1.7 * 32.0));
    assert_eq!(faster.peak_gmacs(gpu), Some(16750.0));
    let error = in_mode(&board, "turbo").unwrap_err().to_string();
    assert!(error.contains("there are: stock, super"), "{error}");
}

/// A token's time is reading at the reach, plus layers; never less than its products take.
#[test]
fn speeds_are_what_the_formula_says() {
    let near = |a: f64, b: f64| (a / b - 1.0).abs() < 1e-9;
    let board = find("jetson-orin-nano").unwrap();
    let gpu = &board.processors[1];
    let work = Work {
        read_bytes: 4e9,
        prompt_macs: 7e9,
        generation_macs: 7e9,
        n_layer: 32,
        is_float: false,
    };
    let speed = predict::generation(&board, gpu, &work).unwrap();
    assert!(near(speed.high, 1.0 / (4e9 / (0.92 * 68e9) + 32.0 * 120e-6)));
    assert!(near(speed.low.unwrap(), 1.0 / (4e9 / (0.81 * 68e9) + 32.0 * 120e-6)));
    assert_eq!(speed.limit, Limit::Bandwidth);
    let tiny = Work { read_bytes: 1e7, ..work };
    assert_eq!(predict::generation(&board, gpu, &tiny).unwrap().limit, Limit::Layers);

    let board = find("pi5").unwrap();
    let cpu = &board.processors[0];
    let dense = Work {
        read_bytes: 4e6,
        prompt_macs: 3.072e9,
        generation_macs: 3.2e9,
        n_layer: 1,
        is_float: false,
    };
    let speed = predict::generation(&board, cpu, &dense).unwrap();
    assert_eq!(speed.limit, Limit::Compute);
    assert!(near(speed.high, 100.0));
    let prompt = predict::prompt(&board, cpu, &dense).unwrap();
    assert!(near(prompt.low.unwrap(), 14.0) && near(prompt.high, 22.0));
    assert_eq!(predict::prompt(&board, cpu, &Work { is_float: true, ..dense }), None);
    // Nobody was seen to reach anything: only the bound remains.
    let board = find("macbook-m3pro").unwrap();
    let speed = predict::generation(&board, &board.processors[0], &work).unwrap();
    assert_eq!((speed.low, speed.middle()), (None, None));
    assert!(near(speed.high, 150e9 / 4e9));
}

/// What the caches hold is bound by one core's instructions, and nothing larger is.
#[test]
fn a_model_in_the_caches_is_bound_by_instructions() {
    let near = |a: f64, b: f64| (a / b - 1.0).abs() < 1e-9;
    let board = find("pi5").unwrap();
    let cpu = &board.processors[0];
    let fits = 2560.0 * 1024.0;
    let work = Work {
        read_bytes: fits,
        prompt_macs: 1.5e6,
        generation_macs: 2e6,
        n_layer: 5,
        is_float: false,
    };
    let speed = predict::generation(&board, cpu, &work).unwrap();
    assert_eq!(speed.limit, Limit::Instructions);
    assert!(near(speed.low.unwrap(), 2.4e9 / (0.29 * 2e6)));
    assert!(near(speed.high, 4.0 * 2.4e9 / (0.24 * 2e6)));
    for other in [Work { read_bytes: fits + 1.0, ..work }, Work { is_float: true, ..work }] {
        assert_eq!(predict::generation(&board, cpu, &other).unwrap().limit, Limit::Bandwidth);
    }
    // Without one of the figures memory is what is left to go by.
    let mut unknown = board.clone();
    unknown.clusters[0].instructions_per_cycle = None;
    assert_eq!(predict::generation(&unknown, cpu, &work).unwrap().limit, Limit::Bandwidth);
}

/// Published parameter counts, in 10⁹.
#[test]
fn shapes_have_the_sizes_of_their_models() {
    let published = [
        ("SmolLM2 135M", 0.1345),
        ("SmolLM2 360M", 0.3618),
        ("Qwen2.5 0.5B", 0.494),
        ("Llama 3.2 1B", 1.236),
        ("Qwen2.5 1.5B", 1.544),
        ("Llama 3.2 3B", 3.213),
        ("Qwen2.5 7B", 7.616),
        ("Llama 3.1 8B", 8.030),
        ("Llama 2 13B", 13.016),
        ("Qwen2.5 32B", 32.76),
        ("Llama 3.1 70B", 70.55),
    ];
    for (like, billions) in published {
        let shape = SHAPES.iter().find(|shape| shape.like == like).unwrap();
        let ratio = shape.n_params() as f64 / (billions * 1e9);
        assert!((ratio - 1.0).abs() < 0.003, "{like}: {ratio}");
    }
    assert_eq!(Subject::typical(Shape::near(7e9), Preset::Q4_0).name, "Qwen2.5 7B");
    let scaled = Subject::typical(Shape::near(4.5e9), Preset::Q4_0).name;
    assert!(scaled.ends_with("like a scaled Llama 3.2 3B"), "{scaled}");
    for exponent in 0..=73 {
        let n_params = 1e5 * 10f64.powf(f64::from(exponent) / 10.0);
        let ratio = Shape::near(n_params).n_params() as f64 / n_params;
        assert!((0.7..=1.4).contains(&ratio), "{n_params:.0}: {ratio}");
    }
}

/// The estimate for a shape beside the exact plan of a model that has it.
#[test]
fn estimates_of_memory_are_near_the_plan() {
    let file = ModelFile::open(&root().join("fixtures/models/llama.gguf")).unwrap();
    let gguf = file.gguf().unwrap();
    let mut config = *Model::new(&gguf).unwrap().config();
    for shape in SHAPES {
        config.n_layer = shape.n_layer;
        config.n_embd = shape.n_embd;
        config.n_ff = shape.n_ff;
        config.n_head = shape.n_head;
        config.n_head_kv = shape.n_head_kv;
        config.head_dim = shape.head_dim;
        config.rope_dim = shape.head_dim;
        config.n_vocab = shape.n_vocab;
        for (n_ctx, n_batch) in [(4096, 512), (128, 8)] {
            let options = PlanOptions { n_batch, ..PlanOptions::new(n_ctx) };
            let plan = MemoryPlan::new(&config, &options).unwrap();
            let kv = shape.kv_bytes_per_position() * n_ctx as u64;
            let estimate = kv + shape.scratch_bytes(n_batch);
            let ratio = estimate as f64 / plan.bytes() as f64;
            assert!((0.9..=1.1).contains(&ratio), "{} at {n_ctx}: {ratio}", shape.like);
        }
    }
}

#[test]
fn the_largest_context_is_the_last_that_fits() {
    let board = find("pi4").unwrap();
    let subject = Subject::typical(SHAPES[7], Preset::Q4_0);
    let report = assess(&board, &subject, 4096).unwrap();
    // 1 GiB does not hold the weights; 4 and 8 hold them.
    assert_eq!(report.memory[0].largest_ctx, None);
    let four = &report.memory[2];
    let largest = four.largest_ctx.unwrap();
    let fits_at = |n_ctx| assess(&board, &subject, n_ctx).unwrap().memory[2].fits;
    assert!(fits_at(largest) && !fits_at(largest + 1), "{largest}");
}

#[test]
fn what_does_not_fit_is_bound_by_memory_and_has_no_speed() {
    let board = find("rp2350").unwrap();
    let report = assess(&board, &Subject::typical(SHAPES[1], Preset::Q4_0), 128).unwrap();
    assert_eq!((report.fits_in_flash, report.fits), (Some(false), Some(false)));
    assert_eq!(report.speeds[0].limit, Some(Limit::Memory));
    assert_eq!(report.speeds[0].generation, None);
    // Weights stay in flash: only the rest has to fit into RAM.
    let report = assess(&board, &Subject::typical(SHAPES[0], Preset::Q8_0), 128).unwrap();
    assert_eq!(report.fits, Some(true));
    assert_eq!(report.needed_bytes, report.kv_bytes + report.scratch_bytes);
}

/// Predictions may be off by no more than was asked for.
#[test]
fn predictions_agree_with_published_measurements() {
    let rows = measured::check().unwrap();
    for row in &rows {
        assert_eq!(row.row.r#use == Use::LeftOut, row.row.why.is_some(), "{:?}", row.row);
        assert!(!row.row.source.is_empty() && ["A", "B"].contains(&row.row.trust.as_str()));
        let counts = row.row.r#use != Use::LeftOut;
        assert!(!counts || row.error.is_some(), "not predicted: {:?}", row.row);
    }
    for kind in [Kind::Generation, Kind::Prompt] {
        let all = measured::summary(measured::counted(&rows, kind)).unwrap();
        let checking = measured::summary(measured::checking(&rows, kind)).unwrap();
        for summary in [all, checking] {
            assert!(summary.median_error <= measured::MEDIAN_ERROR, "{kind:?}: {summary:?}");
            assert!(summary.largest_error <= measured::MOST_ERROR, "{kind:?}: {summary:?}");
        }
    }
    let n_checking = measured::checking(&rows, Kind::Generation).count();
    assert!(n_checking >= 12, "{n_checking} rows of generation that set nothing");
}

#[test]
fn claims_of_the_guide_are_judged_by_bandwidth() {
    let verdicts: Vec<_> = guide::judge()
        .unwrap()
        .into_iter()
        .map(|row| (row.board, row.mode.unwrap_or_default(), row.verdict))
        .collect();
    let expected = [
        ("pi5", "", Verdict::TooLow),
        ("jetson-orin-nano", "stock", Verdict::Impossible),
        ("jetson-orin-nano", "super", Verdict::HighEndImpossible),
        ("iphone15pro", "", Verdict::NotExcluded),
        ("pixel9", "", Verdict::HighEndImpossible),
        ("macbook-m3pro", "", Verdict::Impossible),
        ("a100", "", Verdict::DoesNotFit),
    ];
    let expected = expected.map(|(board, mode, verdict)| (board.into(), mode.into(), verdict));
    assert_eq!(verdicts, expected);
}
