//! The words of a condition.
//!
//! **Invariant:** a slash begins a topic where a value may stand, and divides behind a value.

use recording::{Error, Result};

use crate::expression::{Literal, UNITS, is_word};

/// A word and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Token {
    pub(crate) kind: Kind,
    /// Its first byte.
    pub(crate) at: usize,
}

/// What a word is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Kind {
    /// A number, a duration or text.
    Literal(Literal),
    /// A name or a word of the language.
    Name(String),
    /// `/topic`.
    Topic(String),
    /// `"odd name"`.
    Quoted(String),
    /// A sign: `(`, `<=`, `+`.
    Sign(&'static str),
    /// Behind the last word.
    End,
}

/// Words that stand before a value.
const BEFORE_VALUES: [&str; 6] = ["and", "or", "not", "in", "like", "between"];

/// Signs, longer ones before those that they begin with.
const SIGNS: [&str; 18] = ["==", "!=", "<=", ">=", "<>", "=", "<", ">", "(", ")", "[", "]", ",", ".", "+", "-", "*", "%"];

/// Returns the words of a text, and behind them the end.
///
/// # Errors
/// `Invalid` with the place and what to write instead.
pub(crate) fn words(text: &str) -> Result<Vec<Token>> {
    let mut tokens: Vec<Token> = Vec::new();
    let mut at = 0;
    while let Some(c) = text[at..].chars().next() {
        if c.is_whitespace() {
            at += c.len_utf8();
            continue;
        }
        let behind_value = match tokens.as_slice() {
            // A field may have the name of any word.
            [.., Token { kind: Kind::Sign("."), .. }, Token { kind: Kind::Name(_), .. }] => true,
            words => words.last().is_some_and(|word| ends_value(&word.kind)),
        };
        let (kind, end) = match c {
            '/' if behind_value => (Kind::Sign("/"), at + 1),
            '/' => topic(text, at)?,
            '\'' => quoted(text, at, '\'').map(|(text, end)| (Kind::Literal(Literal::Text(text)), end))?,
            '"' => quoted(text, at, '"').map(|(name, end)| (Kind::Quoted(name), end))?,
            c if c.is_ascii_digit() => number(text, at)?,
            c if is_word(c) => {
                let end = end_of(text, at, is_word);
                (Kind::Name(text[at..end].to_owned()), end)
            }
            _ => sign(text, at)?,
        };
        tokens.push(Token { kind, at });
        at = end;
    }
    tokens.push(Token { kind: Kind::End, at: text.len() });
    Ok(tokens)
}

/// Returns an error that says where in a text it is.
pub(crate) fn refuse(text: &str, at: usize, message: impl AsRef<str>) -> Error {
    const SHOWN: usize = 24;
    let (before, rest) = text.split_at_checked(at).unwrap_or((text, ""));
    let shown: String = rest.chars().take(SHOWN).map(|c| if c.is_control() { ' ' } else { c }).collect();
    let place = match shown.trim_end() {
        "" => "at the end".to_owned(),
        shown => format!("at character {}, '{shown}{}'", before.chars().count() + 1, if rest.chars().count() > SHOWN { "…" } else { "" }),
    };
    Error::invalid(format!("{place}: {}", message.as_ref()))
}

fn ends_value(kind: &Kind) -> bool {
    match kind {
        Kind::Literal(_) | Kind::Topic(_) | Kind::Quoted(_) | Kind::Sign(")" | "]") => true,
        Kind::Name(name) => !BEFORE_VALUES.contains(&name.to_ascii_lowercase().as_str()),
        Kind::Sign(_) | Kind::End => false,
    }
}

fn end_of(text: &str, at: usize, belongs: impl Fn(char) -> bool) -> usize {
    text[at..].find(|c| !belongs(c)).map_or(text.len(), |length| at + length)
}

fn topic(text: &str, at: usize) -> Result<(Kind, usize)> {
    let end = end_of(text, at, |c| is_word(c) || c == '/');
    let name = &text[at..end];
    if !crate::expression::is_plain_topic(name) {
        return Err(refuse(text, at, "a topic is written like /imu/data, and an odd name in double quotes: \"/odd name\""));
    }
    Ok((Kind::Topic(name.to_owned()), end))
}

fn quoted(text: &str, at: usize, quote: char) -> Result<(String, usize)> {
    let mut inside = String::new();
    let mut chars = text[at + 1..].char_indices();
    while let Some((offset, c)) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some((_, escaped)) if escaped == quote || escaped == '\\' => inside.push(escaped),
                _ => return Err(refuse(text, at + 1 + offset, format!("write \\\\ for a backslash, and \\{quote} for a quote"))),
            },
            c if c == quote => return Ok((inside, at + 1 + offset + 1)),
            c => inside.push(c),
        }
    }
    Err(refuse(text, at, format!("the quote is not closed: a {quote} is missing")))
}

fn number(text: &str, at: usize) -> Result<(Kind, usize)> {
    let mut end = end_of(text, at, |c| c.is_ascii_digit());
    let mut whole = true;
    let digit_at = |at: usize| text.as_bytes().get(at).is_some_and(u8::is_ascii_digit);
    if text[end..].starts_with('.') && digit_at(end + 1) {
        whole = false;
        end = end_of(text, end + 1, |c| c.is_ascii_digit());
    }
    if text[end..].starts_with(['e', 'E']) {
        let signed = end + 1 + usize::from(text[end + 1..].starts_with(['+', '-']));
        if digit_at(signed) {
            whole = false;
            end = end_of(text, signed, |c| c.is_ascii_digit());
        }
    }
    let digits = &text[at..end];
    let value: f64 = digits.parse().map_err(|_| refuse(text, at, "this is no number"))?;
    if !value.is_finite() {
        return Err(refuse(text, at, "this number is too large"));
    }
    let behind = end_of(text, end, |c| c.is_alphanumeric() || c == '_');
    let unit = &text[end..behind];
    if unit.is_empty() {
        let int = if whole { digits.parse().ok().map(Literal::Int) } else { None };
        return Ok((Kind::Literal(int.unwrap_or(Literal::Float(value))), end));
    }
    let size = UNITS.iter().find(|(name, _)| *name == unit).map(|(_, size)| *size).ok_or_else(|| {
        let remedy = match unit {
            "m" => "write 5min for minutes; metres have no unit",
            _ => "durations are written like 500ms, 2s, 5min, 1h or 1d; other numbers have no unit",
        };
        refuse(text, at, format!("there is no unit '{unit}': {remedy}"))
    })?;
    let ns = value * size as f64;
    if ns > 9.2e18 {
        return Err(refuse(text, at, "this duration is too long: 292 years are the most"));
    }
    // Whole numbers of a unit are exact.
    let exact = digits.parse::<i64>().ok().and_then(|count| count.checked_mul(size));
    Ok((Kind::Literal(Literal::Duration(exact.unwrap_or(ns.round() as i64))), behind))
}

fn sign(text: &str, at: usize) -> Result<(Kind, usize)> {
    let rest = &text[at..];
    for (wrong, right) in [("&&", "and"), ("||", "or"), ("&", "and"), ("|", "or")] {
        if rest.starts_with(wrong) {
            return Err(refuse(text, at, format!("write '{right}' for {wrong}")));
        }
    }
    if rest.starts_with('!') && !rest.starts_with("!=") {
        return Err(refuse(text, at, "write 'not' for !"));
    }
    match SIGNS.into_iter().find(|sign| rest.starts_with(sign)) {
        Some(sign) => Ok((Kind::Sign(sign), at + sign.len())),
        None => Err(refuse(text, at, "no condition has this character outside of quotes")),
    }
}
