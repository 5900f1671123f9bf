//! Broken files: what each is refused for, where, and in which words.
//!
//! `fixtures/gguf/make.py` makes the files, each around the one rule that its name tells.

use std::path::Path;
use std::time::{Duration, Instant};

use bantam_core::gguf::{Counted, Gguf, ParseErrorKind as K, ValueType};
use bantam_core::quant::GgmlType;

/// File, kind of error, byte offset, message.
#[rustfmt::skip]
const REFUSED: &[(&str, K, u64, &str)] = &[
    ("alignment_0", K::InvalidAlignment(0), 98, "metadata general.alignment is 0, it must be a power of two of at most 65536 (at byte 98)"),
    ("alignment_absurd", K::InvalidAlignment(1 << 31), 98, "metadata general.alignment is 2147483648, it must be a power of two of at most 65536 (at byte 98)"),
    ("alignment_not_power_of_two", K::InvalidAlignment(48), 98, "metadata general.alignment is 48, it must be a power of two of at most 65536 (at byte 98)"),
    ("alignment_wrong_type", K::WrongValueType { expected: "u32", found: ValueType::U64 }, 98, "metadata general.alignment must be u32, it is u64 (at byte 98)"),
    ("array_bool_not_0_or_1", K::InvalidBool(255), 96, "metadata k has a boolean of 255, it must be 0 or 1 (at byte 96)"),
    ("array_count_huge", K::CountTooLarge { what: Counted::Elements, count: u64::MAX, entry_bytes: 1, left: 8 }, 86, "metadata k declares 18446744073709551615 elements of at least 1 byte each, but only 8 are left in the file (at byte 86)"),
    ("array_count_overflow", K::CountTooLarge { what: Counted::Elements, count: 1 << 61, entry_bytes: 8, left: 8 }, 86, "metadata k declares 2305843009213693952 elements of at least 8 bytes each, but only 8 are left in the file (at byte 86)"),
    ("array_count_past_end", K::CountTooLarge { what: Counted::Elements, count: 3, entry_bytes: 4, left: 8 }, 86, "metadata k declares 3 elements of at least 4 bytes each, but only 8 are left in the file (at byte 86)"),
    ("array_nested", K::NestedArray, 82, "metadata k is an array of arrays, which is not supported (at byte 82)"),
    ("array_string_past_end", K::Truncated { needed: 9, left: 5 }, 111, "metadata k needs 9 bytes here, but only 5 are left in the file; it is incomplete or damaged (at byte 111)"),
    ("array_strings_count_huge", K::CountTooLarge { what: Counted::Elements, count: 1 << 60, entry_bytes: 8, left: 9 }, 86, "metadata k declares 1152921504606846976 elements of at least 8 bytes each, but only 9 are left in the file (at byte 86)"),
    ("array_type_unknown", K::UnknownValueType(77), 82, "metadata k has value type 77, which GGUF does not define (at byte 82)"),
    ("big_endian", K::BigEndian { version: 3 }, 4, "a big-endian GGUF file (version 3); only little-endian files are supported: convert it with `gguf-convert-endian` of the gguf Python package"),
    ("bool_not_0_or_1", K::InvalidBool(2), 82, "metadata k has a boolean of 2, it must be 0 or 1 (at byte 82)"),
    ("counts_cut", K::Truncated { needed: 8, left: 2 }, 16, "the file header needs 8 bytes here, but only 2 are left in the file; it is incomplete or damaged (at byte 16)"),
    ("empty", K::Empty, 0, "the file is empty"),
    ("key_duplicate", K::DuplicateKey { earlier: 0 }, 69, "metadata general.architecture occurs twice, first as entry 1 (at byte 69)"),
    ("key_empty", K::EmptyKey, 69, "metadata entry 2 has an empty key (at byte 69)"),
    ("key_length_huge", K::KeyTooLong(u64::MAX), 69, "metadata entry 2 has a key of 18446744073709551615 bytes, at most 65535 are allowed (at byte 69)"),
    ("key_not_utf8", K::InvalidUtf8, 79, "metadata entry 2 has a key that is not UTF-8 (at byte 79)"),
    ("key_past_end", K::Truncated { needed: 100, left: 21 }, 77, "metadata entry 2 needs 100 bytes here, but only 21 are left in the file; it is incomplete or damaged (at byte 77)"),
    ("key_too_long", K::KeyTooLong(65536), 69, "metadata entry 2 has a key of 65536 bytes, at most 65535 are allowed (at byte 69)"),
    ("magic_cut", K::Truncated { needed: 4, left: 2 }, 0, "the file header needs 4 bytes here, but only 2 are left in the file; it is incomplete or damaged (at byte 0)"),
    ("magic_ggjt", K::NotGguf { magic: *b"tjgg" }, 0, "not a GGUF file: it starts with \"tjgg\": a GGML file from before GGUF; convert the model again with a current converter"),
    ("magic_git_lfs_pointer", K::NotGguf { magic: *b"vers" }, 0, "not a GGUF file: it starts with \"vers\": probably a Git LFS pointer in place of the model; run `git lfs pull`"),
    ("magic_web_page", K::NotGguf { magic: *b"<!DO" }, 0, "not a GGUF file: it starts with \"<!DO\": probably a web page saved in place of the model; download it again"),
    ("magic_wrong", K::NotGguf { magic: *b"\x7fELF" }, 0, "not a GGUF file: it starts with \"\\x7fELF\": it must start with \"GGUF\""),
    ("magic_zip", K::NotGguf { magic: *b"PK\x03\x04" }, 0, "not a GGUF file: it starts with \"PK\\x03\\x04\": a zip or PyTorch file; convert the model to GGUF first"),
    ("metadata_count_huge", K::TooManyMetadata(1 << 63), 16, "the file header declares 9223372036854775808 metadata entries, at most 256 are supported (at byte 16)"),
    ("metadata_count_over_limit", K::TooManyMetadata(257), 16, "the file header declares 257 metadata entries, at most 256 are supported (at byte 16)"),
    ("metadata_count_past_end", K::CountTooLarge { what: Counted::Metadata, count: 200, entry_bytes: 13, left: 45 }, 16, "the file header declares 200 metadata entries of at least 13 bytes each, but only 45 are left in the file (at byte 16)"),
    ("metadata_cut", K::Truncated { needed: 8, left: 0 }, 69, "metadata entry 2 needs 8 bytes here, but none are left in the file; it is incomplete or damaged (at byte 69)"),
    ("split_part", K::Split { part: Some(1), count: 5 }, 114, "the file is part 2 of 5 of a split model; join them with `llama-gguf-split --merge` first"),
    ("split_wrong_type", K::WrongValueType { expected: "an unsigned integer", found: ValueType::Str }, 92, "metadata split.count must be an unsigned integer, it is string (at byte 92)"),
    ("string_length_huge", K::Truncated { needed: u64::MAX, left: 3 }, 90, "metadata k needs 18446744073709551615 bytes here, but only 3 are left in the file; it is incomplete or damaged (at byte 90)"),
    ("string_not_utf8", K::InvalidUtf8, 92, "metadata k is text that is not UTF-8 (at byte 92)"),
    ("string_past_end", K::Truncated { needed: 4, left: 3 }, 90, "metadata k needs 4 bytes here, but only 3 are left in the file; it is incomplete or damaged (at byte 90)"),
    ("tensor_bytes_overflow", K::ShapeOverflow { dims: [1 << 62, 2, 1, 1] }, 82, "tensor t has shape 4611686018427387904 x 2 x 1 x 1, more than this machine can address (at byte 82)"),
    ("tensor_count_huge", K::TooManyTensors(u64::MAX), 8, "the file header declares 18446744073709551615 tensors, at most 4096 are supported (at byte 8)"),
    ("tensor_count_over_limit", K::TooManyTensors(4097), 8, "the file header declares 4097 tensors, at most 4096 are supported (at byte 8)"),
    ("tensor_count_past_end", K::CountTooLarge { what: Counted::Tensors, count: 4000, entry_bytes: 32, left: 33 }, 8, "the file header declares 4000 tensors of at least 32 bytes each, but only 33 are left in the file (at byte 8)"),
    ("tensor_data_cut", K::TensorOutOfFile { end: 192, file: 191 }, 69, "tensor t ends at byte 192, but the file has 191 bytes; the download may be incomplete (entry at byte 69)"),
    ("tensor_data_missing", K::TensorOutOfFile { end: 134, file: 102 }, 69, "tensor t ends at byte 134, but the file has 102 bytes; the download may be incomplete (entry at byte 69)"),
    ("tensor_dimension_zero", K::ZeroDimension { axis: 1 }, 90, "tensor t has zero elements along dimension 2 (at byte 90)"),
    ("tensor_duplicate", K::DuplicateTensor { earlier: 0 }, 102, "tensor t occurs twice, first as entry 1 (at byte 102)"),
    ("tensor_entry_cut", K::Truncated { needed: 8, left: 7 }, 94, "tensor t needs 8 bytes here, but only 7 are left in the file; it is incomplete or damaged (at byte 94)"),
    ("tensor_five_dimensions", K::InvalidDimensionCount(5), 78, "tensor t has 5 dimensions, it must be 1 to 4 (at byte 78)"),
    ("tensor_misaligned", K::MisalignedTensor { start: 16, alignment: 32 }, 94, "tensor t starts 16 bytes into the tensor data, no multiple of the alignment of 32 (entry at byte 94)"),
    ("tensor_name_empty", K::EmptyName, 69, "tensor entry 1 has an empty name (at byte 69)"),
    ("tensor_name_not_utf8", K::InvalidUtf8, 78, "tensor entry 1 has a name that is not UTF-8 (at byte 78)"),
    ("tensor_name_past_end", K::Truncated { needed: 60, left: 51 }, 77, "tensor entry 1 needs 60 bytes here, but only 51 are left in the file; it is incomplete or damaged (at byte 77)"),
    ("tensor_name_too_long", K::NameTooLong(65), 69, "tensor entry 1 has a name of 65 bytes, at most 64 are allowed (at byte 69)"),
    ("tensor_no_dimensions", K::InvalidDimensionCount(0), 78, "tensor t has 0 dimensions, it must be 1 to 4 (at byte 78)"),
    ("tensor_out_of_order", K::OverlappingTensor { start: 0, previous_end: 96 }, 102, "tensor b starts 0 bytes into the tensor data, before the previous tensor's end at 96 (entry at byte 102)"),
    ("tensor_overlap", K::OverlappingTensor { start: 32, previous_end: 64 }, 102, "tensor b starts 32 bytes into the tensor data, before the previous tensor's end at 64 (entry at byte 102)"),
    ("tensor_partial_block", K::PartialBlock { ty: GgmlType::Q4_0, n_cols: 48 }, 82, "tensor t has rows of 48 elements, no multiple of Q4_0's block of 32 (at byte 82)"),
    ("tensor_past_end", K::TensorOutOfFile { end: 224, file: 192 }, 69, "tensor t ends at byte 224, but the file has 192 bytes; the download may be incomplete (entry at byte 69)"),
    ("tensor_shape_overflow", K::ShapeOverflow { dims: [1 << 40, 1 << 40, 2, 1] }, 82, "tensor t has shape 1099511627776 x 1099511627776 x 2 x 1, more than this machine can address (at byte 82)"),
    ("tensor_start_huge", K::TensorOutOfFile { end: u64::MAX, file: 192 }, 69, "tensor t ends at byte 18446744073709551615, but the file has 192 bytes; the download may be incomplete (entry at byte 69)"),
    ("tensor_type_iq2_xxs", K::UnsupportedType(16), 108, "tensor blk.0.ffn_up.weight has type IQ2_XXS, which is not supported (at byte 108)"),
    ("tensor_type_removed", K::UnsupportedType(4), 90, "tensor t has type Q4_2, which is not supported (at byte 90)"),
    ("tensor_type_unknown", K::UnknownType(u32::MAX), 90, "tensor t has type number 4294967295, which is unknown; the file is damaged, or newer than this program (at byte 90)"),
    ("value_cut", K::Truncated { needed: 8, left: 7 }, 82, "metadata k needs 8 bytes here, but only 7 are left in the file; it is incomplete or damaged (at byte 82)"),
    ("value_type_unknown", K::UnknownValueType(13), 78, "metadata k has value type 13, which GGUF does not define (at byte 78)"),
    ("version_0", K::UnknownVersion(0), 4, "GGUF version 0 is not supported (2 and 3 are); the file is damaged, or newer than this program"),
    ("version_1", K::Version1, 4, "GGUF version 1 is not supported (2 and 3 are); convert the model again with a current converter"),
    ("version_4", K::UnknownVersion(4), 4, "GGUF version 4 is not supported (2 and 3 are); the file is damaged, or newer than this program"),
    ("version_cut", K::Truncated { needed: 4, left: 2 }, 4, "the file header needs 4 bytes here, but only 2 are left in the file; it is incomplete or damaged (at byte 4)"),
];

