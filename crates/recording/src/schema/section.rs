//! Definitions that were written one behind the other, with a line of `=` and a heading between them.
//!
//! In comes the text of a schema, out come its sections: what each is written in, the name its heading says, and its text.
//!
//! **Invariant:** every byte of the text is in a section or in a heading.

/// What a section is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Syntax {
    /// A `.msg` file.
    Msg,
    /// A `.srv` file.
    Srv,
    /// A `.action` file.
    Action,
    /// An `.idl` file.
    Idl,
}

/// A piece of a concatenated definition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Section<'a> {
    /// What it is written in, if its heading says so.
    pub(crate) syntax: Option<Syntax>,
    /// Its name as the heading has it; empty without one.
    pub(crate) name: &'a str,
    /// Its text.
    pub(crate) text: &'a str,
}

/// The shortest line of `=` that parts sections.
const RULE_LENGTH: usize = 16;

/// The line between sections, as ROS writes it.
pub(crate) const RULE: &str = "================================================================================";

impl Syntax {
    const ALL: [(Self, &'static str); 4] = [(Self::Msg, "MSG"), (Self::Srv, "SRV"), (Self::Action, "ACTION"), (Self::Idl, "IDL")];

    /// Returns the word in its headings.
    pub(crate) fn heading(self) -> &'static str {
        Self::ALL.iter().find(|(syntax, _)| *syntax == self).map_or("", |(_, word)| word)
    }
}

/// Returns the sections of a text; the first has no heading unless the text begins with one. There is at least one.
pub(crate) fn split(text: &str) -> Vec<Section<'_>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut sections = Vec::new();
    let mut current = Section { syntax: None, name: "", text: "" };
    let mut start = 0;
    let mut at = 0;
    while at < text.len() {
        let end = line_end(text, at);
        if is_rule(&text[at..end]) {
            let behind = line_end(text, end);
            if let Some((syntax, name)) = heading(&text[end..behind]) {
                current.text = &text[start..at];
                // A text that begins with a heading has nothing in front of it.
                if !(sections.is_empty() && current.name.is_empty() && current.text.trim().is_empty()) {
                    sections.push(current);
                }
                current = Section { syntax: Some(syntax), name, text: "" };
                start = behind;
                at = behind;
                continue;
            }
        }
        at = end;
    }
    current.text = &text[start..];
    sections.push(current);
    sections
}

/// Returns a section as it stands in a concatenation.
pub(crate) fn write(out: &mut String, syntax: Syntax, name: &str, text: &str) {
    if !out.is_empty() && !out.ends_with('\n') {
        out.push('\n');
    }
    out.push_str(RULE);
    out.push('\n');
    out.push_str(syntax.heading());
    out.push_str(": ");
    out.push_str(name);
    out.push('\n');
    out.push_str(text);
}

fn line_end(text: &str, start: usize) -> usize {
    text[start..].find('\n').map_or(text.len(), |offset| start + offset + 1)
}

fn is_rule(line: &str) -> bool {
    let line = line.trim_end();
    line.len() >= RULE_LENGTH && line.bytes().all(|byte| byte == b'=')
}

fn heading(line: &str) -> Option<(Syntax, &str)> {
    let (word, name) = line.split_once(':')?;
    let (syntax, _) = Syntax::ALL.into_iter().find(|(_, heading)| *heading == word.trim())?;
    let name = name.trim();
    (!name.is_empty() && !name.contains(char::is_whitespace)).then_some((syntax, name))
}
