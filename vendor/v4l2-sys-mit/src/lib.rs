//! Raw bindings of the kernel's `videodev2.h`: see README.md for what differs from the crate as published.

#![allow(clippy::all)]
#![allow(missing_docs, non_camel_case_types, non_snake_case, non_upper_case_globals, unused)]

#[cfg(target_pointer_width = "64")]
include!("bindings_64.rs");

// i686 aligns 64-bit integers to 4 bytes where armv7 aligns them to 8.
#[cfg(all(target_pointer_width = "32", not(target_arch = "x86")))]
include!("bindings_32.rs");

#[cfg(target_arch = "x86")]
compile_error!("there are no bindings for 32-bit x86: see vendor/v4l2-sys-mit/README.md");
