//! A plugin for QEMU that counts executed instructions and writes their number to a file, or how
//! often each block of code ran.
//!
//! ```text
//! qemu-aarch64 -plugin libqemu_count.so,out=FILE PROGRAM
//! qemu-aarch64 -plugin libqemu_count.so,blocks=FILE PROGRAM
//! ```
//!
//! The second file's first line says where the program's code begins; every other one has a block's
//! address, its instructions, and how often it ran.
//!
//! It needs nothing of QEMU but the functions named below, which the emulator itself exports
//! (version 1 of its plugin interface: QEMU 7 to 8.2). It is a package of its own, as it needs
//! nothing of xtask's.

#![cfg(target_os = "linux")]

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

/// A block of translated code, known to QEMU alone.
#[repr(C)]
struct Block {
    opaque: [u8; 0],
}

unsafe extern "C" {
    fn qemu_plugin_register_vcpu_tb_trans_cb(
        id: u64,
        translated: unsafe extern "C" fn(u64, *mut Block),
    );
    fn qemu_plugin_tb_n_insns(block: *const Block) -> usize;
    fn qemu_plugin_tb_vaddr(block: *const Block) -> u64;
    fn qemu_plugin_start_code() -> u64;
    fn qemu_plugin_register_vcpu_tb_exec_inline(
        block: *mut Block,
        operation: c_uint,
        counter: *mut c_void,
        value: u64,
    );
    fn qemu_plugin_register_atexit_cb(
        id: u64,
        ended: unsafe extern "C" fn(u64, *mut c_void),
        data: *mut c_void,
    );
}

/// The one operation that QEMU offers: add a value to a counter.
const ADD: c_uint = 0;

/// The version of the interface that this plugin speaks.
#[unsafe(no_mangle)]
#[allow(non_upper_case_globals)] // QEMU gives the name
pub static qemu_plugin_version: c_int = 1;

static COUNT: AtomicU64 = AtomicU64::new(0);
static OUT: OnceLock<String> = OnceLock::new();

/// A block that has been translated.
struct Translated {
    address: u64,
    instructions: u64,
    runs: AtomicU64,
}

/// What blocks are written to, and all so far. They stay where they are, since QEMU adds to them.
static BLOCKS_OUT: OnceLock<String> = OnceLock::new();
static BLOCKS: Mutex<Vec<&'static Translated>> = Mutex::new(Vec::new());

/// Called by QEMU when it has loaded the plugin; anything but 0 makes it end with an error.
///
/// # Safety
/// `args` leads to `n_args` strings.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qemu_plugin_install(
    id: u64,
    _info: *const c_void,
    n_args: c_int,
    args: *const *const c_char,
) -> c_int {
    for i in 0..usize::try_from(n_args).unwrap_or_default() {
        // SAFETY: QEMU passes that many strings, each with a zero at its end.
        let arg = unsafe { CStr::from_ptr(*args.add(i)) }.to_string_lossy();
        if let Some(path) = arg.strip_prefix("out=") {
            OUT.get_or_init(|| path.to_owned());
        }
        if let Some(path) = arg.strip_prefix("blocks=") {
            BLOCKS_OUT.get_or_init(|| path.to_owned());
        }
    }
    if OUT.get().or(BLOCKS_OUT.get()).is_none() {
        eprintln!("qemu_count: say where counts go: out=FILE or blocks=FILE");
        return 1;
    }
    // SAFETY: `id` is this plugin's; the functions live as long as the plugin, which is never
    // unloaded.
    unsafe {
        qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
        qemu_plugin_register_atexit_cb(id, ended, std::ptr::null_mut());
    }
    0
}

/// Has a block's instructions added to the count each time that it runs.
unsafe extern "C" fn translated(_id: u64, block: *mut Block) {
    // SAFETY: QEMU lends the block for this call. The counter is a static, which QEMU's code
    // changes without atomics: exact as long as the program has one thread.
    unsafe {
        let n = qemu_plugin_tb_n_insns(block) as u64;
        qemu_plugin_register_vcpu_tb_exec_inline(block, ADD, COUNT.as_ptr().cast(), n);
        if BLOCKS_OUT.get().is_some() {
            let address = qemu_plugin_tb_vaddr(block);
            let seen = Translated { address, instructions: n, runs: AtomicU64::new(0) };
            let seen: &Translated = Box::leak(Box::new(seen));
            qemu_plugin_register_vcpu_tb_exec_inline(block, ADD, seen.runs.as_ptr().cast(), 1);
            BLOCKS.lock().unwrap_or_else(PoisonError::into_inner).push(seen);
        }
    }
}

/// Writes the count when the program has ended.
unsafe extern "C" fn ended(_id: u64, _data: *mut c_void) {
    let count = COUNT.load(Ordering::Relaxed);
    if let Some(path) = OUT.get()
        && let Err(error) = std::fs::write(path, count.to_string())
    {
        eprintln!("qemu_count: cannot write {path}: {error}");
    }
    if let Some(path) = BLOCKS_OUT.get() {
        // SAFETY: QEMU says where it has put the program.
        let mut text = format!("{:x}\n", unsafe { qemu_plugin_start_code() });
        for block in BLOCKS.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            let Translated { address, instructions, runs } = block;
            let runs = runs.load(Ordering::Relaxed);
            text += &format!("{address:x} {instructions} {runs}\n");
        }
        if let Err(error) = std::fs::write(path, text) {
            eprintln!("qemu_count: cannot write {path}: {error}");
        }
    }
}
