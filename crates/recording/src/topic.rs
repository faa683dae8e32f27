//! Topic names and the filters that choose among them.
//!
//! **Invariant:** a filter with only excludes takes everything else; an exclude always wins over an include.

use std::collections::BTreeSet;

use crate::error::{Error, Result};

/// The longest topic name that is accepted, in bytes.
pub const NAME_LIMIT: usize = 1024;

/// Checks that `name` can be a topic's name.
///
/// # Errors
/// `Invalid` for an empty name, one longer than [`NAME_LIMIT`], or one with control characters.
pub fn check_name(name: &str) -> Result<()> {
    if name.is_empty() {
        return Err(Error::invalid("a topic needs a name, like '/imu'"));
    }
    if name.len() > NAME_LIMIT {
        return Err(Error::invalid(format!("topic name of {} bytes; at most {NAME_LIMIT}", name.len())));
    }
    if name.chars().any(char::is_control) {
        return Err(Error::invalid(format!("topic name with a control character: {name:?}")));
    }
    Ok(())
}

/// Topic patterns: `*` within one level, `**` across levels, `?` one character, `!` in front excludes.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct TopicFilter {
    includes: Vec<String>,
    excludes: Vec<String>,
    /// Where they are there, names take the place of patterns.
    exact: Option<BTreeSet<String>>,
}

impl TopicFilter {
    /// Returns a filter that takes every topic.
    pub fn all() -> Self {
        Self::default()
    }

    /// Parses patterns; none at all means every topic.
    ///
    /// # Errors
    /// `Invalid` for an empty pattern.
    pub fn parse<S: AsRef<str>>(patterns: &[S]) -> Result<Self> {
        let mut filter = Self::default();
        for pattern in patterns {
            let pattern = pattern.as_ref().trim();
            let (list, glob) = match pattern.strip_prefix('!') {
                Some(glob) => (&mut filter.excludes, glob),
                None => (&mut filter.includes, pattern),
            };
            if glob.is_empty() {
                return Err(Error::invalid(format!("empty topic pattern '{pattern}'")));
            }
            list.push(glob.to_owned());
        }
        Ok(filter)
    }

    /// Returns a filter that takes the topics of these names, whatever a pattern that looks like one of them would take.
    pub fn exactly<S: Into<String>>(names: impl IntoIterator<Item = S>) -> Self {
        Self { exact: Some(names.into_iter().map(Into::into).collect()), ..Self::default() }
    }

    /// Returns a filter that takes at least the topic of this name: all topics where the name looks like a pattern.
    pub fn at_least(name: &str) -> Self {
        let filter = Self::parse(&[name]).unwrap_or_default();
        if filter.matches(name) { filter } else { Self::all() }
    }

    /// Returns the names that it asks for by name, without any wildcard.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let plain = self.includes.iter().filter(|glob| !glob.contains(['*', '?']));
        plain.chain(self.exact.iter().flatten()).map(String::as_str)
    }

    /// Returns whether the filter takes `topic`.
    pub fn matches(&self, topic: &str) -> bool {
        if let Some(exact) = &self.exact {
            return exact.contains(topic);
        }
        let any = |globs: &[String]| globs.iter().any(|glob| glob_matches(glob.as_bytes(), topic.as_bytes()));
        (self.includes.is_empty() || any(&self.includes)) && !any(&self.excludes)
    }

    /// Returns the patterns, as they were written.
    pub fn patterns(&self) -> Vec<String> {
        let includes = self.includes.iter().chain(self.exact.iter().flatten());
        includes.cloned().chain(self.excludes.iter().map(|glob| format!("!{glob}"))).collect()
    }
}

/// Matches iteratively with one point of return per kind of star, so that no pattern takes exponential time.
fn glob_matches(glob: &[u8], text: &[u8]) -> bool {
    let (mut g, mut t) = (0, 0);
    let mut deep: Option<(usize, usize)> = None;
    let mut flat: Option<(usize, usize)> = None;
    loop {
        if glob[g..].starts_with(b"**") {
            g += 2;
            deep = Some((g, t));
            flat = None;
            continue;
        }
        match (glob.get(g), text.get(t)) {
            (None, None) => return true,
            (Some(b'*'), _) => {
                g += 1;
                flat = Some((g, t));
                continue;
            }
            (Some(b'?'), Some(c)) if *c != b'/' => (g, t) = (g + 1, t + 1),
            (Some(a), Some(b)) if a == b => (g, t) = (g + 1, t + 1),
            _ => match (&mut flat, &mut deep) {
                (Some((back, from)), _) if text.get(*from).is_some_and(|c| *c != b'/') => {
                    *from += 1;
                    (g, t) = (*back, *from);
                }
                (_, Some((back, from))) if *from < text.len() => {
                    *from += 1;
                    (g, t) = (*back, *from);
                    flat = None;
                }
                _ => return false,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_choose_topics() {
        let check = |patterns: &[&str], topic: &str, expected: bool| {
            assert_eq!(TopicFilter::parse(patterns).unwrap().matches(topic), expected, "{patterns:?} {topic}");
        };
        check(&[], "/imu", true);
        check(&["**"], "/a/b/c", true);
        check(&["/camera/**"], "/camera/front/image", true);
        check(&["/camera/**"], "/camera", false);
        check(&["/camera/*"], "/camera/front/image", false);
        check(&["/camera/*/image"], "/camera/front/image", true);
        check(&["/**/image"], "/camera/front/image", true);
        check(&["/*/b/**/d*"], "/a/b/x/y/dee", true);
        check(&["**", "!/camera/**"], "/camera/front", false);
        check(&["!/camera/**"], "/imu", true);
        check(&["/im?"], "/imu", true);
        check(&["imu"], "/imu", false);
        check(&["**a**b**c**d**e**f"], &"abcde".repeat(200), false);
        assert!(TopicFilter::parse(&["!"]).is_err());
        let filter = TopicFilter::parse(&["/imu", "/cam*", "!/x"]).unwrap();
        assert_eq!(filter.names().collect::<Vec<_>>(), ["/imu"]);
        assert!(TopicFilter::at_least("/imu").matches("/imu") && !TopicFilter::at_least("/imu").matches("/odom"));
        assert!(TopicFilter::at_least("!odd").matches("!odd"));
        let exactly = TopicFilter::exactly(["!odd", "/*"]);
        assert!(exactly.matches("!odd") && exactly.matches("/*") && !exactly.matches("/imu"));
        assert!(!TopicFilter::exactly::<String>([]).matches("/imu"));
    }

    #[test]
    fn odd_names_are_refused() {
        for wrong in ["", "/a\nb", &"x".repeat(2000)] {
            assert!(check_name(wrong).is_err());
        }
        assert!(check_name("/ünïcode topic").is_ok());
    }
}
