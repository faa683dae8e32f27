//! From the text of a condition to its tree: recursive descent.
//!
//! **Invariant:** no text makes it panic, and no tree is deeper than [`DEPTH_LIMIT`].

use recording::Result;

use crate::expression::{Arithmetic, Comparison, Expression, Function, Literal, Part, Place, Reference, UNITS};
use crate::lex::{Kind, Token, refuse, words};

/// How many bytes a condition may have.
pub const LENGTH_LIMIT: usize = 8192;

/// How deep a condition may be nested; `1 + 2 + 3` counts as two steps.
pub const DEPTH_LIMIT: usize = 64;

/// Words that are no names of states.
const RESERVED: [&str; 9] = ["and", "or", "not", "in", "like", "between", "is", "null", "it"];

/// Parses a condition.
///
/// # Errors
/// `Invalid` with the place in the text and what to write instead.
pub fn parse(text: &str) -> Result<Expression> {
    if text.len() > LENGTH_LIMIT {
        return Err(recording::Error::invalid(format!(
            "a condition of {} bytes; at most {LENGTH_LIMIT}: make two rules of it",
            text.len()
        )));
    }
    let tokens = words(text)?;
    let mut parser = Parser { text, tokens: &tokens, next: 0, depth: 0, inside: false };
    if parser.peek() == &Kind::End {
        return Err(recording::Error::invalid("the condition is empty: write one like /imu.linear_acceleration.x < -6"));
    }
    let (expression, _) = parser.disjunction()?;
    match parser.peek() {
        Kind::End => Ok(expression),
        Kind::Sign("=" | "==" | "!=" | "<>" | "<" | "<=" | ">" | ">=") => {
            Err(parser.refuse("a comparison has two sides: write 'a < b and b < c'"))
        }
        Kind::Name(name) if UNITS.iter().any(|(unit, _)| unit == name) => {
            Err(parser.refuse("durations are written without a space: 500ms, 2s"))
        }
        _ => Err(parser.refuse("the condition ends before this: 'and', 'or' or a comparison is missing")),
    }
}

/// A tree and how deep it is.
type Deep = (Expression, usize);

struct Parser<'t> {
    text: &'t str,
    tokens: &'t [Token],
    next: usize,
    /// How many parentheses and signs are open.
    depth: usize,
    /// Whether it is inside of `any` or `all`.
    inside: bool,
}

