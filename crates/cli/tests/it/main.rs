//! The `tapeloop` command from outside: the real program, its output, its exit codes.
//!
//! **Invariant:** every test has folders and a socket of its own, and leaves no process behind.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod agent;
mod bad_input;
mod convert;
mod help;
mod input;
mod offline;
mod program;
mod reading;
mod real;
mod replay;
mod rule;
mod run;
mod schema;
