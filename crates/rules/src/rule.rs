//! Rules as they stand in a TOML file: `[[rule]]` tables, alone or in a robot's configuration.
//!
//! In comes text, out come checked [`Rule`]s or an error that names the line.
//!
//! **Invariant:** a `Rule` that exists has a condition that was parsed; whether its topics are there is another question.

use recording::{Error, Result, TopicFilter, key, time};
use serde::{Deserialize, Deserializer, de};
use toml::Spanned;

use crate::compile::Program;
use crate::expression::Expression;
use crate::parse::parse;
use crate::topics::Topics;

/// How many rules there may be.
pub const RULE_LIMIT: usize = 256;

/// How often a rule with a cap may fire within its time.
pub const CAP_LIMIT: usize = 10_000;

/// How long values count where nothing is said.
const MAX_AGE_NS: i64 = 10 * time::SECOND_NS;

/// How much from before a firing is kept where nothing is said.
const BEFORE_NS: i64 = 30 * time::SECOND_NS;

/// How much behind a firing is kept where nothing is said.
const AFTER_NS: i64 = 10 * time::SECOND_NS;

/// A condition, and what to do when it becomes true.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// Its name.
    pub name: String,
    /// The name of the events that it makes.
    pub event: String,
    /// The text of the condition.
    pub when: String,
    /// The condition.
    pub condition: Expression,
    /// Whether it fires once, or as long as the condition is true.
    pub trigger: Trigger,
    /// How long the condition must be true.
    pub hold_ns: i64,
    /// How long it does not fire after it fired.
    pub cooldown_ns: i64,
    /// How often it may fire.
    pub cap: Option<Cap>,
    /// How long values count.
    pub max_age_ns: i64,
    /// How much from before a firing is kept.
    pub before_ns: i64,
    /// How much behind a firing is kept.
    pub after_ns: i64,
    /// Which topics are kept.
    pub topics: TopicFilter,
    /// Keys that are known and not active yet.
    pub inactive: Vec<&'static str>,
    /// Where it stands in the file.
    pub line: usize,
    /// Where its condition stands in the file.
    pub when_line: usize,
}

/// When a condition that is true fires.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trigger {
    /// When it becomes true.
    #[default]
    Edge,
    /// When it becomes true, and again after each cooldown as long as it is.
    Level,
}

/// How often a rule may fire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cap {
    /// So often.
    pub firings: usize,
    /// In any time of this length.
    pub window_ns: i64,
}

/// Returns the rules of a file; `path` stands in errors. Other tables are left alone.
///
/// # Errors
/// `Invalid`, naming the line.
pub fn rules(text: &str, path: &str) -> Result<Vec<Rule>> {
    let line_of = |offset: usize| text.as_bytes().iter().take(offset).filter(|byte| **byte == b'\n').count() + 1;
    let refuse = |line: usize, message: &dyn std::fmt::Display| Error::invalid(format!("{path} line {line}: {message}"));
    let file: File = toml::from_str(text).map_err(|error| {
        let line = error.span().map_or(1, |span| line_of(span.start));
        refuse(line, &error.message().replace('\n', "; "))
    })?;
    if file.rule.len() > RULE_LIMIT {
        return Err(Error::invalid(format!("{path}: {} rules; at most {RULE_LIMIT}", file.rule.len())));
    }
    let mut rules: Vec<Rule> = Vec::new();
    for table in file.rule {
        let line = line_of(table.span().start);
        let table = table.into_inner();
        let when_line = line_of(table.when.span().start);
        let name = table.name.clone();
        let condition = parse(table.when.get_ref()).map_err(|error| refuse(when_line, &format!("rule '{name}', {error}")))?;
        let rule = table.check(condition, line, when_line).map_err(|error| refuse(line, &format!("rule '{name}': {error}")))?;
        if rules.iter().any(|other| other.name == rule.name) {
            return Err(refuse(line, &format!("there is another rule '{}'", rule.name)));
        }
        rules.push(rule);
    }
    Ok(rules)
}

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    rule: Vec<Spanned<Table>>,
}

