//! A tape in a bad month: crashes, power cuts, damage, full disks, wrong clocks, each from a seed.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod captures;
mod durability;
