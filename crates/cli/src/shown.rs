//! Messages as people see them, and what is said of those that cannot be decoded.
//!
//! **Invariant:** a message is one line, however much it holds.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use recording::read::Lines;
use recording::{Message, decode, size};

use crate::output::complain;
use crate::text;

/// How many characters of a message are shown to people.
const SHOWN: usize = 300;

/// How many different reasons why messages were not decoded are told one by one.
const REASONS_LIMIT: usize = 50;

/// Why messages were not decoded: by topic and reason, how many.
#[derive(Default)]
pub(crate) struct Unread {
    counts: BTreeMap<(String, String), u64>,
    /// Those whose reasons are too many to be told.
    others: u64,
}

impl Unread {
    /// Counts one.
    pub(crate) fn add(&mut self, message: &Message, why: String) {
        let full = self.counts.len() >= REASONS_LIMIT;
        match self.counts.entry((message.topic.name.clone(), why)) {
            Entry::Vacant(_) if full => self.others += 1,
            entry => *entry.or_default() += 1,
        }
    }

    /// Says why, on stderr.
    pub(crate) fn complain(&self) {
        for ((topic, why), count) in &self.counts {
            complain(format!("{topic}: {} could not be decoded: {why}", text::counted(*count, "message")));
        }
        if self.others > 0 {
            complain(format!("{} more could not be decoded, for other reasons", text::counted(self.others, "message")));
        }
    }
}

/// Returns a message as a line of text, or why it cannot be decoded.
pub(crate) fn for_people(lines: &mut Lines, message: &Message) -> Result<String, String> {
    let mut json = Vec::new();
    lines.message(message, &mut json)?;
    let text = String::from_utf8_lossy(&json);
    let mut shown: String = text.chars().take(SHOWN).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    Ok(format!("{}  {shown}", place(message)))
}

/// Returns what there is of a message that cannot be decoded.
pub(crate) fn opaque(message: &Message) -> String {
    let topic = &message.topic;
    let kind = if topic.type_name().is_empty() { "no schema" } else { topic.type_name() };
    format!("{}  <{kind}, {}, {}>", place(message), topic.encoding, size::format(message.data.len() as u64))
}

fn place(message: &Message) -> String {
    format!("{}  {}", text::moment(message.log_time_ns), message.topic.name)
}

/// Reads the path of a field.
pub(crate) fn path(text: &str) -> Result<String, String> {
    decode::check_path(text).map(|()| text.to_owned()).map_err(|error| error.to_string())
}