/// A rule as it stands in the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    name: String,
    when: Spanned<String>,
    event: Option<String>,
    #[serde(default)]
    trigger: Trigger,
    #[serde(default, deserialize_with = "duration")]
    hold: Option<i64>,
    #[serde(default, deserialize_with = "duration")]
    cooldown: Option<i64>,
    #[serde(default, deserialize_with = "cap")]
    cap: Option<Cap>,
    #[serde(default, deserialize_with = "duration")]
    max_age: Option<i64>,
    #[serde(default, deserialize_with = "duration")]
    before: Option<i64>,
    #[serde(default, deserialize_with = "duration")]
    after: Option<i64>,
    topics: Option<Vec<String>>,
    to: Option<Vec<String>>,
    priority: Option<i64>,
}

impl Rule {
    /// Checks the condition against the topics that there are.
    ///
    /// # Errors
    /// Those of [`Program::new`], with the line in the file.
    pub fn program(&self, topics: &Topics) -> Result<Program> {
        let refuse = |error: Error| Error::new(error.kind(), format!("line {}: rule '{}', {error}", self.when_line, self.name));
        Program::new(&self.condition, &self.when, topics).map_err(refuse)
    }
}

impl Table {
    fn check(self, condition: Expression, line: usize, when_line: usize) -> Result<Rule> {
        key::check_name("rule", &self.name)?;
        let event = self.event.unwrap_or_else(|| self.name.clone());
        key::check_name("event", &event)?;
        let cooldown_ns = self.cooldown.unwrap_or(0);
        if self.trigger == Trigger::Level && cooldown_ns < crate::machine::TICK_NS {
            return Err(Error::invalid("trigger = \"level\" needs a cooldown of 100 ms or more, after which it fires again"));
        }
        if self.max_age == Some(0) {
            return Err(Error::invalid("max_age = \"0\" would let no value count"));
        }
        if self.topics.as_ref().is_some_and(Vec::is_empty) {
            return Err(Error::invalid("topics = [] would keep nothing: write topics = [\"**\"] for all"));
        }
        let inactive = [("to", self.to.is_some()), ("priority", self.priority.is_some())];
        Ok(Rule {
            event,
            when: self.when.into_inner(),
            condition,
            trigger: self.trigger,
            hold_ns: self.hold.unwrap_or(0),
            cooldown_ns,
            cap: self.cap,
            max_age_ns: self.max_age.unwrap_or(MAX_AGE_NS),
            before_ns: self.before.unwrap_or(BEFORE_NS),
            after_ns: self.after.unwrap_or(AFTER_NS),
            topics: TopicFilter::parse(&self.topics.unwrap_or_default())?,
            inactive: inactive.into_iter().filter(|(_, is_there)| *is_there).map(|(key, _)| key).collect(),
            name: self.name,
            line,
            when_line,
        })
    }
}

