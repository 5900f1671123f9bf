//! `bantam fit` and `bantam doctor`.

use serde_json::Value;

use crate::common::{Ran, root, run};

fn json(args: &[&str]) -> Value {
    serde_json::from_str(&run(args).ok()).expect("JSON")
}

/// It failed with this exit code, and its one line says all of this.
#[track_caller]
fn fails(ran: &Ran, code: i32, says: &[&str]) {
    let line = ran.failed(code);
    for says in says {
        assert!(line.contains(says), "no {says:?} in {line}");
    }
}

fn tiny() -> String {
    root().join("fixtures/models/llama-q4_0.gguf").to_str().expect("text").into()
}

#[test]
fn a_model_on_a_board() {
    let report = json(&["fit", "--board", "pi5", "--params", "1.5B", "--type", "q4_0", "--json"]);
    assert_eq!(report["board"]["name"], "pi5");
    let model = &report["models"][0];
    assert_eq!((&model["model"], &model["type"]), (&"Qwen2.5 1.5B".into(), &"Q4_0".into()));
    assert_eq!(model["fits"], true);
    assert_eq!(model["memory"].as_array().expect("sizes").len(), 4);
    let cpu = &model["speeds"][0];
    assert_eq!((&cpu["processor"], &cpu["limit"]), (&"cpu".into(), &"bandwidth".into()));
    let (low, high) = (&cpu["generation"]["low"], &cpu["generation"]["high"]);
    assert!(low.as_f64().expect("low") > 8.0 && high.as_f64().expect("high") < 14.0, "{cpu}");

    let text = run(&["fit", "--board", "pi5", "--params", "1.5B", "--type", "Q4_0"]).ok();
    assert!(text.contains("bound by bandwidth") && text.contains("largest context"), "{text}");
    let text = run(&["fit", "--board", "pi4", "--params", "70B"]).ok();
    assert!(text.contains("bound by memory") && text.contains("does not fit"), "{text}");
}

/// Of a file, memory is what `inspect` says it is.
#[test]
fn a_file_has_its_exact_plan() {
    let model = tiny();
    let inspected = json(&["inspect", &model, "--json", "--ctx", "64"]);
    let plan = &inspected["memory"];
    let report = json(&["fit", "--board", "pi4", "-m", &model, "--ctx", "64", "--json"]);
    let fit = &report["models"][0];
    assert_eq!(fit["is_estimate"], false);
    let sum =
        fit["kv_bytes"].as_u64().expect("bytes") + fit["scratch_bytes"].as_u64().expect("bytes");
    assert_eq!(Some(sum), plan["total_bytes"].as_u64());
    assert_eq!(fit["weights_bytes"], plan["mapped_bytes"]);
}

#[test]
fn modes_tables_and_lists() {
    let speed = |mode: &str| {
        let report = json(&[
            "fit",
            "--board",
            "jetson-orin-nano",
            "--mode",
            mode,
            "--params",
            "7B",
            "--json",
        ]);
        report["models"][0]["speeds"][1]["generation"]["high"].as_f64().expect("a speed")
    };
    assert!(speed("super") > 1.3 * speed("stock"));
    let boards = json(&["fit", "--list", "--json"]);
    assert_eq!(boards.as_array().expect("boards").len(), 14);
    for board in boards.as_array().expect("boards") {
        let name = board["name"].as_str().expect("a name");
        let table = json(&["fit", "--board", name, "--json"]);
        assert!(table["models"].as_array().expect("models").len() >= 8, "{name}");
        assert!(run(&["fit", "--board", name]).ok().contains("generation"), "{name}");
    }
}

#[test]
fn the_guide_and_the_measurements() {
    let guide = run(&["fit", "--guide"]).ok();
    assert!(guide.contains("too low") && guide.contains("does not fit into memory"), "{guide}");
    assert_eq!(json(&["fit", "--guide", "--json"]).as_array().expect("rows").len(), 7);
    let check = json(&["fit", "--check", "--json"]);
    assert!(check["generation"]["n_rows"].as_u64() >= Some(12), "{}", check["generation"]);
    assert!(run(&["fit", "--check"]).ok().contains("median error"));
}

#[test]
fn a_board_of_ones_own_and_what_can_be_wrong_with_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("mine.toml");
    let path = file.to_str().expect("text");
    let text = std::fs::read_to_string(root().join("boards/profiles/pi5.toml")).expect("a profile");
    let with = |from: &str, to: &str| -> Ran {
        std::fs::write(&file, text.replace(from, to)).expect("written");
        run(&["fit", "--board-file", path, "--params", "1B"])
    };
    assert!(with("\"pi5\"", "\"mine\"").ok().contains("(mine)"));
    fails(&with("cores = 4", "cores = 0"), 4, &[path, "cluster 1: cores: 0 is not from 1 to 1024"]);
    fails(&with("mhz =", "mzh ="), 4, &[path, "line ", "unknown field `mzh`"]);
    fails(&with("value = 12.4", "value = 21"), 4, &[path, "measured_gbps: 21 is more than"]);
    let none = folder.path().join("none.toml");
    fails(&run(&["fit", "--board-file", none.to_str().expect("text")]), 4, &["no such file"]);
    std::fs::write(&file, [0xff, 0xfe]).expect("written");
    fails(&run(&["fit", "--board-file", path]), 4, &["not text"]);
}

#[test]
fn wrong_command_lines_say_what_there_is() {
    fails(&run(&["fit", "--board", "pi6"]), 2, &["no such board", "pi5", "--board-file"]);
    fails(&run(&["fit", "--board", "jetson-orin-nano", "--mode", "turbo"]), 2, &["stock, super"]);
    fails(&run(&["fit", "--board", "rp2350", "--mode", "turbo"]), 2, &["it has no modes"]);
    for (args, says) in [
        (&["fit"][..], "--board"),
        (&["fit", "--board", "pi5", "--params", "big"], "not a number of parameters"),
        (&["fit", "--board", "pi5", "--params", "5"], "not a number of parameters"),
        (&["fit", "--board", "pi5", "--params", "é"], "not a number of parameters"),
        (&["fit", "--board", "pi5", "--params", "1B", "--type", "Q9"], "there are: Q4_0"),
        (&["fit", "--board", "pi5", "--type", "Q4_0"], "--params"),
        (&["fit", "--board", "pi5", "--list"], "cannot be used with"),
    ] {
        let ran = run(args);
        assert_eq!(ran.code, 2, "{args:?}: {ran:?}");
        assert!(ran.stderr.contains(says), "{args:?}: {ran:?}");
    }
    fails(&run(&["fit", "--board", "pi5", "-m", "/proc/nonexistent"]), 4, &["no such file"]);
}

/// Figures of this machine are whatever they are, but there are some.
#[test]
fn this_machine_is_measured() {
    let report = json(&["doctor", "--json", "-t", "1"]);
    let limits = &report["limits"];
    assert!(limits["int8_peak_gmacs"].as_f64().is_none_or(|peak| peak > 0.1), "{limits}");
    assert!(limits["read_gbps"].as_f64().is_none_or(|read| read > 0.1), "{limits}");
    let sets = report["kernels_available"].as_array().expect("sets");
    assert!(sets.contains(&report["kernels"]), "{report}");
    assert!(report["system"]["memory"]["total"].as_u64() > Some(0), "{report}");
    let text = run(&["doctor", "--no-measure"]).ok();
    assert!(text.contains("kernels") && text.contains("not measured"), "{text}");
}
