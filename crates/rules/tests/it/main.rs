//! Rules from outside: the guide's conditions, and what is evaluated against what messages say.
//!
//! **Invariant:** what is expected is worked out another way: from the guide's text, or from a message's JSON.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod against_json;
mod encodings;
mod guide;
mod messages;
mod replay;
