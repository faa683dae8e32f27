//! Simulation of a tape: everything that happens to it follows from a seed.
//!
//! In comes a seed, out comes nothing, or a failed assertion with the seed that brings it back. Time is a [`clock::SimClock`], the
//! disk a [`disk::SimDisk`] that loses what was not synced, and a [`world::World`] does with a tape what a robot does in a bad month
//! and compares what can be read with what was accepted.
//!
//! **Invariant:** a run depends on its seed alone: no thread but the one that watches for hangs, no clock of the machine, no
//! random numbers of the system.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

pub mod clock;
pub mod disk;
pub mod model;
pub mod random;
pub mod reading;
pub mod seeds;
pub mod world;
