//! MCAP files: records in and out, whole segments, and everything that can still be read of damaged ones.
//!
//! `write`, `chunk` and `segment` make files; `record`, `linear`, `summary`, `scan` and `outline` read them.
//!
//! **Invariant:** no byte of a file is believed before it is checked, and none of them can make this code panic.

pub mod attachment;
pub mod block;
pub mod chunk;
pub mod container;
pub mod decompress;
pub mod definitions;
pub mod linear;
pub mod opening;
pub mod record;
mod resync;
pub mod scan;
pub mod segment;
pub mod stream;
pub mod summary;
pub(crate) mod window;
pub mod write;
