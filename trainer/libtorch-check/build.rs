//! Fails with one sentence when the libtorch that torch-sys is about to use is not there.

use std::env;
use std::path::Path;
use std::process::exit;

fn main() {
    println!("cargo::rerun-if-env-changed=LIBTORCH");
    println!("cargo::rerun-if-env-changed=LIBTORCH_USE_PYTORCH");
    if env::var_os("LIBTORCH_USE_PYTORCH").is_some() {
        return;
    }
    let Some(root) = env::var_os("LIBTORCH") else {
        println!(
            "cargo::error=LIBTORCH is not set: build inside the repository, whose .cargo/config.toml sets it"
        );
        exit(1);
    };
    let library = Path::new(&root).join("lib/libtorch.so");
    println!("cargo::rerun-if-changed={}", library.display());
    if !library.is_file() {
        println!(
            "cargo::error=libtorch is not in third_party/libtorch: run `make libtorch` first (looked for {}; \
             an exported LIBTORCH or LIBTORCH_USE_PYTORCH=1 takes another one)",
            library.display()
        );
        exit(1);
    }
}
