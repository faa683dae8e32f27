//! What a table's columns are: from the words that created it.
//!
//! **Invariant:** any text is read in one pass; what is no `CREATE TABLE` has no columns.

/// The most columns a table may have; SQLite's limit.
const COLUMN_LIMIT: usize = 2000;

/// The columns of a table, in the order in which rows have them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Columns {
    names: Vec<String>,
    /// Those whose type is `INTEGER`, exactly: only one of them can be the number of the row.
    integers: Vec<usize>,
    /// The column that is the number of the row: rows hold nothing in its place.
    pub rowid: Option<usize>,
    /// Whether the table is kept as an index, which is not read.
    pub without_rowid: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    /// A word or a number, or a name in quotes.
    Word {
        text: String,
        quoted: bool,
    },
    Sign(char),
}

impl Columns {
    /// Returns the columns that a `CREATE TABLE` names.
    pub fn parse(sql: &str) -> Self {
        let tokens = tokens(sql);
        let Some(open) = tokens.iter().position(|token| *token == Token::Sign('(')) else { return Self::default() };
        let mut columns = Self::default();
        let mut depth = 0;
        let mut part: Vec<Token> = Vec::new();
        for (index, token) in tokens.iter().enumerate().skip(open + 1) {
            match token {
                Token::Sign('(') => depth += 1,
                Token::Sign(')') if depth == 0 => {
                    columns.add(&part);
                    let rest: Vec<String> = tokens[index + 1..].iter().map(Token::upper).collect();
                    columns.without_rowid = rest.windows(2).any(|pair| pair == ["WITHOUT", "ROWID"]);
                    return columns;
                }
                Token::Sign(')') => depth -= 1,
                Token::Sign(',') if depth == 0 => {
                    columns.add(&part);
                    part.clear();
                    continue;
                }
                _ => {}
            }
            part.push(token.clone());
        }
        columns.add(&part);
        columns
    }

    fn add(&mut self, part: &[Token]) {
        let Some(Token::Word { text, quoted }) = part.first() else { return };
        let words: Vec<String> = part.iter().map(Token::upper).collect();
        let constraint = ["CONSTRAINT", "PRIMARY", "UNIQUE", "CHECK", "FOREIGN"];
        if !quoted && constraint.contains(&words[0].as_str()) {
            if let Some(key) = words.windows(2).position(|pair| pair == ["PRIMARY", "KEY"]) {
                self.add_key(&words[key + 2..]);
            }
            return;
        }
        if self.names.len() == COLUMN_LIMIT {
            return;
        }
        // Written differently, e.g. `INT PRIMARY KEY`, it is an ordinary column.
        let key = words.windows(2).position(|pair| pair == ["PRIMARY", "KEY"]);
        if words.get(1).is_some_and(|kind| kind == "INTEGER") && key.is_some_and(|key| words.get(key + 2).is_none_or(|word| word != "DESC"))
        {
            self.rowid = Some(self.names.len());
        }
        if words.get(1).is_some_and(|kind| kind == "INTEGER") {
            self.integers.push(self.names.len());
        }
        self.names.push(text.clone());
    }

    fn add_key(&mut self, words: &[String]) {
        let [open, name, close, ..] = words else { return };
        if open == "(" && close == ")" {
            self.rowid = self.place(name).filter(|place| self.integers.contains(place)).or(self.rowid);
        }
    }

    /// Returns the place of a column.
    pub fn place(&self, name: &str) -> Option<usize> {
        self.names.iter().position(|known| known.eq_ignore_ascii_case(name))
    }

    /// Returns how many there are.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Returns whether there are none.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }
}

impl Token {
    /// Returns a word in capitals; of a name in quotes too, since those may be a column of a key.
    fn upper(&self) -> String {
        match self {
            Token::Word { text, .. } => text.to_ascii_uppercase(),
            Token::Sign(sign) => sign.to_string(),
        }
    }
}

fn tokens(sql: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut rest = sql;
    while let Some(first) = rest.chars().next() {
        let (token, taken) = match first {
            '-' if rest.starts_with("--") => (None, rest.find('\n').unwrap_or(rest.len())),
            '/' if rest.starts_with("/*") => (None, rest[2..].find("*/").map_or(rest.len(), |end| end + 4)),
            '"' | '\'' | '`' => quoted(rest, first),
            '[' => {
                let end = rest.find(']').unwrap_or(rest.len());
                (Some(Token::Word { text: rest[1..end].to_owned(), quoted: true }), (end + 1).min(rest.len()))
            }
            _ if is_word(first) => {
                let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
                (Some(Token::Word { text: rest[..end].to_owned(), quoted: false }), end)
            }
            _ if first.is_whitespace() => (None, first.len_utf8()),
            _ => (Some(Token::Sign(first)), first.len_utf8()),
        };
        tokens.extend(token);
        rest = &rest[taken..];
    }
    tokens
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '$' || (!c.is_ascii() && !c.is_whitespace())
}

/// Returns a name in quotes, in which two quotes are one.
fn quoted(rest: &str, quote: char) -> (Option<Token>, usize) {
    let mut text = String::new();
    let mut chars = rest.char_indices().skip(1).peekable();
    while let Some((at, c)) = chars.next() {
        if c != quote {
            text.push(c);
        } else if chars.peek().is_some_and(|(_, next)| *next == quote) {
            text.push(quote);
            chars.next();
        } else {
            return (Some(Token::Word { text, quoted: true }), at + 1);
        }
    }
    (Some(Token::Word { text, quoted: true }), rest.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(sql: &str, names: &[&str], rowid: Option<usize>) {
        let columns = Columns::parse(sql);
        assert_eq!((columns.names.iter().map(String::as_str).collect::<Vec<_>>(), columns.rowid), (names.to_vec(), rowid), "{sql}");
    }

    #[test]
    fn columns_are_found_however_the_table_was_written() {
        check("CREATE TABLE messages(id INTEGER PRIMARY KEY,topic_id INTEGER NOT NULL, data BLOB)", &["id", "topic_id", "data"], Some(0));
        check("create table \"t\"\n(\n  id  INTEGER\n  primary key, -- the, key\n  [a b] text /* ( */)", &["id", "a b"], Some(0));
        check("CREATE TABLE t(a DECIMAL(3,1) CHECK(a IN (1,2)), id INTEGER, PRIMARY KEY(id))", &["a", "id"], Some(1));
        check("CREATE TABLE t(id INT PRIMARY KEY, \"check\" TEXT, CHECK (id > 0))", &["id", "check"], None);
        check("CREATE TABLE t(id INTEGER PRIMARY KEY DESC, `x``y`)", &["id", "x`y"], None);
        check("CREATE TABLE t(id INTEGER PRIMARY KEY AUTOINCREMENT, x", &["id", "x"], Some(0));
        check("CREATE VIEW v AS SELECT 1", &[], None);
        check("'", &[], None);
        assert!(Columns::parse("CREATE TABLE t(a INTEGER PRIMARY KEY) WITHOUT ROWID").without_rowid);
    }
}
