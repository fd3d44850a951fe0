//! The filter grammar of every list: `status:warning site:lyon cpu>80 press`.
//!
//! Terms are joined by "and". `key:value` compares text without case and takes `a,b` for "or" and a trailing `*` for
//! "begins with"; `key>number` and `key<number` compare numbers; `-` in front denies a term; a bare word must occur in
//! the subject's text. Values with spaces stand in double quotes.

use super::{Error, Result, limits};

/// What a selector can be asked about.
pub trait Subject {
    /// The values of `key`; empty when the subject has none.
    fn text(&self, key: &str) -> Vec<String>;
    /// The number behind `key`.
    fn number(&self, key: &str) -> Option<f64>;
    /// Whether `word` (lower case) occurs in what a person would search by.
    fn mentions(&self, word: &str) -> bool;
}

#[derive(Clone, Debug, PartialEq)]
enum Test {
    Is(String, Vec<String>),
    Over(String, f64),
    Under(String, f64),
    Word(String),
}

/// A parsed filter. The empty one matches everything.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Selector {
    terms: Vec<(bool, Test)>,
}

impl Selector {
    /// Parses the text of a filter field.
    pub fn parse(text: &str) -> Result<Selector> {
        if text.len() > limits::SELECTOR_BYTES_MAX {
            return Err(Error::invalid("the filter is too long")
                .hint(format!("at most {} bytes", limits::SELECTOR_BYTES_MAX)));
        }
        let mut terms = Vec::new();
        for word in split(text)? {
            let (wanted, word) = match word.strip_prefix('-') {
                Some(rest) if !rest.is_empty() => (false, rest.to_owned()),
                _ => (true, word),
            };
            terms.push((wanted, test(&word)?));
        }
        if terms.len() > limits::SELECTOR_TERMS_MAX {
            return Err(Error::invalid("the filter has too many terms")
                .hint(format!("at most {}", limits::SELECTOR_TERMS_MAX)));
        }
        Ok(Selector { terms })
    }

    /// Whether it matches everything.
    pub fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }

    /// Whether it has every term of `other`, so that all that passes it passes the other.
    pub fn narrows(&self, other: &Selector) -> bool {
        other.terms.iter().all(|term| self.terms.contains(term))
    }

    /// Whether `subject` passes every term.
    pub fn matches(&self, subject: &dyn Subject) -> bool {
        self.terms.iter().all(|(wanted, test)| *wanted == holds(test, subject))
    }
}

fn holds(test: &Test, subject: &dyn Subject) -> bool {
    match test {
        Test::Is(key, values) => subject.text(key).iter().any(|have| {
            let have = have.to_lowercase();
            values.iter().any(|want| match want.strip_suffix('*') {
                Some(start) => have.starts_with(start),
                None => have == *want,
            })
        }),
        Test::Over(key, bound) => subject.number(key).is_some_and(|n| n > *bound),
        Test::Under(key, bound) => subject.number(key).is_some_and(|n| n < *bound),
        Test::Word(word) => subject.mentions(word),
    }
}

fn test(word: &str) -> Result<Test> {
    if let Some(at) = word.find([':', '>', '<']) {
        let (key, rest) = word.split_at(at);
        let (sign, value) = rest.split_at(1);
        if key.is_empty() || value.is_empty() {
            return Err(Error::invalid(format!("filter term `{word}` is not complete"))
                .hint("write `key:value`, `key>number` or `key<number`"));
        }
        let key = key.to_lowercase();
        if sign == ":" {
            let values = value.split(',').filter(|v| !v.is_empty()).map(str::to_lowercase).collect();
            return Ok(Test::Is(key, values));
        }
        let bound = value.parse::<f64>().ok().filter(|n| n.is_finite()).ok_or_else(|| {
            Error::invalid(format!("`{value}` in filter term `{word}` is not a number"))
                .hint("for example `cpu>80`")
        })?;
        return Ok(if sign == ">" { Test::Over(key, bound) } else { Test::Under(key, bound) });
    }
    Ok(Test::Word(word.to_lowercase()))
}

fn split(text: &str) -> Result<Vec<String>> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quoted = false;
    for c in text.chars() {
        match c {
            '"' => quoted = !quoted,
            c if c.is_whitespace() && !quoted => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
            }
            c => word.push(c),
        }
    }
    if quoted {
        return Err(Error::invalid("a quotation mark in the filter is not closed").hint("close it with `\"`"));
    }
    if !word.is_empty() {
        words.push(word);
    }
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Press;
    impl Subject for Press {
        fn text(&self, key: &str) -> Vec<String> {
            match key {
                "site" => vec!["Lyon".into()],
                "status" => vec!["warning".into()],
                _ => Vec::new(),
            }
        }
        fn number(&self, key: &str) -> Option<f64> {
            (key == "cpu").then_some(88.0)
        }
        fn mentions(&self, word: &str) -> bool {
            "lyon-press-07".contains(word)
        }
    }

    #[test]
    fn terms_match_as_a_reader_expects() {
        for (text, expected) in [
            ("", true),
            ("site:lyon", true),
            ("site:sfax,lyon cpu>80", true),
            ("site:ly* press", true),
            ("-status:warning", false),
            ("cpu<80", false),
            ("memory>1", false),
            ("site:\"lyon\" -gdansk", true),
        ] {
            assert_eq!(Selector::parse(text).unwrap().matches(&Press), expected, "{text}");
        }
    }

    #[test]
    fn mistakes_are_named() {
        for (text, part) in [("cpu>much", "much"), ("site:", "site:"), ("\"open", "quotation")] {
            assert!(Selector::parse(text).unwrap_err().message().contains(part), "{text}");
        }
        assert!(Selector::parse(&"a ".repeat(33)).unwrap_err().message().contains("terms"));
        assert!(Selector::parse(&"a".repeat(1_025)).is_err());
    }
}
