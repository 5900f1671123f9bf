//! Checksums, and taking files out of Python wheels (which are ZIP archives).

use anyhow::{Context as _, Result, bail};
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

/// A writer that hashes what passes through it.
pub(crate) struct Hashing<W> {
    to: W,
    hash: Sha256,
    bytes: u64,
}

impl<W: Write> Hashing<W> {
    /// A hashing writer in front of `to`.
    pub(crate) fn new(to: W) -> Self {
        Hashing { to, hash: Sha256::new(), bytes: 0 }
    }

    /// Bytes written until now.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The inner writer, and the SHA-256 of everything written, in lower-case hexadecimal.
    pub(crate) fn finish(self) -> (W, String) {
        let digest = self.hash.finalize();
        (self.to, digest.iter().map(|byte| format!("{byte:02x}")).collect())
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let n = self.to.write(buf)?;
        self.hash.update(&buf[..n]);
        self.bytes += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// Whether the file at `path` has this size and SHA-256; the reason in words if not.
///
/// # Errors
/// When it cannot be read.
pub(crate) fn check(path: &Path, bytes: u64, sha256: &str) -> Result<Result<(), String>> {
    let mut file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let found = file.metadata().with_context(|| format!("cannot stat {}", path.display()))?.len();
    if found != bytes {
        return Ok(Err(format!("it has {found} bytes, expected {bytes}")));
    }
    let mut hashing = Hashing::new(io::sink());
    let mut buf = vec![0; 1 << 20];
    loop {
        let n = file.read(&mut buf).with_context(|| format!("cannot read {}", path.display()))?;
        if n == 0 {
            break;
        }
        hashing.write_all(&buf[..n])?;
    }
    let (_, found) = hashing.finish();
    Ok(if found == sha256 {
        Ok(())
    } else {
        Err(format!("its SHA-256 is {found}, expected {sha256}"))
    })
}

/// Copies the file `member` of the wheel at `path` to `to`; returns its size in bytes.
///
/// # Errors
/// When the wheel is not a readable ZIP archive, has no such member, or writing fails.
pub(crate) fn copy_member(path: &Path, member: &str, to: &mut impl Write) -> Result<u64> {
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let mut archive = zip::ZipArchive::new(io::BufReader::new(file))
        .with_context(|| format!("{} is not a wheel", path.display()))?;
    let Ok(mut entry) = archive.by_name(member) else {
        bail!("{} holds no file {member}", path.display());
    };
    // The archive's own CRC-32 is checked by the reader when it reaches the end.
    io::copy(&mut entry, to)
        .with_context(|| format!("cannot unpack {member} from {}", path.display()))
}

#[cfg(test)]
pub(crate) mod testing {
    use super::*;

    /// Writes a wheel with these files at `path`; returns its size and SHA-256.
    pub(crate) fn write_wheel(path: &Path, files: &[(&str, &[u8])]) -> (u64, String) {
        let mut zip = zip::ZipWriter::new(io::Cursor::new(Vec::new()));
        let how = zip::write::SimpleFileOptions::default()
            .compression_method(zip::CompressionMethod::Deflated);
        for (name, bytes) in files {
            zip.start_file(*name, how).unwrap();
            zip.write_all(bytes).unwrap();
        }
        let bytes = zip.finish().unwrap().into_inner();
        std::fs::write(path, &bytes).unwrap();
        (bytes.len() as u64, sha256(&bytes))
    }

    /// SHA-256 of `bytes`.
    pub(crate) fn sha256(bytes: &[u8]) -> String {
        let mut hashing = Hashing::new(io::sink());
        hashing.write_all(bytes).unwrap();
        hashing.finish().1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sha256_of_abc() {
        // FIPS 180-4's example.
        assert_eq!(
            testing::sha256(b"abc"),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }

    #[test]
    fn check_tells_size_from_checksum() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        std::fs::write(&path, b"abc").unwrap();
        let good = testing::sha256(b"abc");
        assert_eq!(check(&path, 3, &good).unwrap(), Ok(()));
        assert!(check(&path, 4, &good).unwrap().unwrap_err().contains("3 bytes, expected 4"));
        assert!(
            check(&path, 3, &testing::sha256(b"abd")).unwrap().unwrap_err().contains("SHA-256")
        );
        assert!(check(&dir.path().join("none"), 3, &good).is_err());
    }

    #[test]
    fn members_come_out_whole_and_missing_ones_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.whl");
        testing::write_wheel(&path, &[("p/one", b"1111"), ("p/two", b"22")]);
        let mut out = Vec::new();
        assert_eq!(copy_member(&path, "p/two", &mut out).unwrap(), 2);
        assert_eq!(copy_member(&path, "p/one", &mut out).unwrap(), 4);
        assert_eq!(out, b"221111");
        let err = copy_member(&path, "p/three", &mut out).unwrap_err().to_string();
        assert!(err.contains("holds no file p/three"), "{err}");
        std::fs::write(&path, b"not a zip").unwrap();
        assert!(
            format!("{:#}", copy_member(&path, "p/one", &mut out).unwrap_err())
                .contains("is not a wheel")
        );
    }
}
