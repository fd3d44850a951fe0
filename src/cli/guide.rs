//! `muster guide`: the documentation in a terminal, and what packages have of it.

use std::io::IsTerminal as _;

use clap::Args;

use super::papers::Paper;
use super::{Failure, say};
use crate::base::Error;
use crate::kit::guide::{GUIDES, Guide, Values, man, search, text};

/// `muster guide`.
#[derive(Args)]
pub(super) struct GuideRole {
    /// Its name; without one all are listed.
    #[arg(value_name = "NAME")]
    name: Option<String>,
    /// Lists the parts of guides that have these words, the best first.
    #[arg(long, value_name = "WORDS", conflicts_with = "name")]
    search: Option<String>,
}

/// Shows, lists, searches or writes.
pub(super) fn guide(asked: &GuideRole) -> Result<(), Failure> {
    if let Some(words) = &asked.search {
        return found(words);
    }
    let Some(name) = &asked.name else {
        for guide in GUIDES {
            say(&format!("{:<18}{}", guide.name, guide.title()));
        }
        say("");
        say("`muster guide NAME` shows one, `muster guide --search WORDS` finds a part of one.");
        return Ok(());
    };
    let guide = Guide::find(name).ok_or_else(|| {
        let shown: String = name.chars().take(40).collect();
        Error::not_found("guide", shown).hint("`muster guide` lists all")
    })?;
    say(text(guide, &Values::sample(), std::io::stdout().is_terminal()).trim_end());
    Ok(())
}

fn found(words: &str) -> Result<(), Failure> {
    let hits = search(words, &[]);
    if hits.is_empty() {
        return Err(
            Error::not_found("part of a guide with", words.chars().take(80).collect::<String>()).into()
        );
    }
    for hit in hits {
        let name = hit.href.trim_start_matches("/help/").split('#').next().unwrap_or_default().to_owned();
        say(&format!("{} (`muster guide {name}`)", hit.heading.plain()));
        say(&format!("    {}", hit.excerpt.plain()));
    }
    Ok(())
}