impl Parser<'_> {
    fn peek(&self) -> &Kind {
        self.tokens.get(self.next).map_or(&Kind::End, |token| &token.kind)
    }

    fn peek_behind(&self) -> &Kind {
        self.tokens.get(self.next + 1).map_or(&Kind::End, |token| &token.kind)
    }

    fn place(&self) -> usize {
        self.tokens.get(self.next).map_or(self.text.len(), |token| token.at)
    }

    fn refuse(&self, message: impl AsRef<str>) -> recording::Error {
        refuse(self.text, self.place(), message)
    }

    fn take_sign(&mut self, sign: &str) -> bool {
        let found = matches!(self.peek(), Kind::Sign(other) if *other == sign);
        self.next += usize::from(found);
        found
    }

    fn expect_sign(&mut self, sign: &str, behind: &str) -> Result<()> {
        match self.take_sign(sign) {
            true => Ok(()),
            false => Err(self.refuse(format!("'{sign}' is missing {behind}"))),
        }
    }

    fn is_word(kind: &Kind, word: &str) -> bool {
        matches!(kind, Kind::Name(name) if name.eq_ignore_ascii_case(word))
    }

    fn take_word(&mut self, word: &str) -> bool {
        let found = Self::is_word(self.peek(), word);
        self.next += usize::from(found);
        found
    }

    /// Checks how deep a tree over such parts is.
    fn over(&self, depth: usize) -> Result<usize> {
        match depth < DEPTH_LIMIT {
            true => Ok(depth + 1),
            false => Err(self.refuse(format!("the condition is nested more than {DEPTH_LIMIT} deep: make two rules of it"))),
        }
    }

    fn nested<T>(&mut self, parse: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        self.depth = self.over(self.depth)?;
        let parsed = parse(self);
        self.depth -= 1;
        parsed
    }

    fn disjunction(&mut self) -> Result<Deep> {
        self.chain("or", Self::conjunction, Expression::Or)
    }

    fn conjunction(&mut self) -> Result<Deep> {
        self.chain("and", Self::negation, Expression::And)
    }

    fn chain(
        &mut self,
        word: &str,
        part: impl Fn(&mut Self) -> Result<Deep>,
        make: impl Fn(Vec<Expression>) -> Expression,
    ) -> Result<Deep> {
        let (first, mut depth) = part(self)?;
        let mut parts = vec![first];
        while self.take_word(word) {
            let (next, other) = part(self)?;
            parts.push(next);
            depth = depth.max(other);
        }
        if parts.len() == 1 {
            return Ok((parts.swap_remove(0), depth));
        }
        Ok((make(parts), self.over(depth)?))
    }

    fn negation(&mut self) -> Result<Deep> {
        if self.take_word("not") {
            let (inner, depth) = self.nested(Self::negation)?;
            return Ok((Expression::Not(Box::new(inner)), self.over(depth)?));
        }
        self.comparison()
    }

    fn comparison(&mut self) -> Result<Deep> {
        let (left, depth) = self.sum()?;
        if let Some(comparison) = self.take_comparison() {
            let (right, other) = self.sum()?;
            return Ok((Expression::Compare(comparison, Box::new(left), Box::new(right)), self.over(depth.max(other))?));
        }
        if self.take_word("is") {
            let negated = self.take_word("not");
            if !self.take_word("null") {
                return Err(self.refuse("'null' is missing behind 'is': write 'is null' or 'is not null'"));
            }
            return Ok((Expression::IsNull { value: Box::new(left), negated }, self.over(depth)?));
        }
        let negated =
            Self::is_word(self.peek(), "not") && ["in", "like", "between"].into_iter().any(|word| Self::is_word(self.peek_behind(), word));
        self.next += usize::from(negated);
        let value = Box::new(left);
        if self.take_word("in") {
            let (list, other) = self.list()?;
            return Ok((Expression::In { value, list, negated }, self.over(depth.max(other))?));
        }
        if self.take_word("like") {
            let Kind::Literal(Literal::Text(pattern)) = self.peek() else {
                return Err(self.refuse("'like' takes a text in single quotes: like 'motor%'"));
            };
            let pattern = pattern.clone();
            self.next += 1;
            return Ok((Expression::Like { value, pattern, negated }, self.over(depth)?));
        }
        if self.take_word("between") {
            let (low, low_depth) = self.sum()?;
            if !self.take_word("and") {
                return Err(self.refuse("'and' is missing: write 'between 1 and 2'"));
            }
            let (high, high_depth) = self.sum()?;
            let depth = self.over(depth.max(low_depth).max(high_depth))?;
            return Ok((Expression::Between { value, low: Box::new(low), high: Box::new(high), negated }, depth));
        }
        Ok((*value, depth))
    }

    fn take_comparison(&mut self) -> Option<Comparison> {
        let Kind::Sign(sign) = self.peek() else { return None };
        let comparison = match *sign {
            "=" | "==" => Comparison::Equal,
            "!=" | "<>" => Comparison::Unequal,
            "<" => Comparison::Less,
            "<=" => Comparison::AtMost,
            ">" => Comparison::Greater,
            ">=" => Comparison::AtLeast,
            _ => return None,
        };
        self.next += 1;
        Some(comparison)
    }

    /// Reads `(1, 2)` or `[1, 2]`.
    fn list(&mut self) -> Result<(Vec<Expression>, usize)> {
        let close = match self.peek() {
            Kind::Sign("(") => ")",
            Kind::Sign("[") => "]",
            _ => return Err(self.refuse("'in' takes a list: in (1, 2, 3)")),
        };
        self.next += 1;
        let (mut list, mut depth) = (Vec::new(), 0);
        loop {
            let (value, other) = self.nested(Self::sum)?;
            list.push(value);
            depth = depth.max(other);
            if !self.take_sign(",") {
                break;
            }
        }
        self.expect_sign(close, "at the end of the list")?;
        Ok((list, depth))
    }

    fn sum(&mut self) -> Result<Deep> {
        self.arithmetic(&[Arithmetic::Add, Arithmetic::Subtract], Self::product)
    }

    fn product(&mut self) -> Result<Deep> {
        self.arithmetic(&[Arithmetic::Multiply, Arithmetic::Divide, Arithmetic::Remainder], Self::signed)
    }

    fn arithmetic(&mut self, signs: &[Arithmetic], part: impl Fn(&mut Self) -> Result<Deep>) -> Result<Deep> {
        let (mut left, mut depth) = part(self)?;
        while let Kind::Sign(written) = self.peek()
            && let Some(sign) = signs.iter().find(|sign| written.chars().eq([sign.sign()]))
        {
            self.next += 1;
            let (right, other) = part(self)?;
            depth = self.over(depth.max(other))?;
            left = Expression::Arithmetic(*sign, Box::new(left), Box::new(right));
        }
        Ok((left, depth))
    }

    fn signed(&mut self) -> Result<Deep> {
        if self.take_sign("-") {
            let (inner, depth) = self.nested(Self::signed)?;
            return Ok((Expression::Negate(Box::new(inner)), self.over(depth)?));
        }
        self.value()
    }

    fn value(&mut self) -> Result<Deep> {
        let at = self.place();
        match self.peek().clone() {
            Kind::Literal(literal) => {
                self.next += 1;
                Ok((Expression::Literal(literal), 1))
            }
            Kind::Topic(_) | Kind::Quoted(_) => {
                let reference = self.reference()?;
                match reference.parts.is_empty() {
                    true => Err(refuse(self.text, at, format!("name a field of the topic: {reference}.field; texts have single quotes"))),
                    false => Ok((Expression::Signal(reference), 1)),
                }
            }
            Kind::Sign("(") => {
                self.next += 1;
                let (inner, depth) = self.nested(Self::disjunction)?;
                self.expect_sign(")", "at the end of the parentheses")?;
                Ok((inner, depth))
            }
            Kind::Name(name) if self.peek_behind() == &Kind::Sign("(") => self.call(&name),
            Kind::Name(name) => self.name(&name),
            Kind::End => Err(self.refuse("a value is missing")),
            Kind::Sign(sign) => Err(self.refuse(format!("a value is missing before '{sign}'"))),
        }
    }

    fn name(&mut self, name: &str) -> Result<Deep> {
        let at = self.place();
        let expression = match name.to_ascii_lowercase().as_str() {
            "true" => Expression::Literal(Literal::Bool(true)),
            "false" => Expression::Literal(Literal::Bool(false)),
            "it" if self.inside => {
                self.next += 1;
                return Ok((Expression::Element(self.parts()?, Place(at)), 1));
            }
            "it" => return Err(self.refuse("'it' is the element that any(list, …) and all(list, …) look at; there is none here")),
            "null" => return Err(self.refuse("nothing equals null: write 'is null' or 'is not null'")),
            word if RESERVED.contains(&word) => return Err(self.refuse(format!("a value is missing before '{name}'"))),
            _ => Expression::State(name.to_owned()),
        };
        self.next += 1;
        if self.peek() == &Kind::Sign(".") {
            return Err(refuse(self.text, at, format!("a topic begins with a slash: /{name}.field; a name without one is a device state")));
        }
        Ok((expression, 1))
    }

    fn reference(&mut self) -> Result<Reference> {
        let place = Place(self.place());
        let topic = match self.peek().clone() {
            Kind::Topic(name) => name,
            Kind::Quoted(name) if !name.is_empty() => name,
            _ => return Err(self.refuse("a topic is missing: write one like /imu")),
        };
        self.next += 1;
        Ok(Reference { topic, parts: self.parts()?, place })
    }

    fn parts(&mut self) -> Result<Vec<Part>> {
        let mut parts = Vec::new();
        loop {
            if parts.len() > DEPTH_LIMIT {
                return Err(self.refuse(format!("there are more than {DEPTH_LIMIT} parts")));
            }
            if self.take_sign(".") {
                match self.peek().clone() {
                    Kind::Name(name) | Kind::Quoted(name) => parts.push(Part::Field(name)),
                    _ => return Err(self.refuse("the name of a field is missing behind the dot; an odd one stands in double quotes")),
                }
                self.next += 1;
            } else if self.take_sign("[") {
                match self.peek().clone() {
                    Kind::Literal(Literal::Int(index)) => {
                        let index = u32::try_from(index).map_err(|_| self.refuse("there are no lists of so many elements"))?;
                        parts.push(Part::Index(index));
                    }
                    Kind::Literal(Literal::Text(name)) | Kind::Quoted(name) => parts.push(Part::Name(name)),
                    _ => return Err(self.refuse("an element is named by its number, from 0, or by its name: [0], ['elbow']")),
                }
                self.next += 1;
                self.expect_sign("]", "behind the name of the element")?;
            } else {
                return Ok(parts);
            }
        }
    }

    fn call(&mut self, name: &str) -> Result<Deep> {
        let at = self.place();
        let lower = name.to_ascii_lowercase();
        if RESERVED.contains(&lower.as_str()) {
            return Err(self.refuse(format!("a value is missing before '{name}'")));
        }
        self.next += 2;
        let (expression, depth) = match lower.as_str() {
            "any" | "all" => self.quantified(lower == "all")?,
            "changed" => (Expression::Changed(self.field_of(at, "changed")?), 0),
            "delta" => (Expression::Delta(self.field_of(at, "delta")?), 0),
            "age" => (Expression::Age(self.topic_of(at, "age")?), 0),
            "rate" => {
                let topic = self.topic_of(at, "rate")?;
                let window_ns = if self.take_sign(",") { Some(self.window()?) } else { None };
                (Expression::Rate { topic, window_ns }, 0)
            }
            name => match Function::ALL.into_iter().find(|function| function.name() == name) {
                Some(function) => self.arguments(function, at)?,
                None => return Err(self.unknown(name, at)),
            },
        };
        self.expect_sign(")", &format!("at the end of {lower}(…)"))?;
        Ok((expression, self.over(depth)?))
    }

    fn unknown(&self, name: &str, at: usize) -> recording::Error {
        let all = Function::ALL.map(Function::name).into_iter().chain(["any", "all", "changed", "delta", "rate", "age"]);
        refuse(self.text, at, format!("there is no function {name}; there are {}", recording::nearest::nearest(name, all)))
    }

    fn quantified(&mut self, every: bool) -> Result<Deep> {
        let at = self.place();
        if self.inside {
            return Err(refuse(self.text, at, "any and all do not stand in one another: name the element of one of them, [0] or ['name']"));
        }
        let list = self.reference()?;
        if list.parts.is_empty() {
            return Err(refuse(self.text, at, format!("name a list in the topic's messages: {list}.status")));
        }
        self.expect_sign(",", "behind the list: any(/scan.ranges, it < 0.3)")?;
        self.inside = true;
        let condition = self.nested(Self::disjunction);
        self.inside = false;
        let (condition, depth) = condition?;
        Ok((Expression::Quantified { every, list, condition: Box::new(condition) }, depth))
    }

    fn field_of(&mut self, at: usize, function: &str) -> Result<Reference> {
        let reference = self.reference()?;
        match reference.parts.is_empty() {
            true => Err(refuse(self.text, at, format!("{function} takes a field: {function}({reference}.field)"))),
            false => Ok(reference),
        }
    }

    fn topic_of(&mut self, at: usize, function: &str) -> Result<Reference> {
        let reference = self.reference()?;
        match reference.parts.is_empty() {
            true => Ok(reference),
            false => {
                let topic = Reference { parts: Vec::new(), ..reference };
                Err(refuse(self.text, at, format!("{function} takes a topic, without a field: {function}({topic})")))
            }
        }
    }

    fn window(&mut self) -> Result<i64> {
        let at = self.place();
        let (text, next) = (self.text, self.next + 1);
        match self.peek() {
            Kind::Literal(Literal::Duration(ns)) => {
                crate::signals::check_window(*ns).map_err(|message| refuse(text, at, message))?;
                let ns = *ns;
                self.next = next;
                Ok(ns)
            }
            _ => Err(self.refuse("rate takes a duration behind the topic: rate(/imu, 5s)")),
        }
    }

    fn arguments(&mut self, function: Function, at: usize) -> Result<Deep> {
        let (mut arguments, mut depth) = (Vec::new(), 0);
        while self.peek() != &Kind::Sign(")") {
            let (argument, other) = self.nested(Self::sum)?;
            arguments.push(argument);
            depth = depth.max(other);
            if !self.take_sign(",") {
                break;
            }
        }
        if arguments.len() != function.arity() {
            return Err(refuse(self.text, at, format!("{} is written {}", function.name(), function.usage())));
        }
        Ok((Expression::Call(function, arguments), depth))
    }
}

#[cfg(test)]
mod tests;
