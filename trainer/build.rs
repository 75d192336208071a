//! Makes the trainer's binary and tests find the libtorch they were linked with.

use std::env;
use std::path::Path;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // Set by torch-sys (`links = "tch"`), which is why the trainer depends on it directly.
    println!("cargo::rerun-if-env-changed=DEP_TCH_LIBTORCH_LIB");
    let Some(directory) = env::var_os("DEP_TCH_LIBTORCH_LIB") else {
        return;
    };
    let directory = Path::new(&directory);
    println!("cargo::rustc-link-arg=-Wl,-rpath,{}", directory.display());
    if directory.join("libtorch_cuda.so").is_file() {
        // Nothing refers to its symbols by name, so the linker would drop it, and CUDA with it.
        println!("cargo::rustc-link-arg=-L{}", directory.display());
        println!("cargo::rustc-link-arg=-Wl,--no-as-needed,-ltorch_cuda,-ltorch,--as-needed");
    }
}