/// What packages have of the guides: manual pages, and plain files.
pub(super) fn papers() -> Vec<Paper> {
    let paper = |place: String, text: String| Paper { place, text: text.into_bytes() };
    let one = |guide: &Guide| {
        [
            paper(format!("man/muster-{}.7", guide.name), man(guide)),
            paper(format!("guides/{}.md", guide.name), guide.markdown(&Values::sample())),
        ]
    };
    GUIDES.iter().flat_map(one).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use clap::{Command, CommandFactory as _, Parser as _};

    use super::*;
    use crate::base::Span;
    use crate::cli::Line;
    use crate::kit::guide::proof::{code_blocks, code_spans, says};
    use crate::server::config::{Config, Sources, is_key, is_section};

    /// The words of a line of a shell, as far as guides write them.
    fn words(line: &str) -> Vec<String> {
        let (mut out, mut word, mut quoted, mut any) = (Vec::new(), String::new(), false, false);
        for c in line.chars() {
            match c {
                '\'' => (quoted, any) = (!quoted, true),
                '#' if !quoted && word.is_empty() => break,
                ' ' if !quoted => {
                    if any || !word.is_empty() {
                        out.push(std::mem::take(&mut word));
                    }
                    any = false;
                }
                c => word.push(c),
            }
        }
        if any || !word.is_empty() {
            out.push(word);
        }
        out
    }

    /// The commands of this program in a line, each as its words, `muster` first.
    fn commands(line: &str) -> Vec<Vec<String>> {
        let mut out = Vec::new();
        for part in words(line).split(|word| ["|", ">", "&&", "&"].contains(&word.as_str())) {
            let part: Vec<String> = part.iter().skip_while(|word| word.as_str() == "sudo").cloned().collect();
            let program = part.first().is_some_and(|word| word == "muster" || word.ends_with("/muster"));
            if program {
                out.push(part);
            }
        }
        out
    }

    /// Whether a mention of a command, perhaps without what it needs, names commands and options that exist.
    fn exists(mention: &[String], command: &Command) -> Result<(), String> {
        let (mut at, mut rest) = (command, mention.iter().skip(1).peekable());
        while let Some(sub) = rest.peek().and_then(|word| at.find_subcommand(word.as_str())) {
            at = sub;
            rest.next();
        }
        if at.has_subcommands() && rest.peek().is_some_and(|word| !word.starts_with('-')) {
            return Err(format!("no command {}", mention.join(" ")));
        }
        for word in rest.filter_map(|word| word.strip_prefix("--")) {
            let known = at.get_arguments().any(|argument| argument.get_long() == Some(word));
            if !known {
                return Err(format!("no option --{word} in {}", mention.join(" ")));
            }
        }
        Ok(())
    }

    #[test]
    fn every_command_that_a_guide_names_exists() {
        let command = Line::command();
        let mut seen = 0;
        for guide in GUIDES {
            for (language, text) in code_blocks(guide) {
                for line in text.lines().filter(|_| language == "sh") {
                    for words in commands(line.trim()) {
                        let parsed = Line::try_parse_from(&words).err().map(|e| e.to_string());
                        assert_eq!(parsed, None, "{}: {line}", guide.name);
                        seen += 1;
                    }
                }
            }
            for span in code_spans(guide) {
                for words in commands(&span) {
                    assert_eq!(exists(&words, &command), Ok(()), "{}: {span}", guide.name);
                    seen += 1;
                }
                // An option by itself.
                if let Some(option) = span.strip_prefix("--").and_then(|rest| rest.split(' ').next()) {
                    assert!(anywhere(&command, option), "{}: no option {span}", guide.name);
                }
            }
        }
        assert!(seen > 40, "{seen} commands");
        assert!(exists(&words("muster backup --nope"), &command).is_err());
        assert!(exists(&words("muster keys nope"), &command).is_err());
        assert_eq!(commands("a | sudo muster x 'b c' # muster y")[0], ["muster", "x", "b c"]);
    }

    fn anywhere(command: &Command, option: &str) -> bool {
        command.get_arguments().any(|argument| argument.get_long() == Some(option))
            || command.get_subcommands().any(|sub| anywhere(sub, option))
    }

    #[test]
    fn every_key_that_a_guide_names_exists() {
        let mut seen = BTreeSet::new();
        for guide in GUIDES {
            for (language, text) in code_blocks(guide) {
                if language == "toml" {
                    let sources =
                        Sources { file: Some(("guide.toml".into(), text.clone())), ..Sources::default() };
                    let mistakes = Config::assemble(&sources).err().map(|mistakes| mistakes.to_string());
                    assert_eq!(mistakes, None, "{}:\n{text}", guide.name);
                }
            }
            for span in code_spans(guide) {
                if let Some(section) = span.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
                    let section = if section.starts_with("agent.commands") { "agent" } else { section };
                    assert!(is_section(section), "{}: {span}", guide.name);
                }
                let name = span.split(" = ").next().unwrap_or_default();
                if let Some((section, word)) = name.split_once('.')
                    && is_section(section)
                    && !["audit.log", "audit.read"].contains(&name)
                {
                    assert!(is_key(section, word), "{}: {span}", guide.name);
                    seen.insert(name.to_owned());
                }
                if let Some(variable) = span.strip_prefix("MUSTER_") {
                    let variable = variable.split('=').next().unwrap_or_default().to_lowercase();
                    let known = variable.split_once('_').is_some_and(|(s, word)| is_key(s, word));
                    assert!(known || variable == "section_key", "{}: {span}", guide.name);
                }
            }
        }
        assert!(seen.len() >= 10, "{seen:?}");
    }

    #[test]
    fn the_guides_say_the_defaults_of_the_configuration() {
        let config = Config::default();
        let mqtt = &config.mqtt;
        assert_eq!(mqtt.connections_max, 20_000);
        assert_eq!((mqtt.connections_per_address_max, mqtt.messages_per_second_max), (1_000, 200));
        assert!(
            says("limits", "20 000") && says("limits", "1 000") && says("limits", "200, what is above waits")
        );
        assert_eq!((config.storage.metrics, config.storage.logs), (Span::from_days(90), Span::from_days(30)));
        assert!(
            says("storage", "storage.metrics, by default 90 days") && says("storage", "by default 30 days")
        );
        assert_eq!((config.http.address.port(), mqtt.address.port()), (8443, 8883));
        assert!(says("installation", "8443 for the console and the API, 8883 for agents"));
    }

    #[test]
    fn the_package_gets_pages_and_files() {
        let papers = papers();
        for guide in GUIDES {
            let text = |place: String| {
                let paper = papers.iter().find(|paper| paper.place == place);
                String::from_utf8(paper.unwrap_or_else(|| panic!("no {place}")).text.clone()).unwrap()
            };
            assert!(text(format!("man/muster-{}.7", guide.name)).starts_with(".TH "));
            let file = text(format!("guides/{}.md", guide.name));
            assert!(file.starts_with("# ") && !file.contains("{{") && !file.contains("!["), "{}", guide.name);
        }
    }
}
