//! What each fuzz target does with its bytes.
//!
//! Apart from libFuzzer, so that `core/tests/fuzz_seeds.rs` can run the same code over the
//! committed seeds with a stable compiler. A target fails by panicking, by an overflow, by
//! reading out of bounds (AddressSanitizer), or by taking too long.

use std::hint::black_box;

use bantam_core::gguf::{Gguf, Value};
use bantam_core::quant::{GgmlType, dequantize_row, quantize_row};

/// Parses the bytes as a file and reads everything that a parsed file promises.
pub fn gguf_parse(data: &[u8]) {
    let gguf = match Gguf::parse(data) {
        Ok(gguf) => gguf,
        Err(err) => {
            assert!(err.offset <= data.len() as u64, "{err} past the end");
            assert!(!err.to_string().contains('\n'), "{err}");
            return;
        }
    };
    let mut n_metadata = 0;
    for (key, value) in gguf.metadata() {
        n_metadata += 1;
        assert!(gguf.get(key).is_some(), "{key:?} is listed but not found");
        if let Value::Array(array) = value {
            let start = array.offset() as usize;
            assert_eq!(&data[start..start + array.bytes().len()], array.bytes());
            assert_eq!(array.iter().count(), array.len());
            if let Some(strings) = array.strings() {
                let bytes: usize = strings.map(|string| string.len() + 8).sum();
                assert_eq!(bytes, array.bytes().len());
            }
        }
    }
    assert_eq!(n_metadata, gguf.n_metadata());
    let mut end = gguf.data_offset();
    let mut n_tensors = 0;
    for tensor in gguf.tensors() {
        n_tensors += 1;
        assert!(tensor.offset >= end, "{tensor:?} overlaps");
        assert_eq!((tensor.offset - gguf.data_offset()) % gguf.alignment(), 0);
        end = tensor.offset + tensor.view.bytes().len() as u64;
        let elements: u64 = tensor.dims.iter().product();
        assert_eq!(elements, tensor.view.n_cols() as u64 * tensor.view.n_rows() as u64);
        // The lookup walks the table, so looking up each of thousands would take long.
        if n_tensors <= 16 {
            assert_eq!(gguf.tensor(tensor.name).map(|t| t.offset), Some(tensor.offset));
        }
        assert!(tensor.view.row(tensor.view.n_rows() - 1).is_some());
        assert!(tensor.view.row(tensor.view.n_rows()).is_none());
    }
    assert_eq!(n_tensors, gguf.n_tensors());
    assert!(end <= data.len() as u64);
}

/// Reads bytes as weights of one format, and bytes as floats to be written in it.
///
/// The first byte is the format, by its place in [`GgmlType::ALL`]; the rest are its blocks.
pub fn dequantize(data: &[u8]) {
    let Some((&first, bytes)) = data.split_first() else { return };
    let ty = GgmlType::ALL[usize::from(first) % GgmlType::ALL.len()];
    let n_blocks = (bytes.len() / ty.block_bytes()).min(8);
    let blocks = &bytes[..n_blocks * ty.block_bytes()];

    // A value left unwritten shows as this one.
    const UNWRITTEN: u32 = 0xffc0_dead;
    let mut out = vec![f32::from_bits(UNWRITTEN); n_blocks * ty.block_elems()];
    dequantize_row(ty, blocks, &mut out).expect("whole blocks");
    let mut one = vec![0.0; ty.block_elems()];
    for (block, values) in
        blocks.chunks_exact(ty.block_bytes()).zip(out.chunks_exact(ty.block_elems()))
    {
        dequantize_row(ty, block, &mut one).expect("one block");
        for (a, b) in one.iter().zip(values) {
            assert_eq!(a.to_bits(), b.to_bits(), "{ty:?} by block and by row");
            assert!(ty.block_elems() == 1 || b.to_bits() != UNWRITTEN, "{ty:?} left a value out");
        }
    }

    // Lengths that do not fit are refused, never read past.
    let wrong = bytes.len() % 700;
    let mut out = vec![0.0; wrong];
    let fits = ty.row_bytes(wrong) == Some(bytes.len());
    assert_eq!(dequantize_row(ty, bytes, &mut out).is_ok(), fits, "{ty:?} {wrong}");

    // Any floats can be written, whatever they are, and what is written can be read.
    let floats: Vec<f32> =
        bytes.as_chunks::<4>().0.iter().take(512).map(|b| f32::from_le_bytes(*b)).collect();
    let n = floats.len() / ty.block_elems() * ty.block_elems();
    let mut packed = vec![0; ty.row_bytes(n).expect("whole blocks")];
    if quantize_row(ty, &floats[..n], &mut packed).is_ok() {
        let mut out = vec![0.0; n];
        dequantize_row(ty, &packed, &mut out).expect("whole blocks");
        black_box(out);
    }
}
