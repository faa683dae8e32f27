//! Recordings that other programs made, each format behind [`Container`](crate::container::Container).
//!
//! In comes a source of bytes or a folder, out come topics, blocks of messages and what is lost.
//!
//! **Invariant:** importing never writes to what it reads, and no payload byte is changed.

pub mod bag;
pub mod db3;
pub mod drec;
pub mod lerobot;
pub mod rosbag2;
pub mod sqlite;
pub mod ulog;
pub mod unpacked;
