//! Recordings of other programs: each format is understood as a [`crate::container::Container`].
//!
//! **Invariant:** a file is read, never written, and none of its bytes is believed before it is checked.

pub mod bag;
pub mod ulog;
