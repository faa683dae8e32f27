//! The tests of the whole crate, in one program.

#![expect(clippy::unwrap_used, reason = "a test ends where something it needs fails")]

mod agent;
mod expect;
mod latched;
mod odd_input;
mod tape;
mod versions;
mod world;
