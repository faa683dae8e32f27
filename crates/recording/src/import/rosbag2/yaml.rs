//! The part of YAML that `metadata.yaml` needs: a tree of texts, and back to text.
//!
//! **Invariant:** a tree is no larger than its text, since aliases are not followed, and no deeper than [`DEPTH_LIMIT`].

use saphyr_parser::{Event, Parser, ScalarStyle};

/// How deep a tree may be.
const DEPTH_LIMIT: usize = 32;

/// A value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Yaml {
    /// A text, a number, …: as it is written, and whether in quotes.
    Text {
        text: String,
        quoted: bool,
    },
    List(Vec<Yaml>),
    Map(Vec<(String, Yaml)>),
}

/// What is being put together: a list, or a map with the key that waits for its value.
enum Open {
    List(Vec<Yaml>),
    Map(Vec<(String, Yaml)>, Option<String>),
}

impl Yaml {
    /// Returns the tree of a text, as far as it can be read, and why it cannot be read to its end.
    pub(super) fn parse(text: &str) -> (Self, Option<String>) {
        let mut open = vec![Open::List(Vec::new())];
        let mut damage = None;
        for event in Parser::new_from_str(text) {
            let event = match event {
                Ok((event, _)) => event,
                Err(error) => {
                    damage = Some(error.to_string());
                    break;
                }
            };
            match event {
                Event::Scalar(text, style, ..) => {
                    add(&mut open, Yaml::Text { text: text.into_owned(), quoted: style != ScalarStyle::Plain });
                }
                Event::Alias(_) => add(&mut open, Yaml::Text { text: String::new(), quoted: false }),
                Event::SequenceStart(..) | Event::MappingStart(..) if open.len() > DEPTH_LIMIT => {
                    damage = Some("it is too deep".to_owned());
                    break;
                }
                Event::SequenceStart(..) => open.push(Open::List(Vec::new())),
                Event::MappingStart(..) => open.push(Open::Map(Vec::new(), None)),
                Event::SequenceEnd | Event::MappingEnd => close(&mut open),
                Event::DocumentEnd => break,
                _ => {}
            }
        }
        while open.len() > 1 {
            close(&mut open);
        }
        let root = open.pop().map(Open::finish);
        let first = if let Some(Yaml::List(items)) = root { items.into_iter().next() } else { None };
        (first.unwrap_or(Yaml::Map(Vec::new())), damage)
    }

    /// Returns the value of a key.
    pub(super) fn get(&self, key: &str) -> Option<&Yaml> {
        match self {
            Yaml::Map(entries) => entries.iter().find(|(name, _)| name == key).map(|(_, value)| value),
            _ => None,
        }
    }

    /// Returns the items of a list; none where it is no list.
    pub(super) fn items(&self) -> &[Yaml] {
        if let Yaml::List(items) = self { items } else { &[] }
    }

    /// Returns the entries of a map; none where it is no map.
    pub(super) fn entries(&self) -> &[(String, Yaml)] {
        if let Yaml::Map(entries) = self { entries } else { &[] }
    }

    /// Returns the text of a key; empty where there is none, or YAML's null.
    pub(super) fn text(&self, key: &str) -> &str {
        match self.get(key) {
            Some(Yaml::Text { text, quoted }) if *quoted || !matches!(text.as_str(), "~" | "null") => text,
            _ => "",
        }
    }

    /// Returns the whole number of a key.
    pub(super) fn int(&self, key: &str) -> Option<i64> {
        self.text(key).parse().ok()
    }

    /// Writes it the way rosbag2 writes QoS into a text: block style, two spaces deeper each time.
    pub(super) fn write(&self) -> String {
        let mut lines = Vec::new();
        self.write_lines(0, &mut lines);
        lines.join("\n")
    }

    fn write_lines(&self, indent: usize, lines: &mut Vec<String>) {
        let pad = " ".repeat(indent);
        match self {
            Yaml::Text { .. } => lines.push(format!("{pad}{}", self.scalar())),
            Yaml::List(items) => {
                for item in items {
                    let first = lines.len();
                    item.write_lines(indent + 2, lines);
                    if let Some(line) = lines.get_mut(first) {
                        line.replace_range(indent..indent + 1, "-");
                    }
                }
            }
            Yaml::Map(entries) => {
                for (key, value) in entries {
                    if let Yaml::Text { .. } = value {
                        lines.push(format!("{pad}{key}: {}", value.scalar()));
                    } else {
                        lines.push(format!("{pad}{key}:"));
                        value.write_lines(indent + 2, lines);
                    }
                }
            }
        }
    }

    fn scalar(&self) -> String {
        match self {
            Yaml::Text { text, quoted: false } => text.clone(),
            Yaml::Text { text, .. } => format!("{text:?}"),
            _ => String::new(),
        }
    }
}

impl Open {
    fn finish(self) -> Yaml {
        match self {
            Open::List(items) => Yaml::List(items),
            Open::Map(entries, _) => Yaml::Map(entries),
        }
    }
}

fn add(open: &mut [Open], value: Yaml) {
    match open.last_mut() {
        Some(Open::List(items)) => items.push(value),
        Some(Open::Map(entries, key)) => match key.take() {
            Some(key) => entries.push((key, value)),
            None => *key = Some(if let Yaml::Text { text, .. } = value { text } else { String::new() }),
        },
        None => {}
    }
}

fn close(open: &mut Vec<Open>) {
    if open.len() > 1
        && let Some(value) = open.pop().map(Open::finish)
    {
        add(open, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn qos_is_written_as_rosbag2_writes_it() {
        let text = "- history: keep_last\n  depth: 10\n  deadline:\n    sec: 9223372036\n    nsec: 854775807\n- history: \"3\"";
        let (yaml, damage) = Yaml::parse(text);
        assert_eq!((yaml.write().as_str(), damage), (text, None));
        assert_eq!(yaml.items()[0].int("depth"), Some(10));
    }

    #[test]
    fn what_is_in_front_of_damage_is_kept() {
        let (yaml, damage) = Yaml::parse("a:\n  b: 1\n  c: [x, y\n  d: \"unclosed");
        assert_eq!(yaml.get("a").and_then(|a| a.int("b")), Some(1));
        assert!(damage.is_some());
        let (yaml, damage) = Yaml::parse(&"[".repeat(10_000));
        assert!(damage.is_some() && yaml.items().len() <= 1);
        assert_eq!(Yaml::parse("").0, Yaml::Map(Vec::new()));
        assert_eq!(Yaml::parse("a: &x [1]\nb: *x\nc: ~").0.text("c"), "");
    }
}
