//! The Python package `tapeloop`: the recorder, and the reader of recordings.
//!
//! In come Python calls, out go calls of `robot` and `recording`. Values are encoded here ([`json`], [`array`]); what a
//! program meets first is [`recorder`] and [`reading`].
//!
//! **Invariant:** nothing here needs numpy or PIL; a value of theirs brings them along.

mod argument;
mod array;
mod buffer;
mod cdr;
mod class;
mod clip;
mod error;
mod fingerprint;
mod frames;
mod global;
mod image;
mod json;
mod memory;
mod qos;
mod reading;
mod recorder;
mod ros;
mod schema;
mod session;
mod shape;
mod table;
mod topics;

use pyo3::prelude::*;

#[pymodule]
mod _native {
    #[pymodule_export]
    use crate::clip::{Clip, Keep};
    #[pymodule_export]
    use crate::frames::{Frame, Frames};
    #[pymodule_export]
    use crate::global::{after_fork, close_all, flush, global_recorder, init, keep, log, save, status};
    #[pymodule_export]
    use crate::image::CompressedImage;
    #[pymodule_export]
    use crate::reading::{Message, Messages, Recording, TopicView, open};
    #[pymodule_export]
    use crate::recorder::{Recorder, Topic, recorder};
    #[pymodule_export]
    use crate::schema::Schema;
    #[pymodule_export]
    use crate::table::Table;
}
