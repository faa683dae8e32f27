//! Units that comments name: `# [m/s^2]`, `# rad/s`, `# in meters`.
//!
//! In comes a field's comment, out comes its unit in symbols, or nothing.
//!
//! **Invariant:** a comment that names two units, or whose words are not known ones, names none: a wrong unit is worse than none.

/// How long a unit may be.
const LENGTH_LIMIT: usize = 40;

/// How much of a comment is looked at.
const COMMENT_LIMIT: usize = 4096;

/// At how many places of a comment a unit is looked for, of each kind of place.
const PLACE_LIMIT: usize = 16;

/// Units by the words for them; the symbols themselves stand in [`SYMBOLS`].
const WORDS: &[(&str, &str)] = &[
    ("meter", "m"),
    ("metre", "m"),
    ("centimeter", "cm"),
    ("millimeter", "mm"),
    ("kilometer", "km"),
    ("second", "s"),
    ("sec", "s"),
    ("millisecond", "ms"),
    ("microsecond", "us"),
    ("nanosecond", "ns"),
    ("minute", "min"),
    ("hour", "h"),
    ("radian", "rad"),
    ("degree", "deg"),
    ("hertz", "Hz"),
    ("newton", "N"),
    ("pascal", "Pa"),
    ("volt", "V"),
    ("ampere", "A"),
    ("amp", "A"),
    ("watt", "W"),
    ("joule", "J"),
    ("kilogram", "kg"),
    ("gram", "g"),
    ("kelvin", "K"),
    ("tesla", "T"),
    ("lux", "lx"),
    ("pixel", "px"),
    ("percent", "%"),
    ("byte", "B"),
    ("degrees celsius", "degC"),
    ("deg c", "degC"),
    ("celsius", "degC"),
    ("meters per second", "m/s"),
    ("radians per second", "rad/s"),
    ("degrees per second", "deg/s"),
];

const SYMBOLS: &[&str] = &[
    "m", "cm", "mm", "um", "km", "s", "ms", "us", "ns", "min", "h", "rad", "mrad", "deg", "Hz", "kHz", "MHz", "N", "Nm", "Pa", "hPa",
    "kPa", "bar", "mbar", "V", "mV", "A", "mA", "Ah", "mAh", "Wh", "W", "kW", "J", "kg", "g", "K", "degC", "T", "uT", "nT", "gauss", "lx",
    "lm", "px", "%", "dB", "dBm", "B", "rpm", "F", "C", "ohm", "G",
];

/// Symbols that are too short or too much like words to be believed outside of brackets.
const ONLY_IN_BRACKETS: &[&str] = &["A", "B", "C", "F", "G", "g", "h", "T", "K", "J", "N", "V", "W", "bar", "min", "%"];

/// Returns the unit that a comment names; empty where it names none, or more than one.
pub(crate) fn of_comment(comment: &str) -> String {
    let comment = start(comment, COMMENT_LIMIT);
    let mut found: Option<String> = None;
    for unit in candidates(comment) {
        match &found {
            Some(known) if *known != unit => return String::new(),
            _ => found = Some(unit),
        }
    }
    found.unwrap_or_default()
}

fn candidates(comment: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (open, close) in [('[', ']'), ('(', ')')] {
        for (offset, _) in comment.match_indices(open).take(PLACE_LIMIT) {
            let inside = start(&comment[offset + 1..], LENGTH_LIMIT + 1);
            let stands_free = comment[..offset].chars().next_back().is_none_or(char::is_whitespace);
            if stands_free && let Some(end) = inside.find(close) {
                found.extend(parse(&inside[..end], true));
            }
        }
    }
    for line in comment.lines().take(PLACE_LIMIT) {
        found.extend(parse(line.trim().trim_end_matches('.'), false));
        for (offset, _) in line.match_indices("in ").take(PLACE_LIMIT) {
            if line[..offset].chars().next_back().is_none_or(|c| c.is_whitespace() || c == '(') {
                found.extend(behind_in(&line[offset + 3..]));
            }
        }
    }
    found
}

/// Returns the unit that one or two words behind "in" name, if the sentence goes on as behind a unit.
fn behind_in(text: &str) -> Option<String> {
    let end = |text: &str| text.find([',', ';', ')', '(', '[']).or_else(|| text.find(". ")).unwrap_or(text.len());
    let text = start(text, 3 * LENGTH_LIMIT);
    let phrase = text[..end(text)].trim().trim_end_matches('.');
    let mut words = phrase.split_whitespace();
    let first = words.next()?;
    match words.next() {
        None => parse(first, false),
        Some(second) => {
            let both = format!("{first} {second}");
            parse(phrase, false).or_else(|| parse(&both, false)).or_else(|| {
                let goes_on = ["from", "since", "until", "between", "of", "along", "around", "for", "at", "to", "with"].contains(&second);
                goes_on.then(|| parse(first, false)).flatten()
            })
        }
    }
}

