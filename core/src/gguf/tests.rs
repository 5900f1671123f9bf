//! Hand-made files: what is read back, and what is refused where.

use std::string::{String, ToString};
use std::vec::Vec;

use super::*;
use crate::quant::GgmlType;

/// Writes the fields of a file, right or wrong.
#[derive(Clone, Default)]
struct Bytes(Vec<u8>);

impl Bytes {
    fn header(version: u32, n_tensors: u64, n_metadata: u64) -> Self {
        Self(b"GGUF".to_vec()).u32(version).u64(n_tensors).u64(n_metadata)
    }
    fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }
    fn u32(self, v: u32) -> Self {
        self.raw(&v.to_le_bytes())
    }
    fn u64(self, v: u64) -> Self {
        self.raw(&v.to_le_bytes())
    }
    fn str(self, s: &str) -> Self {
        self.u64(s.len() as u64).raw(s.as_bytes())
    }
    fn key(self, key: &str, ty: u32) -> Self {
        self.str(key).u32(ty)
    }
    fn tensor(self, name: &str, dims: &[u64], ty: u32, start: u64) -> Self {
        let mut out = self.str(name).u32(dims.len() as u32);
        for &dim in dims {
            out = out.u64(dim);
        }
        out.u32(ty).u64(start)
    }
    fn pad(mut self, alignment: usize) -> Self {
        self.0.resize(self.0.len().next_multiple_of(alignment), 0);
        self
    }
    fn refused(&self) -> ParseError {
        Gguf::parse(&self.0).unwrap_err()
    }
}

fn small() -> Bytes {
    Bytes::header(3, 2, 5)
        .key("general.architecture", 8)
        .str("llama")
        .key("llama.block_count", 4)
        .u32(2)
        .key("tokens", 9)
        .u32(8)
        .u64(3)
        .str("a")
        .raw(&[2, 0, 0, 0, 0, 0, 0, 0, 0xc3, 0x28])
        .str("")
        .key("scores", 9)
        .u32(6)
        .u64(2)
        .raw(&1.5_f32.to_le_bytes())
        .raw(&(-2.0_f32).to_le_bytes())
        .key("flag", 7)
        .raw(&[1])
        .tensor("a", &[32, 2], 2, 0)
        .tensor("b", &[3], 0, 64)
        .pad(32)
        .raw(&[7; 36])
        .pad(32)
        .raw(&[9; 12])
}

