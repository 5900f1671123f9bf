//! A model file, mapped read-only: its bytes are used where they lie, and the page cache is the
//! only copy in memory.
//!
//! A mapped file belongs to the file system, which may take pages away: touching a page behind
//! the end of a file that shrank raises `SIGBUS`. The first [`ModelFile::open`] of a process
//! installs a handler for that signal; for an address inside a mapped model it writes one line
//! and ends the process, for any other it hands over to whoever handled the signal before.
//! [`ModelFile::check_unchanged`] catches what raises no signal.

use std::fs::{self, File, Metadata};
use std::io;
use std::mem::MaybeUninit;
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use bantam_core::gguf::Gguf;
use memmap2::{Advice, Mmap, UncheckedAdvice};

#[cfg(feature = "bundled")]
use crate::bundled;
use crate::error::{Error, Shown, exit};

/// A GGUF file's bytes.
#[derive(Debug)]
pub struct ModelFile {
    path: PathBuf,
    source: Source,
}

/// Where the bytes are.
#[derive(Debug)]
enum Source {
    Mapped(Mapped),
    /// In the program itself.
    #[cfg(feature = "bundled")]
    Bundled(&'static [u8]),
}

#[derive(Debug)]
struct Mapped {
    map: Mmap,
    file: File,
    /// What told this version of the file from others when it was mapped.
    stamp: Stamp,
    _guard: Guard,
}

/// Length, time of the last change, and identity of a file.
#[derive(Debug, PartialEq, Eq)]
struct Stamp(u64, i64, i64, u64);

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self(metadata.len(), metadata.mtime(), metadata.mtime_nsec(), metadata.ino())
    }
}

