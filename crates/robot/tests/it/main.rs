//! The tests of the whole crate, in one program.

mod agent;
