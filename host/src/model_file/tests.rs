use super::*;

fn write(folder: &tempfile::TempDir, bytes: &[u8]) -> PathBuf {
    let path = folder.path().join("model.gguf");
    fs::write(&path, bytes).unwrap();
    path
}

#[test]
fn names_what_is_no_model() {
    let folder = tempfile::tempdir().unwrap();
    let mut safetensors = 64_u64.to_le_bytes().to_vec();
    safetensors.extend(br#"{"__metadata__":{}}"#);
    safetensors.resize(200, b' ');
    let cases: &[(&[u8], &str)] = &[
        (b"", "empty"),
        (b"GG", "too short"),
        (b"PK\x03\x04rest", "zip archive"),
        (b"\x1f\x8b\x08\x00", "gzip"),
        (b"\n<!DOCTYPE html><html>", "web page"),
        (b"<HTML>", "web page"),
        (b"{\"error\":\"not found\"}", "JSON"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS"),
        (b"tjgg\x03\x00\x00\x00", "before GGUF"),
        (&[0; 100], "zeros"),
        (b"Hello, world", "magic"),
        (&safetensors, "safetensors"),
    ];
    for (bytes, expected) in cases {
        let error = ModelFile::open(&write(&folder, bytes)).unwrap_err();
        let text = error.to_string();
        assert!(text.contains(expected), "{expected}: {text}");
        assert!(!text.contains('\n'), "{text}");
        assert_eq!(error.exit_code(), exit::MODEL);
    }
}

#[test]
fn tells_files_from_what_is_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let text = |path: &Path| {
        let error = ModelFile::open(path).unwrap_err();
        assert_eq!(error.exit_code(), exit::FILE);
        error.to_string()
    };
    assert!(text(&folder.path().join("a\nb")).contains("a\\nb: no such file"));
    assert!(text(folder.path()).contains("holds no .gguf file"));
    write(&folder, b"GGUF");
    assert!(text(folder.path()).contains("model.gguf"));
    assert!(text(Path::new("/dev/null")).contains("regular file"));
}

#[test]
fn notices_a_change() {
    let folder = tempfile::tempdir().unwrap();
    let path = write(&folder, b"GGUF and more");
    let file = ModelFile::open(&path).unwrap();
    file.check_unchanged().unwrap();
    assert_eq!(file.bytes(), b"GGUF and more");
    // Shorter, but inside the page: no signal would ever tell.
    File::options().write(true).open(&path).unwrap().set_len(6).unwrap();
    assert!(matches!(file.check_unchanged(), Err(Error::Changed { .. })));
}

#[test]
fn pages_in_what_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let mut bytes = b"GGUF".to_vec();
    bytes.resize(20 << 20, 7);
    let file = ModelFile::open(&write(&folder, &bytes)).unwrap();
    let mut seen = Vec::new();
    file.page_in(0..bytes.len(), |done| {
        seen.push(done);
        Ok(())
    })
    .unwrap();
    // Old kernels cannot, and say nothing.
    assert!(seen.is_empty() || seen.last() == Some(&(20 << 20)));
    assert!(seen.is_sorted());
    let stop = file.page_in(0..bytes.len(), |_| Err(Error::Interrupted));
    assert!(seen.is_empty() || matches!(stop, Err(Error::Interrupted)));
}

#[test]
fn slots_are_given_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = write(&folder, b"GGUF and more");
    for _ in 0..3 * MAX_MAPPED {
        drop(ModelFile::open(&path).unwrap());
    }
}

#[cfg(feature = "bundled")]
#[test]
fn the_bundled_model_lies_as_weights_should() {
    let file = ModelFile::bundled();
    assert!(file.bytes().as_ptr().addr().is_multiple_of(64));
    // Every time the same bytes: none is a copy.
    assert_eq!(file.bytes().as_ptr(), ModelFile::bundled().bytes().as_ptr());
    file.page_in(0..file.bytes().len(), |_| Err(Error::Interrupted)).unwrap();
    file.check_unchanged().unwrap();
    bantam_core::model::Model::new(&file.gguf().unwrap()).unwrap();
}