impl ModelFile {
    /// Maps the file at `path`, whose first bytes must be those of a GGUF file.
    ///
    /// # Errors
    /// [`Error::File`] if it cannot be opened or is a directory or a device;
    /// [`Error::NotAModel`] if it is empty or of another kind.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let fail = |source: io::Error| file_error(path, &source);
        // Asked before opening: opening a pipe would wait for a writer.
        let metadata = fs::metadata(path).map_err(fail)?;
        if metadata.is_dir() {
            return Err(Error::File { path: path.into(), what: directory_hint(path) });
        }
        if !metadata.is_file() {
            return Err(Error::File {
                path: path.into(),
                what: "not a regular file, so it cannot be mapped; save the model as a file first"
                    .into(),
            });
        }
        let file = File::open(path).map_err(fail)?;
        let metadata = file.metadata().map_err(fail)?;
        if metadata.len() == 0 {
            return Err(Error::NotAModel {
                path: path.into(),
                what: "the file is empty; download it again",
            });
        }
        // SAFETY: the map is read-only and private to this value, and lives as long as what is
        // lent from it. Other processes can still change the file, which no map can prevent:
        // the core treats every byte as hostile and re-reads none that it relies on for memory
        // safety; a file that shrinks ends the process in `on_sigbus`, one that changes is
        // reported by `check_unchanged`.
        let map = unsafe { Mmap::map(&file) }.map_err(fail)?;
        let guard = Guard::new(&map, path)?;
        if let Some(what) = looks_like(&map) {
            return Err(Error::NotAModel { path: path.into(), what });
        }
        let mapped = Mapped { map, file, stamp: Stamp::of(&metadata), _guard: guard };
        Ok(Self { path: path.into(), source: Source::Mapped(mapped) })
    }

    /// The model that is part of the program.
    #[cfg(feature = "bundled")]
    pub fn bundled() -> Self {
        Self { path: bundled::NAME.into(), source: Source::Bundled(bundled::bytes()) }
    }

    /// The whole file.
    pub fn bytes(&self) -> &[u8] {
        match &self.source {
            Source::Mapped(mapped) => &mapped.map,
            #[cfg(feature = "bundled")]
            Source::Bundled(bytes) => bytes,
        }
    }

    /// The path it was opened under, or the bundled model's name.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the file's parsed structure.
    ///
    /// # Errors
    /// [`Error::Parse`].
    pub fn gguf(&self) -> Result<Gguf<'_>, Error> {
        Gguf::parse(self.bytes())
            .map_err(|source| Error::Parse { path: self.path.clone(), source: Box::new(source) })
    }

    /// Returns this file's error for something that is wrong with the model in it.
    pub fn model_error(&self, what: impl ToString) -> Error {
        Error::Model { path: self.path.clone(), what: what.to_string() }
    }

    /// Reads `range` of the file into the page cache and maps it, a piece at a time; `progress`
    /// is called with the bytes done so far. Later use then meets no disk.
    ///
    /// # Errors
    /// Whatever `progress` returns to stop, and [`Error::Changed`] if the file got shorter.
    pub fn page_in(
        &self,
        range: Range<usize>,
        mut progress: impl FnMut(u64) -> Result<(), Error>,
    ) -> Result<(), Error> {
        const PIECE: usize = 8 << 20;
        // The system brings the program's own pages in.
        let Some(Mapped { map, .. }) = self.mapped() else { return Ok(()) };
        let end = range.end.min(map.len());
        let mut start = range.start;
        while start < end {
            let piece = PIECE.min(end - start);
            match map.advise_range(Advice::PopulateRead, start, piece) {
                Ok(()) => {}
                Err(error) if error.raw_os_error() == Some(libc::EFAULT) => {
                    return Err(Error::Changed { path: self.path.clone() });
                }
                // Before Linux 5.14: the kernel may still read ahead, and first use does the
                // rest.
                Err(_) => {
                    let _ = map.advise_range(Advice::WillNeed, start, end - start);
                    return Ok(());
                }
            }
            start += piece;
            progress((start - range.start) as u64)?;
        }
        Ok(())
    }

    /// Says that `range` of the file will be needed soon: the system may begin to read it.
    pub fn will_need(&self, range: Range<usize>) {
        if let Some(Mapped { map, .. }) = self.mapped()
            && !range.is_empty()
        {
            // A hint: nothing depends on it.
            let _ = map.advise_range(Advice::WillNeed, range.start, range.len());
        }
    }

    /// Says that `range` of the file is not needed for now: this process gives its pages back, and
    /// reads them again if it touches them.
    pub fn let_go(&self, range: Range<usize>) {
        if let Some(Mapped { map, .. }) = self.mapped()
            && !range.is_empty()
        {
            // SAFETY: the map is a shared one of a file and is never written through, so pages that
            // are dropped come back with the file's bytes, as any page of it may at any time.
            let _ = unsafe {
                map.unchecked_advise_range(UncheckedAdvice::DontNeed, range.start, range.len())
            };
        }
    }

    /// Says whether the file is still the one that was mapped. To be asked before results are
    /// relied on: a file that shrinks inside its last page reads as zeros there.
    ///
    /// # Errors
    /// [`Error::Changed`].
    pub fn check_unchanged(&self) -> Result<(), Error> {
        let Some(Mapped { file, stamp, .. }) = self.mapped() else { return Ok(()) };
        let now = file.metadata().map(|metadata| Stamp::of(&metadata));
        match now {
            Ok(now) if now == *stamp => Ok(()),
            _ => Err(Error::Changed { path: self.path.clone() }),
        }
    }

    fn mapped(&self) -> Option<&Mapped> {
        match &self.source {
            Source::Mapped(mapped) => Some(mapped),
            #[cfg(feature = "bundled")]
            Source::Bundled(_) => None,
        }
    }
}

fn file_error(path: &Path, source: &io::Error) -> Error {
    if source.kind() == io::ErrorKind::NotFound {
        return Error::File {
            path: path.into(),
            what: "no such file; check the path, or fetch the test models with `cargo xtask \
                   models`"
                .into(),
        };
    }
    Error::file(path, source)
}

/// What to say about a directory: which model in it may be meant.
fn directory_hint(path: &Path) -> String {
    let mut models: Vec<PathBuf> = fs::read_dir(path)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|ext| ext == "gguf"))
        .collect();
    models.sort();
    match models.first() {
        Some(model) => format!("is a directory; name the file, such as {}", Shown(model)),
        None if path.join("config.json").is_file() => {
            "is a directory of a Hugging Face model; convert it with `bantam convert`".into()
        }
        None => "is a directory, and holds no .gguf file; name a model file".into(),
    }
}