/// Returns as much of the start of a text.
fn start(text: &str, length: usize) -> &str {
    let end = (0..=text.len().min(length)).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    &text[..end]
}

/// Returns a unit in symbols, if the whole text is one.
fn parse(text: &str, in_brackets: bool) -> Option<String> {
    let text = text.trim();
    if text.is_empty() || text.len() > LENGTH_LIMIT {
        return None;
    }
    if let Some(symbol) = word(text) {
        return Some(symbol.to_owned());
    }
    if !in_brackets && ONLY_IN_BRACKETS.contains(&text) {
        return None;
    }
    let mut out = String::new();
    let mut rest = text;
    loop {
        let length = rest.find(|c: char| !(c.is_alphabetic() || c == '%')).unwrap_or(rest.len());
        let (name, behind) = rest.split_at(length);
        let is_one = name.is_empty() && behind.starts_with("1/") && out.is_empty();
        let (symbol, behind) = if is_one { ("1", &behind[1..]) } else { (symbol(name)?, behind) };
        out.push_str(symbol);
        let (power, behind) = power(behind);
        out.push_str(&power);
        let Some(sign) = behind.chars().next() else { return Some(out) };
        out.push(match sign {
            '/' => '/',
            '*' | '·' => '*',
            _ => return None,
        });
        rest = &behind[sign.len_utf8()..];
    }
}

/// Returns the exponent in front of a text, as `^2`, and what is behind it.
fn power(text: &str) -> (String, &str) {
    if let Some(rest) = text.strip_prefix('²') {
        return ("^2".into(), rest);
    }
    if let Some(rest) = text.strip_prefix('³') {
        return ("^3".into(), rest);
    }
    let number = text.strip_prefix("**").or_else(|| text.strip_prefix('^')).unwrap_or(text);
    let digits = number.strip_prefix('-').unwrap_or(number);
    let length = number.len() - digits.len() + digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    if length == number.len() - digits.len() || length > 3 {
        return (String::new(), text);
    }
    (format!("^{}", &number[..length]), &number[length..])
}

fn symbol(name: &str) -> Option<&'static str> {
    SYMBOLS.iter().copied().find(|symbol| *symbol == name).or_else(|| word(name))
}

fn word(text: &str) -> Option<&'static str> {
    let lower = text.to_lowercase();
    let is_it = |word: &str| lower == word || lower.strip_suffix('s') == Some(word);
    WORDS.iter().find(|(word, _)| is_it(word)).map(|(_, symbol)| *symbol)
}

#[cfg(test)]
mod tests {
    use super::of_comment;

    #[test]
    fn units_are_found_where_comments_name_them() {
        for (comment, unit) in [
            ("[m/s^2]", "m/s^2"),
            ("start angle of the scan [rad]", "rad"),
            ("time between scans [seconds]", "s"),
            ("rad/s", "rad/s"),
            ("rad/sec", "rad/s"),
            ("m/s²", "m/s^2"),
            ("kg m^2", ""),
            ("kg*m^2", "kg*m^2"),
            ("in meters", "m"),
            ("Longitude in degrees.", "deg"),
            ("Altitude [m]. Positive is above the WGS 84 ellipsoid", "m"),
            ("Voltage in Volts (Mandatory)", "V"),
            ("Temperature in Degrees Celsius (If unmeasured NaN)", "degC"),
            ("Capacity in Ah (last full capacity)  (If unmeasured NaN)", "Ah"),
            ("Negative when discharging (A)  (If unmeasured NaN)", "A"),
            ("Position in meters from the start", "m"),
            ("Speed, metres per second", ""),
            ("The map resolution [m/cell]", ""),
            ("The origin of the map [m, m, rad]", ""),
            ("x in meters, theta in radians", ""),
            ("a list [0]", ""),
            ("in a frame", ""),
            ("in the m frame", ""),
            ("within seconds", ""),
            ("one of A", ""),
            ("A", ""),
            ("1/s", "1/s"),
            ("[", ""),
            ("[m", ""),
            ("in ", ""),
            ("°[°]²", ""),
        ] {
            assert_eq!(of_comment(comment), unit, "{comment}");
        }
    }
}
