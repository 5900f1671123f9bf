//! Compiles the C, and hands the linker the board's memory map, cortex-m-rt's script and defmt's.

use std::env;

fn main() {
    let here = env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
    println!("cargo::rustc-link-search={here}");
    println!("cargo::rerun-if-changed=memory.x");
    for argument in ["--nmagic", "-Tlink.x", "-Tdefmt.x"] {
        println!("cargo::rustc-link-arg-bins={argument}");
    }
    println!("cargo::rerun-if-changed=c");
    println!("cargo::rerun-if-changed=../capi/bantam.h");
    // Nothing of an operating system is used, so the compiler for one does.
    cc::Build::new()
        .compiler(env::var("BANTAM_ARM_CC").as_deref().unwrap_or("arm-linux-gnueabihf-gcc"))
        .no_default_flags(true)
        .flags(["-mcpu=cortex-m7", "-mthumb", "-mfpu=fpv5-sp-d16", "-mfloat-abi=hard"])
        .flags(["-std=c11", "-Os", "-ffreestanding", "-fshort-enums", "-fno-pic"])
        .flags(["-Wall", "-Wextra", "-Werror"])
        .include("../capi")
        .file("c/answer.c")
        .compile("answer");
}
