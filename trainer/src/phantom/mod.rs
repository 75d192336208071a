//! Synthetic radiographs in the MURA layout.
