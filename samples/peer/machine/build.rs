// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Hands the linker script to the linker.

fn main() {
    let folder = std::env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
    println!("cargo:rerun-if-changed=link.ld");
    // The addresses that the linker is to link it for as well (tools/env/peer-link).
    println!("cargo:rerun-if-env-changed=HVL_PEER_AT");
    println!("cargo:rustc-link-arg-bins=-T{folder}/link.ld");
    println!("cargo:rustc-link-arg-bins=-zmax-page-size=4096");
}
