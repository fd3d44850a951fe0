//! Whether a line holds all the words that somebody looks for, without regard to case.

/// Words to look for; none match every line.
pub(super) struct Words(Vec<String>);

impl Words {
    pub(super) fn new(text: &str) -> Words {
        Words(text.split_whitespace().map(str::to_lowercase).collect())
    }

    /// Every word occurs in the text or in the origin.
    pub(super) fn match_line(&self, origin: &str, text: &str) -> bool {
        self.0.iter().all(|word| holds(text, word) || holds(origin, word))
    }
}

/// Whether `text` holds `word`, which is lower case.
fn holds(text: &str, word: &str) -> bool {
    if !word.is_ascii() {
        return text.to_lowercase().contains(word);
    }
    let (text, word) = (text.as_bytes(), word.as_bytes());
    let Some((first, rest)) = word.split_first() else { return true };
    let upper = first.to_ascii_uppercase();
    (0..(text.len() + 1).saturating_sub(word.len())).any(|at| {
        (text[at] == *first || text[at] == upper) && text[at + 1..at + word.len()].eq_ignore_ascii_case(rest)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_words_without_case() {
        for (words, expected) in [
            ("", true),
            ("disk FULL", true),
            ("full disk sshd", true),
            ("full missing", false),
            ("größe", true),
            ("/var", true),
            ("disk full: größe on /var and much more text than there is", false),
        ] {
            assert_eq!(Words::new(words).match_line("sshd", "Disk full: GRÖßE on /var"), expected, "{words}");
        }
        assert!(!Words::new("x").match_line("", ""));
    }
}
