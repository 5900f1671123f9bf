//! `cargo xtask layers`: who may import whom in core, where unsafe may stand, how long a file
//! may grow.
//!
//! The order keeps each part testable alone and a board's build small: `gguf` never sees
//! `kernels`, `kernels` never sees `gguf` or `model`, tokenizer and model meet in the caller.

use crate::context::{Context, Ran};
use crate::source::{self, Source, is_word};
use anyhow::{Context as _, Result, bail};
use std::fs;
use std::path::Path;

/// Modules of core, lowest first, and the modules each may name. Names under `#[cfg(test)]` are
/// free. A module without a row is an error: its place is to be decided, not guessed.
const LAYERS: &[(&str, &[&str])] = &[
    // 0: no knowledge of models
    ("math", &[]),
    ("half", &[]),
    ("rng", &[]),
    ("par", &[]),
    ("arena", &[]),
    // 1: formats of blocks
    ("quant", &["half", "math"]),
    // 2: rows of blocks, and arithmetic on them
    ("tensor", &["quant", "half"]),
    ("kernels", &["tensor", "quant", "par", "half", "math", "rng"]),
    // 3: the file; operations on slices
    ("gguf", &["tensor", "quant", "half"]),
    ("cache", &["kernels", "par", "arena", "half"]),
    ("ops", &["cache", "kernels", "tensor", "quant", "par", "arena", "math", "half"]),
    // 4: text to tokens; weights and their description
    ("tokenizer", &["gguf", "arena", "half", "math"]),
    (
        "model",
        &[
            "gguf", "ops", "cache", "kernels", "tensor", "quant", "par", "arena", "math", "half",
            "rng",
        ],
    ),
    // 5: what a caller holds
    ("sampler", &["math", "rng"]),
    ("schema", &["tokenizer"]),
    (
        "engine",
        &[
            "sampler", "model", "ops", "cache", "kernels", "tensor", "quant", "par", "arena",
            "math", "half",
        ],
    ),
    // the normative text, as a page of documentation
    ("numerics", &[]),
];

/// Where the word `unsafe` may stand outside tests: a file, or a folder ending in `/`.
const UNSAFE_ALLOWED: &[&str] = &[
    "core/src/quant/block.rs",
    "core/src/kernels/",
    "core/src/math/fpv4.rs",
    "core/src/math/riscv_f.rs",
    "core/src/arena.rs",
    "core/src/par.rs",
    "host/src/doctor/probe.rs",
    "host/src/model_file.rs",
    "host/src/memory.rs",
    "host/src/pool.rs",
];

/// Lines from which a file draws a warning, and beyond which it is refused.
const LONG: usize = 600;
const TOO_LONG: usize = 700;

/// Checks layers, unsafe and file lengths.
///
/// # Errors
/// Names every breach with its file, line and rule.
pub(crate) fn run(cx: &Context) -> Result<Ran> {
    let mut breaches = Vec::new();
    let mut n_files = 0;
    for dir in ["core", "host", "xtask"] {
        for path in source::rust_files(&cx.root().join(dir))? {
            let shown =
                path.strip_prefix(cx.root()).unwrap_or(&path).to_string_lossy().replace('\\', "/");
            let text = fs::read_to_string(&path).with_context(|| format!("cannot read {shown}"))?;
            let n_lines = text.lines().count();
            if n_lines > TOO_LONG {
                breaches
                    .push(format!("{shown}: {n_lines} lines; split it ({TOO_LONG} are too many)"));
            } else if n_lines > LONG {
                eprintln!("warning: {shown}: {n_lines} lines; split it soon");
            }
            breaches.extend(check_source(&shown, &text));
            n_files += 1;
        }
    }
    if !breaches.is_empty() {
        bail!(
            "{} found\n  {}",
            plural(breaches.len(), "breach", "breaches"),
            breaches.join("\n  ")
        );
    }
    println!("layers: {n_files} files, imports, unsafe and lengths as they should be");
    Ok(Ran::Yes)
}

fn plural(n: usize, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}

/// Breaches in one file, whose path is from the workspace's root.
fn check_source(shown: &str, text: &str) -> Vec<String> {
    let is_test_file = source::is_test_file(Path::new(shown));
    let mut breaches = Vec::new();
    let source = Source::new(text);
    let in_src = shown.starts_with("core/src/") || shown.starts_with("host/src/");
    if in_src && !is_test_file {
        let covers =
            |rule: &str| if rule.ends_with('/') { shown.starts_with(rule) } else { shown == rule };
        if !UNSAFE_ALLOWED.iter().any(|rule| covers(rule)) {
            for pos in source.find_word("unsafe").filter(|&pos| !source.is_test(pos)) {
                let line = source.line_of(pos);
                breaches.push(format!(
                    "{shown}:{line}: unsafe is allowed only in {}",
                    UNSAFE_ALLOWED.join(", ")
                ));
            }
        }
    }
    let Some(inner) =
        shown.strip_prefix("core/src/").filter(|&inner| inner != "lib.rs" && !is_test_file)
    else {
        return breaches;
    };
    let path: Vec<&str> =
        inner.trim_end_matches(".rs").trim_end_matches("/mod").split('/').collect();
    let module = path[0];
    let Some((_, may)) = LAYERS.iter().find(|(name, _)| *name == module) else {
        breaches.push(format!(
            "{shown}:1: module {module} has no row in the table of xtask/src/layers.rs"
        ));
        return breaches;
    };
    for (pos, name) in root_names(&source, path.len()) {
        // A capital letter is an item of the root itself, such as `crate::Token`.
        let is_module = name.starts_with(|c: char| c.is_lowercase());
        if source.is_test(pos) || !is_module || name == module || may.contains(&name.as_str()) {
            continue;
        }
        let line = source.line_of(pos);
        let list = if may.is_empty() { "nothing".into() } else { may.join(", ") };
        breaches.push(format!("{shown}:{line}: {module} may not import {name}, only {list}"));
    }
    breaches
}

