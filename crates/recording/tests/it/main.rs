//! Reading from the outside: conformance, real recordings, damage, bad input, tapes, exports.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod any_damage;
mod bad_input;
mod build;
mod conformance;
mod convert;
mod damage;
mod data;
mod db3;
mod db3_expected;
mod definitions;
mod export;
mod locations;
mod memory;
mod reading;
mod real;
mod tape;
