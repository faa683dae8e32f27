//! Reading from the outside: conformance, real recordings, damage, bad input, tapes, exports.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod bad_input;
mod build;
mod conformance;
mod conformance_writer;
mod damage;
mod data;
mod db3;
mod db3_expected;
mod export;
mod lerobot;
mod reading;
mod real;
mod rosbag2;
mod tape;
