//! Reading from the outside: conformance, real recordings, damage, bad input, tapes, exports.

#![allow(clippy::duplicate_mod, reason = "each conformance program has the JSON of records in it, as it does by itself")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod any_damage;
mod bad_input;
mod bag;
mod bag_build;
mod build;
mod conformance;
mod convert;
mod damage;
mod data;
mod db3;
mod db3_expected;
mod definitions;
mod export;
mod harm;
mod keeping;
mod lerobot;
mod locations;
mod memory;
mod reading;
mod real;
mod rosbag2;
mod tape;
mod ulog;
