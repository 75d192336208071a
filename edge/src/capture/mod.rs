//! Where images come from.

pub mod spool;
pub mod v4l2;
