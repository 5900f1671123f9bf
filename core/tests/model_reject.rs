//! Well-formed files that are no models: each is refused, by the name of what is wrong.

#[allow(unreachable_pub)]
mod support;

use bantam_core::gguf::{Gguf, Name};
use bantam_core::model::{Model, ModelConfig, ModelError};
use bantam_core::quant::GgmlType;
use support::{File, MIX, Meta, Tensor, tiny};

/// What becomes of a family's tiny model after a change.
fn load(family: &'static str, change: impl FnOnce(&mut File)) -> Result<ModelConfig, ModelError> {
    let mut file = tiny(family, &MIX);
    change(&mut file);
    let bytes = file.write();
    let gguf = Gguf::parse(&bytes).expect("a well-formed file");
    Model::new(&gguf).map(|model| *model.config())
}

#[test]
fn every_family_loads_unchanged() {
    for family in ["llama", "qwen2", "qwen3", "gemma3"] {
        let config = load(family, |_| ()).unwrap();
        assert_eq!((config.family, config.tied_head), (family, true));
    }
}

#[test]
fn missing_keys_are_named() {
    for key in [
        "block_count",
        "context_length",
        "embedding_length",
        "feed_forward_length",
        "attention.head_count",
        "attention.layer_norm_rms_epsilon",
    ] {
        let error = load("llama", |f| f.remove(&format!("llama.{key}"))).unwrap_err();
        assert_eq!(error, ModelError::MissingKey(key));
        assert!(error.to_string().contains(key));
    }
    assert_eq!(
        load("llama", |f| f.remove("general.architecture")),
        Err(ModelError::NoArchitecture)
    );
}

#[test]
fn values_out_of_range_are_refused() {
    let with = |key: &'static str, value| {
        load("llama", move |f| f.set(&format!("llama.{key}"), value)).unwrap_err()
    };
    for (key, value) in [
        ("block_count", 0),
        ("block_count", 513),
        ("block_count", u32::MAX),
        ("embedding_length", 0),
        ("embedding_length", u32::MAX),
        ("feed_forward_length", 0),
        ("attention.head_count", 0),
        ("attention.head_count_kv", 0),
        ("attention.head_count_kv", 3),
        ("attention.key_length", 0),
        ("attention.key_length", 5000),
        ("attention.value_length", 32),
        ("rope.dimension_count", 7),
        ("rope.dimension_count", 26),
        ("context_length", 0),
        ("expert_count", 8),
    ] {
        let error = with(key, Meta::U32(value));
        assert!(
            matches!(error, ModelError::KeyRange(k, v, _) if k == key && v == u64::from(value)),
            "{key} = {value}: {error}"
        );
    }
    for (key, value) in [
        ("attention.layer_norm_rms_epsilon", 0.0),
        ("attention.layer_norm_rms_epsilon", f32::NAN),
        ("rope.freq_base", -1.0),
        ("rope.freq_base", f32::INFINITY),
        ("rope.scaling.factor", 0.0),
        ("attention.scale", f32::NAN),
    ] {
        let error = with(key, Meta::F32(value));
        assert!(
            matches!(error, ModelError::KeyFloat(k, ..) if k == key),
            "{key} = {value}: {error}"
        );
    }
}

#[test]
fn wrong_types_and_unknown_requests_are_named() {
    let with = |key: &'static str, value| {
        load("llama", move |f| f.set(&format!("llama.{key}"), value)).unwrap_err()
    };
    assert_eq!(
        with("block_count", Meta::Str("three")),
        ModelError::KeyType("block_count", "a u32", "string")
    );
    assert!(matches!(
        with("rope.freq_base", Meta::U32(1)),
        ModelError::KeyType("rope.freq_base", ..)
    ));
    assert_eq!(
        with("rope.scaling.type", Meta::Str("yarn")),
        ModelError::Unsupported("rope.scaling.type", Name::new("yarn"))
    );
    assert_eq!(
        with("attention.causal", Meta::Bool(false)),
        ModelError::Unsupported("attention.causal", Name::new("false"))
    );
    assert_eq!(
        with("attention.invented", Meta::U32(1)),
        ModelError::UnknownKey(Name::new("llama.attention.invented"))
    );
    let error = load("llama", |f| f.set("general.architecture", Meta::Str("mamba"))).unwrap_err();
    assert_eq!(error, ModelError::UnknownArchitecture(Name::new("mamba")));
    assert!(error.to_string().contains("gemma3"), "{error} lists what is supported");
}

#[test]
fn every_missing_tensor_is_named() {
    for family in ["llama", "qwen2", "qwen3", "gemma3"] {
        for tensor in tiny(family, &MIX).tensors {
            let error = load(family, |f| f.tensors.retain(|t| t.name != tensor.name)).unwrap_err();
            assert!(matches!(error, ModelError::MissingTensor(..)), "{family} {}", tensor.name);
            assert!(error.to_string().contains(&tensor.name), "{error}");
        }
    }
}

#[test]
fn every_wrong_shape_is_named() {
    for family in ["llama", "gemma3"] {
        for tensor in tiny(family, &[GgmlType::F32]).tensors {
            let name = tensor.name.clone();
            // One row fewer, or for vectors one element.
            let error = load(family, |f| {
                let t = f.tensor(&name);
                *t = Tensor { name: name.clone(), ty: GgmlType::F32, ..tensor.clone() };
                let last = t.dims.len() - 1;
                t.dims[last] -= 1;
                let n: u64 = t.dims.iter().product();
                t.bytes.truncate(n as usize * 4);
            });
            match (name.as_str(), error) {
                // The embedding defines the vocabulary.
                ("token_embd.weight", result) => assert!(result.is_ok()),
                (_, Err(ModelError::TensorShape(found, ..))) => assert_eq!(found.as_str(), name),
                (_, other) => panic!("{family} {name}: {other:?}"),
            }
        }
    }
}

#[test]
fn strangers_and_odd_types_are_refused() {
    let add = |name: &str, ty: GgmlType, n: u64| {
        let tensor =
            Tensor { name: name.into(), ty, dims: vec![n], bytes: vec![0; n as usize * 4] };
        load("llama", |f| f.tensors.push(tensor)).unwrap_err()
    };
    for stranger in [
        "blk.3.ffn_norm.weight",
        "blk.00.ffn_norm.weight",
        "blk.+1.ffn_norm.weight",
        "blk.99999999999999999999.ffn_norm.weight",
        "blk.1.ffn_gate_exps.weight",
        "blk.1.attn_q.bias",
        "blk..weight",
        "blk.",
        "something",
    ] {
        let error = add(stranger, GgmlType::F32, 64);
        assert_eq!(error, ModelError::UnexpectedTensor(Name::new(stranger)), "{stranger}");
    }
    let error = load("llama", |f| {
        let t = f.tensor("blk.1.attn_norm.weight");
        (t.ty, t.bytes) = (GgmlType::F16, vec![0; 128]);
    });
    let name = Name::new("blk.1.attn_norm.weight");
    assert_eq!(error, Err(ModelError::TensorType(name, GgmlType::F16, "F32")));
}
