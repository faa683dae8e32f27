//! Annotations of IDL: `@unit(value="m")`, `@verbatim(language="comment", text="…")`, `@optional`.
//!
//! In come their names and arguments, out comes what they say of a member or a type.
//!
//! **Invariant:** an annotation that nobody asks for changes nothing.

use super::token;

/// How many annotations of one thing are kept.
const ANNOTATION_LIMIT: usize = 64;

/// The annotations in front of something.
#[derive(Debug, Default)]
pub(super) struct Annotations {
    all: Vec<(String, Vec<(String, String)>)>,
    /// The comments in front of them.
    before: String,
}

impl Annotations {
    pub(super) fn add(&mut self, name: &str, arguments: Vec<(String, String)>, before: &str) {
        token::add(&mut self.before, before);
        if self.all.len() < ANNOTATION_LIMIT {
            self.all.push((name.to_owned(), arguments));
        }
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.all.iter().any(|(known, arguments)| {
            let is_off = arguments.iter().any(|(_, value)| value.eq_ignore_ascii_case("false"));
            known == name && !is_off
        })
    }

    /// Returns the value of an annotation, or an empty text.
    pub(super) fn text(&self, name: &str) -> String {
        let found = self.all.iter().find(|(known, _)| known == name);
        let value = found.and_then(|(_, arguments)| arguments.iter().find(|(key, _)| key.is_empty() || key == "value"));
        value.map(|(_, value)| value.clone()).unwrap_or_default()
    }

    /// Returns what is said of the thing: as an annotation, or in the comments around it.
    pub(super) fn comment(&self, before: &str, behind: &str) -> String {
        let mut comment = String::new();
        for (_, arguments) in self.all.iter().filter(|(name, _)| name == "verbatim") {
            let of = |key: &str| arguments.iter().find(|(known, _)| known == key).map_or("", |(_, value)| value.as_str());
            if of("language") == "comment" {
                token::add(&mut comment, of("text").trim());
            }
        }
        if comment.is_empty() {
            for part in [&self.before, before, behind] {
                token::add(&mut comment, part);
            }
        }
        comment
    }
}
