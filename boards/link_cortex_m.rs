//! The build script of every board with a Cortex-M and no C: hands the linker the board's memory
//! map, cortex-m-rt's script and defmt's.

use std::env;

fn main() {
    let here = env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
    println!("cargo::rustc-link-search={here}");
    println!("cargo::rerun-if-changed=memory.x");
    println!("cargo::rerun-if-changed=../link_cortex_m.rs");
    for argument in ["--nmagic", "-Tlink.x", "-Tdefmt.x"] {
        println!("cargo::rustc-link-arg-bins={argument}");
    }
}
