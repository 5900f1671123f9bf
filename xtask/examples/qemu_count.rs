//! A plugin for QEMU that counts executed instructions and writes their number to a file.
//!
//! ```text
//! qemu-aarch64 -plugin libqemu_count.so,out=FILE PROGRAM
//! ```
//!
//! It needs nothing of QEMU but the functions named below, which the emulator itself exports
//! (version 1 of its plugin interface: QEMU 4.2 to 8.2). It is an example of this package so that
//! the package's own build, lints and formatting cover it.

#![cfg(target_os = "linux")]

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

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
    }
    if OUT.get().is_none() {
        eprintln!("qemu_count: say where the count goes: out=FILE");
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
}
