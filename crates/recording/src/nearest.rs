//! What somebody may have meant who wrote a name that is not there.
//!
//! In come a name and those that there are, out come a few of these in words.
//!
//! **Invariant:** however many names there are, only a few are told.

/// How many names are told.
const NAMED_LIMIT: usize = 5;

/// Returns the names that are most like `wanted`, the nearest first: `velocity, position, …`.
pub fn nearest<'a>(wanted: &str, names: impl IntoIterator<Item = &'a str>) -> String {
    let mut names: Vec<&str> = names.into_iter().collect();
    names.sort_by_cached_key(|other| distance(wanted, other));
    let more = if names.len() > NAMED_LIMIT { ", …" } else { "" };
    names.truncate(NAMED_LIMIT);
    format!("{}{more}", names.join(", "))
}

/// Returns how unlike two names are: edits, with a bonus for a common part.
fn distance(one: &str, other: &str) -> usize {
    let (one, other) = (one.to_lowercase(), other.to_lowercase());
    if !one.is_empty() && (other.contains(&one) || one.contains(&other)) {
        return 0;
    }
    let other: Vec<char> = other.chars().take(64).collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, c) in one.chars().take(64).enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, d) in other.iter().enumerate() {
            let replaced = diagonal + usize::from(c != *d);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_most_like_it_are_told() {
        assert_eq!(nearest("velocty", ["pose", "velocity"]), "velocity, pose");
        assert_eq!(nearest("Temp", ["p1", "q1", "r1", "s1", "u1", "temperature"]), "temperature, p1, q1, r1, s1, …");
        assert_eq!(nearest("x", []), "");
    }
}
