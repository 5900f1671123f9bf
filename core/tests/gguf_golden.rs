//! Valid files read as the `gguf` Python package reads them, and damaged ones never panic.
//!
//! `fixtures/gguf/make.py` makes the files, and the `.txt` beside each that says what the
//! package found in it: every value's bits, every tensor's shape, place and checksum.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use bantam_core::gguf::{Gguf, Value};
use proptest::prelude::*;

const N_VALID: usize = 17;

fn valid_files() -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/gguf/valid");
    let mut files: Vec<PathBuf> = std::fs::read_dir(dir)
        .expect("fixtures/gguf/valid is part of the repository")
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ext| ext == "gguf"))
        .collect();
    files.sort();
    assert!(files.len() == N_VALID, "{} files in fixtures/gguf/valid", files.len());
    files
}

/// Writes what a file holds in the words of `make.py`.
fn dump(gguf: &Gguf<'_>) -> String {
    let mut out = format!("version {} alignment {}\n", gguf.version(), gguf.alignment());
    for (key, value) in gguf.metadata() {
        // As text, since a NaN is no equal of itself.
        assert_eq!(format!("{:?}", gguf.get(key)), format!("{:?}", Some(value)), "{key}");
        match value {
            Value::Array(array) => {
                write!(out, "{key} [{}; {}]", array.ty().name(), array.len()).unwrap();
                assert_eq!(array.iter().len(), array.len());
                for element in array.iter() {
                    write!(out, " {}", show(element)).unwrap();
                }
                out.push('\n');
            }
            _ => writeln!(out, "{key} {} {}", value.type_name(), show(value)).unwrap(),
        }
    }
    assert_eq!(gguf.tensors().len(), gguf.n_tensors());
    for tensor in gguf.tensors() {
        let dims: Vec<String> =
            tensor.dims[..tensor.n_dims as usize].iter().map(|dim| dim.to_string()).collect();
        let data = tensor.view.bytes();
        assert_eq!(gguf.bytes()[tensor.offset as usize..].as_ptr(), data.as_ptr(), "a copy");
        assert_eq!(gguf.tensor(tensor.name).map(|t| t.offset), Some(tensor.offset));
        let (name, ty, shape) = (tensor.name, tensor.ty.name(), dims.join("x"));
        let (offset, len, crc) = (tensor.offset, data.len(), crc32(data));
        writeln!(out, "tensor {name} {ty} {shape} at {offset} bytes {len} crc32 {crc:08x}")
            .unwrap();
    }
    out
}

fn show(value: Value<'_>) -> String {
    match value {
        Value::U8(v) => v.to_string(),
        Value::I8(v) => v.to_string(),
        Value::U16(v) => v.to_string(),
        Value::I16(v) => v.to_string(),
        Value::U32(v) => v.to_string(),
        Value::I32(v) => v.to_string(),
        Value::U64(v) => v.to_string(),
        Value::I64(v) => v.to_string(),
        Value::Bool(v) => v.to_string(),
        Value::F32(v) => format!("{:08x}", v.to_bits()),
        Value::F64(v) => format!("{:016x}", v.to_bits()),
        Value::Str(v) => format!("\"{}\"", v.as_bytes().escape_ascii()),
        Value::Bytes(v) => format!("\"{}\"", v.escape_ascii()),
        other => panic!("no such element: {other:?}"),
    }
}

/// The checksum of zlib and of Python's `zlib.crc32`.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc: u32, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 * (crc & 1)))
    })
}

/// Reads everything there is to read, so that a range left unchecked would show.
fn read_all(bytes: &[u8]) -> Result<usize, String> {
    let gguf = Gguf::parse(bytes).map_err(|err| {
        assert!(err.offset <= bytes.len() as u64, "{err}");
        let line = err.to_string();
        assert!(!line.contains('\n'), "{line:?}");
        line
    })?;
    assert_eq!(gguf.metadata().count(), gguf.n_metadata());
    assert_eq!(gguf.tensors().count(), gguf.n_tensors());
    Ok(dump(&gguf).len())
}

#[test]
fn files_read_as_the_gguf_package_reads_them() {
    for path in valid_files() {
        let bytes = std::fs::read(&path).unwrap();
        let golden = std::fs::read_to_string(path.with_extension("txt")).unwrap();
        let gguf = Gguf::parse(&bytes).unwrap_or_else(|err| panic!("{}: {err}", path.display()));
        assert_eq!(dump(&gguf), golden, "{}", path.display());
    }
}

#[test]
fn every_truncation_reads_cleanly_or_is_refused() {
    for path in valid_files() {
        let bytes = std::fs::read(&path).unwrap();
        let end = match Gguf::parse(&bytes).unwrap().tensors().last() {
            Some(last) => last.offset as usize + last.view.bytes().len(),
            // The header's own end is not told apart from the padding that follows it.
            None => bytes.len().saturating_sub(31),
        };
        // Inside weights every length gives the same error, so a stride is enough there.
        let header = Gguf::parse(&bytes).unwrap().header_bytes().len();
        for len in (0..header).chain((header..bytes.len()).step_by(61)) {
            // A boxed copy of exactly this length, for sanitizers to see its end.
            let cut: Box<[u8]> = bytes[..len].into();
            assert!(read_all(&cut).is_err() || len >= end, "{}: {len}", path.display());
        }
        assert!(read_all(&bytes).is_ok());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..Default::default() })]

    #[test]
    fn flipped_bits_never_panic(
        file in 0..N_VALID,
        flips in prop::collection::vec((any::<prop::sample::Index>(), 0..8_u32), 1..8),
    ) {
        let mut bytes = std::fs::read(&valid_files()[file]).unwrap();
        // Flips in weights change nothing that is parsed.
        let header = Gguf::parse(&bytes).unwrap().header_bytes().len();
        for (at, bit) in flips {
            bytes[at.index(header)] ^= 1 << bit;
        }
        let _ = read_all(&bytes);
    }

    #[test]
    fn replaced_fields_never_panic(
        file in 0..N_VALID,
        at in any::<prop::sample::Index>(),
        value in prop_oneof![any::<u64>(), 0..300_u64, Just(u64::MAX), Just(1 << 63), Just(1 << 32)],
    ) {
        let mut bytes = std::fs::read(&valid_files()[file]).unwrap();
        let header = Gguf::parse(&bytes).unwrap().header_bytes().len();
        let at = at.index(header);
        for (to, from) in bytes[at..].iter_mut().zip(value.to_le_bytes()) {
            *to = from;
        }
        let _ = read_all(&bytes);
    }

    #[test]
    fn arbitrary_bytes_never_panic(tail in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut bytes = b"GGUF\x03\0\0\0\x01\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0".to_vec();
        bytes.extend(tail);
        let _ = read_all(&bytes);
    }
}