impl Cap {
    /// Reads `20/h`, `5 / 10 min`, `100/day`.
    ///
    /// # Errors
    /// `Invalid` for anything else.
    pub fn parse(text: &str) -> Result<Self> {
        let refuse = || Error::invalid(format!("not a cap: '{text}' (write it like '20/h' or '100/day'; at most {CAP_LIMIT} firings)"));
        let (firings, window) = text.split_once('/').ok_or_else(refuse)?;
        let firings = firings.trim().parse().ok().filter(|firings| (1..=CAP_LIMIT).contains(firings)).ok_or_else(refuse)?;
        let window = Some(window.trim()).filter(|window| !window.is_empty()).ok_or_else(refuse)?;
        let one = if window.starts_with(|c: char| c.is_ascii_digit()) { "" } else { "1 " };
        let window_ns = time::parse_duration(&format!("{one}{window}")).ok().filter(|ns| *ns > 0).ok_or_else(refuse)?;
        Ok(Self { firings, window_ns })
    }
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Option<i64>, D::Error> {
    let text = String::deserialize(deserializer)?;
    time::parse_duration(&text).map(Some).map_err(de::Error::custom)
}

fn cap<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Option<Cap>, D::Error> {
    let text = String::deserialize(deserializer)?;
    Cap::parse(&text).map(Some).map_err(de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_read_beside_other_tables() {
        let text = "device = 'rover-7'\n[[rule]]\nname = 'brake'\nwhen = '/imu.x < -6'\nhold = '200 ms'\ncooldown = '30 s'\ncap = '20/h'\n\
                    before = '5 s'\ntopics = ['/imu', '/camera/**']\nto = ['cloud']\n[[rule]]\nname = 'silent'\nevent = 'lost'\n\
                    when = '''\nage(/gps)\n  > 2s'''\ntrigger = 'level'\ncooldown = '1 min'\n";
        let rules = rules(text, "t.toml").unwrap();
        let [brake, silent] = rules.as_slice() else { panic!("{rules:?}") };
        assert_eq!(
            (brake.hold_ns, brake.cooldown_ns, brake.before_ns, brake.after_ns),
            (200_000_000, 30_000_000_000, 5_000_000_000, AFTER_NS)
        );
        assert_eq!(brake.cap, Some(Cap { firings: 20, window_ns: 3_600_000_000_000 }));
        assert_eq!((brake.event.as_str(), brake.inactive.as_slice(), brake.line, brake.when_line), ("brake", &["to"][..], 2, 4));
        assert_eq!(
            (silent.event.as_str(), silent.trigger, silent.condition.to_string().as_str()),
            ("lost", Trigger::Level, "age(/gps) > 2s")
        );
        assert!(super::rules("", "t.toml").unwrap().is_empty());
    }

    #[test]
    fn mistakes_are_answered_with_their_line() {
        let check = |text: &str, line: usize, part: &str| {
            let error = rules(text, "t.toml").unwrap_err().to_string();
            assert!(error.starts_with(&format!("t.toml line {line}:")) && error.contains(part), "{error}");
        };
        check("[[rule]]\nname = 'a'\nwhen = 'x'\nholt = '1 s'", 4, "holt");
        check("[[rule]]\nname = 'a'", 1, "when");
        check("\n[rule]\nname = 'a'\nwhen = 'x'", 2, "sequence");
        check("[[rule]]\nname = 'a'\nwhen = '/imu.x <'", 3, "rule 'a', at the end: a value is missing");
        check("[[rule]]\nname = 'my rule'\nwhen = 'x'", 1, "my rule");
        check("[[rule]]\nname = 'a'\nwhen = 'x'\nhold = '3 parsecs'", 4, "3 parsecs");
        check("[[rule]]\nname = 'a'\nwhen = 'x'\ncap = 'often'", 4, "write it like '20/h'");
        check("[[rule]]\nname = 'a'\nwhen = 'x'\ncap = '0/h'", 4, "not a cap");
        check("[[rule]]\nname = 'a'\nwhen = 'x'\ntrigger = 'level'", 1, "needs a cooldown");
        check("[[rule]]\nname = 'a'\nwhen = 'x'\ntopics = []", 1, "would keep nothing");
        check("[[rule]]\nname = 'a'\nwhen = 'x'\nmax_age = '0'", 1, "no value count");
        check("[[rule]]\nname = 'a'\nwhen = 'x'\n[[rule]]\nname = 'a'\nwhen = 'y'", 4, "another rule 'a'");
        let many = "[[rule]]\nname = 'a'\nwhen = 'x'\n".repeat(RULE_LIMIT + 1);
        assert!(rules(&many, "t.toml").unwrap_err().to_string().contains("at most 256"));
    }

    #[test]
    fn caps_are_read_as_people_write_them() {
        let cap = |text: &str| Cap::parse(text).map(|cap| (cap.firings, cap.window_ns / time::SECOND_NS)).ok();
        assert_eq!(cap("20/h"), Some((20, 3600)));
        assert_eq!(cap("5 / 10 min"), Some((5, 600)));
        assert_eq!(cap("100/day"), Some((100, 86_400)));
        for wrong in ["", "20", "/h", "-1/h", "20/", "20/fortnight", "10001/h", "1/0s"] {
            assert_eq!(cap(wrong), None, "{wrong}");
        }
    }
}