/// How files that are taken for models begin, what they are, and what to do about it.
const OTHER_KINDS: [(&[u8], &str); 17] = {
    const CONVERT_PICKLE: &str =
        "it looks like a Python pickle; convert it with llama.cpp's convert_hf_to_gguf.py";
    const OLD_GGML: &str =
        "it is of the GGML kind that came before GGUF; take a GGUF file of the same model";
    [
        (b"FUGG", "its magic bytes are in the wrong order; take the little-endian file"),
        (b"tjgg", OLD_GGML),
        (b"fmgg", OLD_GGML),
        (b"lmgg", OLD_GGML),
        (
            b"PK\x03\x04",
            "it looks like a zip archive or a PyTorch checkpoint; unpack it, or convert it with \
             llama.cpp's convert_hf_to_gguf.py",
        ),
        (b"\x1f\x8b", "it looks gzip-compressed; unpack it with gunzip first"),
        (b"\x28\xb5\x2f\xfd", "it looks zstd-compressed; unpack it with unzstd first"),
        (b"\xfd7zXZ\x00", "it looks xz-compressed; unpack it with unxz first"),
        (b"BZh", "it looks bzip2-compressed; unpack it with bunzip2 first"),
        (b"7z\xbc\xaf", "it looks like a 7z archive; unpack it first"),
        (b"\x80\x02", CONVERT_PICKLE),
        (b"\x80\x04", CONVERT_PICKLE),
        (
            b"\x89HDF",
            "it looks like an HDF5 file; convert it with llama.cpp's convert_hf_to_gguf.py",
        ),
        (b"\x7fELF", "it looks like a program; name a .gguf file"),
        (b"\x93NUMPY", "it looks like a NumPy array; name a .gguf file"),
        (b"%PDF", "it looks like a PDF document; name a .gguf file"),
        (b"\x00\x00\x00\x00", "it begins with zeros; the download is incomplete, fetch it again"),
    ]
};

/// The same for text, after white space and in any case.
const OTHER_TEXTS: [(&str, &str); 6] = {
    const WEB_PAGE: &str =
        "it looks like a web page; the download went wrong, fetch the file itself";
    const JSON: &str = "it looks like JSON text; name the model's .gguf file";
    [
        (
            "version https://git-lfs",
            "it is a Git LFS pointer, not the file itself; run `git lfs pull`",
        ),
        ("<!doctype", WEB_PAGE),
        ("<html", WEB_PAGE),
        ("<?xml", WEB_PAGE),
        ("{", JSON),
        ("[", JSON),
    ]
};

/// Returns what a file that does not begin with GGUF's magic probably is and what to do about
/// it, or `None` if it begins like a GGUF file.
fn looks_like(bytes: &[u8]) -> Option<&'static str> {
    if bytes.starts_with(b"GGUF") {
        return None;
    }
    if bytes.len() < 4 {
        return Some("it is too short; download it again");
    }
    if is_safetensors(bytes) {
        return Some(
            "it looks like a safetensors file; convert the model's folder with `bantam convert`",
        );
    }
    let head = String::from_utf8_lossy(bytes.get(..512).unwrap_or(bytes));
    let head = head.trim_start().to_ascii_lowercase();
    let magic = OTHER_KINDS.iter().find(|(magic, _)| bytes.starts_with(magic));
    let text = OTHER_TEXTS.iter().find(|(text, _)| head.starts_with(text));
    Some(match (magic, text) {
        (Some((_, what)), _) | (None, Some((_, what))) => what,
        (None, None) => "it does not begin with GGUF's magic bytes; name a .gguf file",
    })
}

/// Eight bytes of header length, then JSON.
fn is_safetensors(bytes: &[u8]) -> bool {
    let Some((length, rest)) = bytes.split_first_chunk::<8>() else {
        return false;
    };
    u64::from_le_bytes(*length) < bytes.len() as u64 && rest.starts_with(b"{")
}

/// How many model files may be mapped at a time.
const MAX_MAPPED: usize = 16;

/// One mapped range and what to say when it cannot be read. `start` is 0 while unused, and is
/// written last and cleared first, so that the handler never sees half an entry.
struct Slot {
    start: AtomicUsize,
    len: AtomicUsize,
    message: AtomicPtr<Message>,
}

struct Message {
    line: String,
}

static SLOTS: [Slot; MAX_MAPPED] = [const {
    Slot {
        start: AtomicUsize::new(0),
        len: AtomicUsize::new(0),
        message: AtomicPtr::new(ptr::null_mut()),
    }
}; MAX_MAPPED];

/// Every message there ever was. None is freed: another thread may be inside the handler, and a
/// process opens few models.
#[allow(clippy::vec_box, reason = "the handler has their addresses")]
static MESSAGES: Mutex<Vec<Box<Message>>> = Mutex::new(Vec::new());

/// Marks a slot that is being filled. No mapping starts at address 1.
const RESERVED: usize = 1;

