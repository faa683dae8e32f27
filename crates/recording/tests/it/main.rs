//! Reading from the outside: conformance, real recordings, damage, bad input, tapes, exports.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod bad_input;
mod bag;
mod bag_build;
mod build;
mod conformance;
mod conformance_writer;
mod damage;
mod data;
mod export;
mod harm;
mod reading;
mod real;
mod tape;
mod ulog;