#[test]
fn a_small_file_reads_back() {
    let file = small();
    let gguf = Gguf::parse(&file.0).unwrap();
    assert_eq!((gguf.version(), gguf.alignment()), (3, 32));
    assert_eq!(gguf.architecture(), Some("llama"));
    assert_eq!(gguf.get_arch("llama", "block_count"), Some(Value::U32(2)));
    assert_eq!(gguf.get_arch("llam", "a.block_count"), None);
    assert_eq!(gguf.get_arch("llama.block", "count"), None);
    assert_eq!(gguf.get("flag").unwrap().as_bool(), Some(true));
    assert_eq!(gguf.get("missing"), None);
    let keys: Vec<&str> = gguf.metadata().map(|(key, _)| key).collect();
    assert_eq!(keys, ["general.architecture", "llama.block_count", "tokens", "scores", "flag"]);

    let tokens = gguf.get("tokens").unwrap().as_array().unwrap();
    let strings: Vec<&[u8]> = tokens.strings().unwrap().collect();
    assert_eq!(strings, [&b"a"[..], &[0xc3, 0x28], b""]);
    let values: Vec<Value<'_>> = tokens.iter().collect();
    assert_eq!(values, [Value::Str("a"), Value::Bytes(&[0xc3, 0x28]), Value::Str("")]);
    let at = tokens.offset() as usize;
    assert_eq!(&file.0[at..at + tokens.bytes().len()], tokens.bytes());
    assert_eq!(tokens.bytes().len(), 3 * 8 + 3);
    assert!(tokens.u32s().is_none());

    let scores = gguf.get("scores").unwrap().as_array().unwrap();
    assert_eq!(scores.f32s().unwrap().collect::<Vec<_>>(), [1.5, -2.0]);
    assert!(scores.strings().is_none());

    assert_eq!(gguf.n_tensors(), 2);
    let a = gguf.tensor("a").unwrap();
    assert_eq!((a.ty, a.n_dims, a.dims), (GgmlType::Q4_0, 2, [32, 2, 1, 1]));
    assert_eq!(a.offset, gguf.data_offset());
    assert_eq!(a.view.bytes(), [7; 36]);
    let b = gguf.tensor("b").unwrap();
    assert_eq!((b.offset, b.view.n_cols(), b.view.n_rows()), (gguf.data_offset() + 64, 3, 1));
    assert_eq!(b.view.bytes(), [9; 12]);
    assert!(gguf.tensor("c").is_none());
    assert_eq!(gguf.tensors().map(|t| t.name).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(gguf.header_bytes().len() as u64, gguf.data_offset());
}

#[test]
fn an_unsupported_type_is_named() {
    let err = Bytes::header(3, 1, 0)
        .tensor("blk.0.ffn_up.weight", &[256], 16, 0)
        .pad(32)
        .raw(&[0; 66])
        .refused();
    assert_eq!(err.kind, ParseErrorKind::UnsupportedType(16));
    assert_eq!(
        err.to_string(),
        "tensor blk.0.ffn_up.weight has type IQ2_XXS, which is not supported (at byte 63)"
    );
}

#[test]
fn every_truncation_is_refused() {
    let file = small().0;
    // An interpreter takes a second for each.
    let step = if cfg!(miri) { 97 } else { 1 };
    for len in (0..file.len()).step_by(step) {
        let err = Gguf::parse(&file[..len]).unwrap_err();
        assert!(err.offset <= len as u64, "{len}: {err}");
        assert_eq!(err.to_string().lines().count(), 1);
    }
}

#[test]
fn a_name_in_an_error_is_cut_and_escaped() {
    let long: String = "é\u{1b}".repeat(30);
    let name = Name::new(&long);
    assert_eq!(name.as_str(), "é\u{1b}".repeat(21));
    assert!(name.to_string().starts_with("é\\u{1b}é"));
    assert!(name.to_string().ends_with("..."));
}

#[test]
fn numbers_convert_only_where_nothing_is_lost() {
    assert_eq!(Value::I8(-1).as_u64(), None);
    assert_eq!(Value::I8(-1).as_i64(), Some(-1));
    assert_eq!(Value::I32(7).as_u32(), Some(7));
    assert_eq!(Value::U64(1 << 32).as_u32(), None);
    assert_eq!(Value::U64(u64::MAX).as_i64(), None);
    assert_eq!(Value::U16(9).as_i64(), Some(9));
    assert_eq!(Value::Bool(true).as_u32(), None);
    assert_eq!(Value::F32(1.0).as_u32(), None);
    assert_eq!(Value::U32(1).as_f32(), None);
    assert_eq!(Value::F64(0.1).as_f32(), Some(0.1));
    assert_eq!(Value::Str("1").as_u32(), None);
    assert_eq!(Value::U8(1).as_bool(), None);
    assert_eq!((Value::Bytes(b"a").as_str(), Value::Bytes(b"a").type_name()), (None, "string"));
}

#[test]
fn value_types_keep_their_numbers() {
    for id in 0..13 {
        assert_eq!(ValueType::from_id(id).unwrap() as u32, id);
    }
    assert_eq!(ValueType::from_id(13), None);
}

#[test]
fn an_error_outlives_the_file_and_fits_beside_a_result() {
    let error = {
        let file = Bytes::header(3, 0, 1).key("a.key", 13).u64(0);
        file.refused()
    };
    assert_eq!(error.subject, Subject::Metadata(0, Name::new("a.key")));
    assert!(size_of::<ParseError>() <= 120, "{}", size_of::<ParseError>());
    // A table of 256 offsets and a few words: it is passed about by value.
    assert!(size_of::<Gguf<'_>>() <= 1100, "{}", size_of::<Gguf<'_>>());
}

/// What would silently never be found.
#[test]
fn keys_are_spelt_as_upstream_spells_them() {
    // In llama.cpp's list of keys, not in the Python package's.
    const LLAMA_CPP_ONLY: [&str; 2] = [keys::HIDDEN_ACTIVATION, keys::ROPE_SCALE_LINEAR];
    let known: Vec<&str> = include_str!("../../../fixtures/gguf/keys.txt").lines().collect();
    let code = include_str!("keys.rs").lines().filter(|line| !line.starts_with("//"));
    let ours: Vec<&str> = code.filter_map(|line| line.split('"').nth(1)).collect();
    assert!(ours.len() > 90);
    for (i, key) in ours.iter().enumerate() {
        let own = key.starts_with("bantam.");
        assert!(
            known.contains(key) || LLAMA_CPP_ONLY.contains(key) || own,
            "{key} is no one's key"
        );
        assert!(!ours[..i].contains(key), "{key} stands there twice");
    }
}
