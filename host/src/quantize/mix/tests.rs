use std::collections::HashMap;
use std::fs;
use std::path::Path;

use super::*;
use crate::quantize::Named;

/// A model's tensors, and the format that each got for each of some columns.
struct Golden {
    facts: Facts,
    named: Vec<Named>,
    /// Such as `Q4_K_M` or `Q4_K_M+pure`.
    columns: Vec<String>,
    tensors: Vec<Row>,
}

struct Row {
    name: String,
    dims: Vec<u64>,
    ty: GgmlType,
    expected: Vec<GgmlType>,
}

impl Golden {
    fn read(path: &Path) -> Self {
        let text = fs::read_to_string(path).expect("a golden");
        let ty = |name: &str| GgmlType::from_name(name).expect(name);
        let (mut golden, mut types) = (
            Golden { facts: Facts::default(), named: vec![], columns: vec![], tensors: vec![] },
            HashMap::new(),
        );
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let words: Vec<&str> = line.split(' ').collect();
            let number = || words[1].parse().expect("a number");
            match words[0] {
                "arch" => golden.facts.arch = words[1].into(),
                "n_layer" => golden.facts.n_layer = number(),
                "n_head" => golden.facts.n_head[0] = number(),
                "n_head_kv" => golden.facts.n_head[1] = number(),
                "n_expert" => golden.facts.n_expert = number(),
                "named" => {
                    golden.named = words[1..].iter().map(|n| Named::parse(n).expect(n)).collect();
                }
                "columns" => golden.columns = words[1..].iter().map(|&c| c.into()).collect(),
                "types" => {
                    types.insert(words[1].to_owned(), words[2..].iter().map(|t| ty(t)).collect());
                }
                "tensor" => golden.tensors.push(Row {
                    name: words[1].into(),
                    dims: words[2].split('x').map(|dim| dim.parse().expect("a number")).collect(),
                    ty: ty(words[3]),
                    expected: Vec::clone(&types[words[4]]),
                }),
                other => panic!("{}: {other}", path.display()),
            }
        }
        golden
            .tensors
            .sort_by(|a, b| (layer_of(&a.name), &a.name).cmp(&(layer_of(&b.name), &b.name)));
        golden
    }

    /// Compares one column, and returns how many tensors it has that fell back.
    fn check(&self, model: &str, column: usize) -> usize {
        let (preset, option) =
            self.columns[column].split_once('+').unwrap_or((&self.columns[column], ""));
        let mut facts = self.facts.clone();
        facts.has_importance = option == "imatrix";
        let preset = Preset::from_name(preset).expect(preset);
        let names = self.tensors.iter().map(|row| row.name.as_str());
        let mut mix = Mix::new(preset, option == "pure", &facts, names);
        let mut n_fallbacks = 0;
        for row in &self.tensors {
            let tensor = Tensor { name: &row.name, dims: &row.dims, ty: row.ty };
            let mut matching = self.named.iter().filter(|n| n.pattern.is_match(&row.name));
            let named = matching.next().filter(|_| option == "named").map(|named| named.ty);
            let choice = mix.choose(&tensor, named);
            let expected = row.expected[column];
            assert_eq!(choice.ty, expected, "{model}, {}: {}", self.columns[column], row.name);
            n_fallbacks += usize::from(choice.instead_of.is_some());
        }
        n_fallbacks
    }
}

#[test]
fn every_tensor_gets_what_the_reference_gives_it() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/quantize/types");
    let (mut n_models, mut n_fallbacks) = (0, 0);
    for entry in fs::read_dir(&folder).expect("goldens") {
        let path = entry.expect("an entry").path();
        let golden = Golden::read(&path);
        assert!(golden.columns.len() >= Preset::ALL.len() && !golden.tensors.is_empty());
        for column in 0..golden.columns.len() {
            n_fallbacks += golden.check(&path.display().to_string(), column);
        }
        n_models += 1;
    }
    assert_eq!(n_models, 10);
    assert!(n_fallbacks > 1000, "{n_fallbacks}");
}

#[test]
fn a_fallback_says_what_it_stands_for() {
    let facts = Facts { arch: "llama".into(), n_layer: 30, ..Facts::default() };
    let mut mix = Mix::new(Preset::Q4_K_M, false, &facts, ["blk.0.attn_q.weight"].into_iter());
    let mut choose = |n_cols: u64| {
        let dims = [n_cols, 64];
        mix.choose(&Tensor { name: "blk.0.attn_q.weight", dims: &dims, ty: GgmlType::F32 }, None)
    };
    let wanted = Some(GgmlType::Q4_K);
    assert_eq!(choose(512), Choice { ty: GgmlType::Q4_K, instead_of: None });
    assert_eq!(choose(576), Choice { ty: GgmlType::Q5_0, instead_of: wanted });
    assert_eq!(choose(100), Choice { ty: GgmlType::F16, instead_of: wanted });
}

#[test]
fn presets_have_the_names_they_are_found_by() {
    for preset in Preset::ALL {
        assert_eq!(Preset::from_name(&preset.name().to_ascii_lowercase()), Some(preset));
    }
    assert_eq!(Preset::from_name("q4_k"), Some(Preset::Q4_K_M));
    assert_eq!(Preset::from_name("Q9_K"), None);
}
