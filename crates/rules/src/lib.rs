//! Rules: one language of conditions over message fields, and the state machine that makes a condition fire.
//!
//! In come the text of a rule, the topics that there are, and messages with their times; out come firings with their values. The text
//! becomes an [`Expression`], which [`Program::new`] checks against what messages are made of; a [`Machine`] runs it.
//!
//! **Invariant:** nothing here asks for the time: it comes with each message, and the same messages give the same firings.

mod check;
mod collect;
mod compile;
mod evaluate;
mod expression;
mod lex;
mod machine;
mod parse;
mod price;
mod reader;
mod replay;
mod rule;
mod signals;
mod topics;
mod value;

pub use compile::{Feed, Program};
pub use expression::{Arithmetic, Comparison, Expression, Function, Literal, Part, Place, Reference};
pub use machine::{Counts, Firing, Machine, TICK_NS};
pub use parse::{DEPTH_LIMIT, LENGTH_LIMIT, parse};
pub use price::{Kept, Price, Prices, bytes_kept};
pub use replay::{FIRING_LIMIT, Outcome, PAUSE_NS, Replayed, replay};
pub use rule::{CAP_LIMIT, Cap, RULE_LIMIT, Rule, Trigger, rules};
pub use topics::Topics;
pub use value::{Held, Value};