/// Names taken directly from the crate's root, with their positions: those behind `crate::`, and
/// behind as many `super::` as the file's module is deep.
fn root_names(source: &Source, depth: usize) -> Vec<(usize, String)> {
    let supers = ["super"; 8][..depth.min(8)].join("::");
    let mut names = Vec::new();
    for root in ["crate", &supers] {
        for pos in source.find_word(root) {
            let Some(rest) = source.code[pos + root.len()..].strip_prefix("::") else { continue };
            // A longer chain of `super::` is found once, at its first.
            if root != "crate" && source.code[..pos].ends_with("super::") {
                continue;
            }
            match rest.strip_prefix('{') {
                Some(group) => names.extend(group_names(group).map(|name| (pos, name))),
                None => names.push((pos, leading_word(rest))),
            }
        }
    }
    names
}

/// The first name of each path in a `use` group, whose text starts behind its brace.
fn group_names(group: &str) -> impl Iterator<Item = String> {
    let mut depth = 0u32;
    let mut names = vec![String::new()];
    for c in group.chars() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => names.push(String::new()),
            _ if depth == 0 => names.last_mut().into_iter().for_each(|name| name.push(c)),
            _ => {}
        }
    }
    names.into_iter().map(|path| leading_word(path.trim())).filter(|name| !name.is_empty())
}

fn leading_word(text: &str) -> String {
    text.chars().take_while(|&c| is_word(c)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn breaches(shown: &str, text: &str) -> Vec<String> {
        check_source(shown, text)
    }

    #[test]
    fn imports_upwards_are_named_with_line_and_rule() {
        let found = breaches(
            "core/src/gguf/file.rs",
            "//! x\nuse crate::quant::GgmlType;\nuse crate::kernels::KernelSet;\n",
        );
        assert_eq!(
            found,
            ["core/src/gguf/file.rs:3: gguf may not import kernels, only tensor, quant, half"]
        );
        let found = breaches("core/src/half.rs", "fn f() { crate::math::exp(0.0) }");
        assert_eq!(found, ["core/src/half.rs:1: half may not import math, only nothing"]);
    }

    #[test]
    fn groups_are_seen_through() {
        let text =
            "use crate::{\n  quant::{half, model},\n  Token,\n  engine::Engine, tensor::*,\n};\n";
        let found = breaches("core/src/gguf/mod.rs", text);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains("may not import engine"), "{found:?}");
    }

    #[test]
    fn supers_that_reach_the_root_count() {
        assert_eq!(breaches("core/src/gguf/mod.rs", "use super::model::Model;").len(), 1);
        assert_eq!(
            breaches("core/src/gguf/file.rs", "use super::model::Model;").len(),
            0,
            "gguf's own model"
        );
        assert_eq!(breaches("core/src/gguf/file.rs", "use super::super::model::Model;").len(), 1);
        assert_eq!(breaches("core/src/tensor.rs", "use super::gguf;").len(), 1);
    }

    #[test]
    fn tests_comments_and_own_module_are_free() {
        for text in [
            "/// [`crate::model::Model`]\nfn f() {}",
            "use crate::gguf::keys;",
            "use crate::Token;",
            "#[cfg(test)]\nmod tests {\n use crate::engine::Engine;\n unsafe fn f() {}\n}",
            "pub(crate) fn f() { \"crate::model\"; }",
        ] {
            assert_eq!(breaches("core/src/gguf/mod.rs", text), [""; 0], "{text}");
        }
        assert_eq!(breaches("core/src/gguf/tests.rs", "use crate::engine::Engine;"), [""; 0]);
        assert_eq!(
            breaches("core/tests/parity.rs", "use crate::engine::Engine; unsafe {}"),
            [""; 0]
        );
    }

    #[test]
    fn an_unknown_module_needs_a_row() {
        assert!(breaches("core/src/magic.rs", "")[0].contains("no row in the table"));
    }

    #[test]
    fn unsafe_has_its_places() {
        let text = "#![deny(unsafe_code)]\n// unsafe\nfn f() { unsafe { g() } }\n";
        let found = breaches("core/src/gguf/mod.rs", text);
        assert!(
            found.len() == 1
                && found[0].starts_with("core/src/gguf/mod.rs:3: unsafe is allowed only in")
        );
        assert_eq!(breaches("core/src/kernels/x86_64/avx2.rs", text), [""; 0]);
        assert_eq!(breaches("core/src/quant/block.rs", text), [""; 0]);
        assert_eq!(breaches("core/src/quant/q4_0.rs", text).len(), 1);
        assert_eq!(breaches("host/src/main.rs", text).len(), 1);
    }

    #[test]
    fn the_table_has_no_cycle() {
        // Rows are written lowest first, so each may only name rows above it.
        for (i, (name, may)) in LAYERS.iter().enumerate() {
            for other in *may {
                let at = LAYERS.iter().position(|(known, _)| known == other);
                assert!(at.is_some_and(|at| at < i), "{name} names {other}");
            }
        }
    }
}
