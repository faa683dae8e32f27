//! What notebooks show of a recording and of a topic.
//!
//! **Invariant:** names from files are shown as text, never as markup.

use std::fmt::Write as _;
use std::sync::Arc;

use recording::read::{Info, Outline};
use recording::{Error, Topic};

use super::plan::Leaf;

/// How many rows are shown.
const ROWS_SHOWN: usize = 200;

/// Returns a table of a recording's topics; with counts, where somebody counted or the files say them.
pub(super) fn recording(title: &str, topics: &[Arc<Topic>], info: Option<&Info>, outline: &Outline) -> String {
    let rows = topics.iter().map(|topic| {
        let is_topic = |name: &str, type_name: &str, encoding: &str| {
            (name, type_name, encoding) == (&*topic.name, topic.type_name(), &*topic.encoding)
        };
        let messages = match info {
            Some(info) => {
                let own = info.topics.iter().filter(|known| is_topic(&known.topic, &known.type_name, &known.encoding));
                Some(own.map(|known| known.messages).sum())
            }
            None => {
                let own = outline.topics.iter().find(|known| is_topic(&known.topic, &known.type_name, &known.encoding));
                own.and_then(|known| known.messages)
            }
        };
        let counted = messages.map(|messages: u64| messages.to_string());
        vec![topic.name.clone(), topic.type_name().to_owned(), topic.encoding.clone(), counted.unwrap_or_default()]
    });
    table(title, &["topic", "type", "encoding", "messages"], rows.collect())
}

/// Returns a table of a topic's fields.
pub(super) fn topic(title: &str, fields: Result<Vec<Leaf>, Error>) -> String {
    match fields {
        Ok(fields) => {
            let rows = fields.into_iter().map(|leaf| vec![leaf.path, leaf.kind, leaf.unit]);
            table(title, &["field", "type", "unit"], rows.collect())
        }
        Err(error) => format!("<p>{}</p><p>{}</p>", escaped(title), escaped(&error.to_string())),
    }
}

fn table(title: &str, heads: &[&str], rows: Vec<Vec<String>>) -> String {
    let mut html = format!("<p>{}</p><table><thead><tr>", escaped(title));
    for head in heads {
        let _ = write!(html, "<th>{head}</th>");
    }
    html.push_str("</tr></thead><tbody>");
    for row in rows.iter().take(ROWS_SHOWN) {
        html.push_str("<tr>");
        for cell in row {
            let _ = write!(html, "<td>{}</td>", escaped(cell));
        }
        html.push_str("</tr>");
    }
    html.push_str("</tbody></table>");
    if rows.len() > ROWS_SHOWN {
        let _ = write!(html, "<p>… and {} more</p>", rows.len() - ROWS_SHOWN);
    }
    html
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