/// Whether a thread is on its way out.
static REPORTED: AtomicBool = AtomicBool::new(false);

/// What handled the signal before.
static PREVIOUS: OnceLock<libc::sigaction> = OnceLock::new();

/// Holds a slot for as long as its file is mapped.
#[derive(Debug)]
struct Guard {
    index: usize,
}

impl Guard {
    fn new(map: &Mmap, path: &Path) -> Result<Self, Error> {
        install_handler().map_err(|source| Error::file(path, &source))?;
        let line = format!(
            "error: {}: the file shrank, or its disk failed, while it was in use; get the whole \
             file and run again\n",
            Shown(path)
        );
        for (index, slot) in SLOTS.iter().enumerate() {
            let free = slot.start.compare_exchange(0, RESERVED, Ordering::SeqCst, Ordering::SeqCst);
            if free.is_ok() {
                let message = Box::new(Message { line });
                slot.message.store(ptr::from_ref(&*message).cast_mut(), Ordering::SeqCst);
                MESSAGES.lock().unwrap_or_else(PoisonError::into_inner).push(message);
                slot.len.store(map.len(), Ordering::SeqCst);
                slot.start.store(map.as_ptr().addr(), Ordering::SeqCst);
                return Ok(Self { index });
            }
        }
        Err(Error::File {
            path: path.into(),
            what: format!("{MAX_MAPPED} model files are in use already; close one first"),
        })
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(slot) = SLOTS.get(self.index) {
            slot.start.store(0, Ordering::SeqCst);
        }
    }
}

fn install_handler() -> io::Result<()> {
    static INSTALLED: OnceLock<Option<i32>> = OnceLock::new();
    let failed = INSTALLED.get_or_init(|| {
        let mut previous = MaybeUninit::<libc::sigaction>::uninit();
        // SAFETY: `sigaction` is plain data for which all-zero is a value; the calls get valid
        // pointers to such data; `on_sigbus` has the signature that `SA_SIGINFO` asks for and
        // does only what a signal handler may.
        let ok = unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = on_sigbus as *const () as usize;
            // The alternate stack that Rust gives its threads: this one may be the one at fault.
            action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
            libc::sigemptyset(&raw mut action.sa_mask);
            libc::sigaction(libc::SIGBUS, &raw const action, previous.as_mut_ptr()) == 0
        };
        if !ok {
            return io::Error::last_os_error().raw_os_error();
        }
        // SAFETY: the call succeeded, so it filled the value in.
        let _ = PREVIOUS.set(unsafe { previous.assume_init() });
        None
    });
    failed.map_or(Ok(()), |code| Err(io::Error::from_raw_os_error(code)))
}

/// Ends the process with one line if the fault lies inside a mapped model; otherwise puts the
/// earlier handler back and returns, so that the same fault reaches that one.
extern "C" fn on_sigbus(
    signal: libc::c_int,
    info: *mut libc::siginfo_t,
    _context: *mut libc::c_void,
) {
    // SAFETY: the kernel passes a valid `siginfo_t` to a handler installed with `SA_SIGINFO`,
    // and `SIGBUS` is one of the signals that fill in the address.
    let address = unsafe { (*info).si_addr() }.addr();
    for slot in &SLOTS {
        let start = slot.start.load(Ordering::SeqCst);
        let len = slot.len.load(Ordering::SeqCst);
        if start > RESERVED && address.wrapping_sub(start) < len {
            // SAFETY: the message was stored before `start`, and none is ever freed or changed.
            let message = unsafe { &*slot.message.load(Ordering::SeqCst) };
            // Several threads may meet the same end; the first one reports it.
            if REPORTED.swap(true, Ordering::SeqCst) {
                loop {
                    // SAFETY: `pause` may be called in a handler and has no conditions.
                    unsafe { libc::pause() };
                }
            }
            // SAFETY: `write` and `_exit` may be called in a handler; the buffer is valid for
            // its length.
            unsafe {
                libc::write(libc::STDERR_FILENO, message.line.as_ptr().cast(), message.line.len());
                libc::_exit(exit::MODEL.into());
            }
        }
    }
    let previous = PREVIOUS.get().map_or(ptr::null(), ptr::from_ref);
    // SAFETY: the pointer is null (then nothing happens) or to what `sigaction` once gave.
    unsafe { libc::sigaction(signal, previous, ptr::null_mut()) };
}

#[cfg(test)]
mod tests;
