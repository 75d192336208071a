//! Nothing but a build script. torch-sys answers a missing libtorch with a page of C++ errors; this crate
//! has no dependencies, so its script runs before torch-sys's and says what to do.
