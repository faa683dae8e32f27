//! The tests of the whole crate, in one program.

mod odd_input;
mod tape;
mod versions;
mod agent;
