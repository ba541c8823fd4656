// SPDX-License-Identifier: MIT
//! Finds libudpgather: in UDPGATHER_LIB_DIR if that is set, else by pkg-config(1).
use std::env;
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-env-changed=UDPGATHER_LIB_DIR");
    println!("cargo:rustc-link-lib=udpgather");
    if let Ok(dir) = env::var("UDPGATHER_LIB_DIR") {
        println!("cargo:rustc-link-search=native={dir}");
        return;
    }
    let out = Command::new("pkg-config")
        .args(["--libs-only-L", "libudpgather"])
        .output()
        .expect("pkg-config cannot be run, and UDPGATHER_LIB_DIR is not set");
    assert!(
        out.status.success(),
        "pkg-config does not know libudpgather, and UDPGATHER_LIB_DIR is not set"
    );
    for word in String::from_utf8_lossy(&out.stdout).split_whitespace() {
        println!("cargo:rustc-link-search=native={}", word.trim_start_matches("-L"));
    }
}