#[test]
fn each_broken_file_gives_its_own_error() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/gguf/invalid");
    let mut files: Vec<String> = std::fs::read_dir(&dir)
        .expect("fixtures/gguf/invalid is part of the repository")
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    files.sort();
    assert_eq!(files, REFUSED.iter().map(|row| row.0).collect::<Vec<_>>(), "files and table");

    let mut wrong = Vec::new();
    for &(name, kind, offset, message) in REFUSED {
        let bytes = std::fs::read(dir.join(name).with_extension("gguf")).unwrap();
        match Gguf::parse(&bytes) {
            Err(err) if (err.kind, err.offset) == (kind, offset) && err.to_string() == message => {}
            Err(err) => wrong.push(format!("{name}: {err} {:?} {}", err.kind, err.offset)),
            Ok(gguf) => wrong.push(format!("{name}: read as {gguf:?}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_message_is_one_line_that_cannot_steer_a_terminal() {
    for key in ["a\nb", "\x1b[2J", "\r", &"\0".repeat(300), "\u{202e}evil"] {
        let mut file = header(0, 1);
        text(&mut file, key.as_bytes());
        file.extend(99_u32.to_le_bytes());
        file.extend([0; 8]);
        let message = Gguf::parse(&file).unwrap_err().to_string();
        assert!(message.chars().all(|c| c == ' ' || c.is_ascii_graphic()), "{message:?}");
        assert!(message.len() < 700, "{message}");
    }
}

/// Files whose counts ask for more work than their bytes are worth.
///
/// The bound is loose, for emulators and valgrind; work that followed the counts instead
/// of the bytes would take hours.
#[test]
fn counts_and_collisions_cost_little() {
    let mut files: Vec<(&str, Vec<u8>)> = Vec::new();

    for (name, ty, count) in
        [("strings", 8_u32, u64::MAX), ("bytes", 0, 1 << 63), ("doubles", 12, 1 << 61)]
    {
        let mut file = header(0, 1);
        text(&mut file, b"k");
        file.extend(9_u32.to_le_bytes());
        file.extend(ty.to_le_bytes());
        file.extend(count.to_le_bytes());
        file.resize(1 << 20, 0);
        files.push((name, file));
    }

    // As many tensors as may be, with names that differ in their last byte but one.
    let mut file = header(4096, 0);
    for i in 0..4096_u64 {
        text(&mut file, format!("{}{i:05}", "n".repeat(59)).as_bytes());
        file.extend(1_u32.to_le_bytes());
        file.extend(8_u64.to_le_bytes());
        file.extend(0_u32.to_le_bytes());
        file.extend((i * 32).to_le_bytes());
    }
    files.push(("tensors", file));

    // As many keys as may be, long and alike up to their end.
    let mut file = header(0, 256);
    for i in 0..256_u32 {
        let mut key = vec![b'k'; 8000];
        key.extend(format!("{i:04}").as_bytes());
        text(&mut file, &key);
        file.extend(0_u32.to_le_bytes());
        file.push(0);
    }
    files.push(("keys", file));

    for (name, file) in files {
        let start = Instant::now();
        let result = Gguf::parse(&file);
        let took = start.elapsed();
        eprintln!("{name}: {took:?}");
        assert_eq!(result.is_ok(), name == "keys", "{name}: {result:?}");
        assert!(took < Duration::from_secs(60), "{name}: {took:?}");
    }
}

fn header(n_tensors: u64, n_metadata: u64) -> Vec<u8> {
    let mut file = b"GGUF\x03\0\0\0".to_vec();
    file.extend(n_tensors.to_le_bytes());
    file.extend(n_metadata.to_le_bytes());
    file
}

fn text(file: &mut Vec<u8>, text: &[u8]) {
    file.extend((text.len() as u64).to_le_bytes());
    file.extend(text);
}
