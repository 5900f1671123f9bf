//! Says which instructions of 32-bit Arm and of RISC-V the target has.
//!
//! The stable compiler does not show these target features to crates, though it compiles for them;
//! so they are told from the target's name, and from a CPU named in `RUSTFLAGS`.
//!
//! - `bantam_arm_dsp`: SMLAD and its kin. Part of ARMv6 and ARMv7-A; of microcontrollers, Cortex-M4
//!   and M7 have them always, Cortex-M33 and later ones by the maker's choice.
//! - `bantam_arm_fpv4`: a microcontroller's FPU, with fused multiply-add and square root in single
//!   precision and conversions from half floats. Other targets' FPUs are the compiler's matter.
//! - `bantam_riscv_f`: a RISC-V FPU with fused multiply-add and square root in single precision.

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-check-cfg=cfg(bantam_arm_dsp, bantam_arm_fpv4, bantam_riscv_f)");
    let var = |name| env::var(name).unwrap_or_default();
    if var("CARGO_CFG_TARGET_ARCH").starts_with("riscv") {
        // `riscv32imafc-…`; `g` is `imafd`.
        let target = var("TARGET");
        let letters = target.split('-').next().and_then(|isa| isa.get("riscv32".len()..));
        if letters.is_some_and(|letters| letters.contains(['f', 'g'])) {
            println!("cargo::rustc-cfg=bantam_riscv_f");
        }
        return;
    }
    if var("CARGO_CFG_TARGET_ARCH") != "arm" || var("CARGO_CFG_TARGET_ENDIAN") != "little" {
        return;
    }
    let (target, flags) = (var("TARGET"), var("CARGO_ENCODED_RUSTFLAGS"));
    // `-Coption=value`, or `-C` and the rest as the next flag.
    let option = |name: &str| {
        let flags = flags.split('\x1f').map(|flag| flag.strip_prefix("-C").unwrap_or(flag).trim());
        flags.filter_map(|flag| flag.strip_prefix(name)).collect::<Vec<_>>().join(",")
    };
    let (cpu, asked) = (option("target-cpu="), option("target-feature="));
    let among = |list: &str, name: &str| list.split(',').any(|have| have == name);

    // Microcontrollers since ARMv8 have DSP instructions if the CPU that was named has them.
    let chosen = among(&var("CARGO_CFG_TARGET_FEATURE"), "dsp")
        || among(&asked, "+dsp")
        || ["cortex-m33", "cortex-m35p", "cortex-m55", "cortex-m85"].iter().any(|m| among(&cpu, m));
    let always =
        ["thumbv7em-", "armv6-", "armv6k-", "armv7", "thumbv7a-", "thumbv7neon-", "armv8r-"];
    let linux_v6 = target.starts_with("arm-unknown-linux-");
    if (chosen || linux_v6 || always.iter().any(|name| target.starts_with(name)))
        && !among(&asked, "-dsp")
    {
        println!("cargo::rustc-cfg=bantam_arm_dsp");
    }
    let microcontroller = target.starts_with("thumbv7em-") || target.starts_with("thumbv8m.main-");
    if microcontroller && var("CARGO_CFG_TARGET_ABI") == "eabihf" {
        println!("cargo::rustc-cfg=bantam_arm_fpv4");
    }
}
