//! What goes beside the program: the guides, manual pages and completions, from the definition of the command line, and the texts
//! of the configuration, from its reference file. The packages have them, and `muster install` writes them.

use std::fmt::Write as _;
use std::path::Path;

use clap::{Command, CommandFactory as _};
use clap_complete::Shell;

use super::{AgentLine, Failure, Line};
use crate::base::Result;

/// The reference of the configuration: every key with its default, and what it does.
pub(super) const REFERENCE: &str = include_str!("../../config/muster.toml");

/// One file.
pub(super) struct Paper {
    /// Its place below the folder: `server` or `agent`, what it is, its name.
    pub(super) place: String,
    pub(super) text: Vec<u8>,
}

/// Writes all of them.
pub(super) fn write(folder: &Path) -> Result<(), Failure> {
    for (program, papers) in [("server", server()?), ("agent", agent()?)] {
        for paper in papers {
            let path = folder.join(program).join(&paper.place);
            if let Some(parent) = path.parent() {
                std::fs::create_dir_all(parent).map_err(crate::base::Error::from)?;
            }
            std::fs::write(&path, &paper.text).map_err(crate::base::Error::from)?;
        }
    }
    Ok(())
}

/// Those of the server, and of the whole command line.
pub(super) fn server() -> Result<Vec<Paper>> {
    let mut papers = Vec::new();
    manual(Line::command(), &mut papers)?;
    papers.push(Paper { place: "man/muster.toml.5".into(), text: configuration(REFERENCE).into_bytes() });
    papers.extend(super::guide::papers());
    completions(Line::command(), &mut papers);
    Ok(papers)
}

/// Those of the agent's own program.
pub(super) fn agent() -> Result<Vec<Paper>> {
    let mut papers = Vec::new();
    manual(AgentLine::command(), &mut papers)?;
    papers.push(Paper { place: "agent.toml".into(), text: agent_configuration(REFERENCE).into_bytes() });
    completions(AgentLine::command(), &mut papers);
    Ok(papers)
}

/// A page for the program and for each of its commands that people see.
fn manual(command: Command, papers: &mut Vec<Paper>) -> Result<()> {
    let mut command = command.disable_help_subcommand(true);
    command.build();
    page(&command, papers)
}

fn page(command: &Command, papers: &mut Vec<Paper>) -> Result<()> {
    let name = command.get_display_name().unwrap_or(command.get_name()).to_owned();
    let mut text = Vec::new();
    // The page of `muster agent` would have the name of that of the agent's own program, which says the same.
    let owned = command.clone().name(leaked(&name));
    clap_mangen::Man::new(owned)
        .section("8")
        .source(concat!("muster ", env!("CARGO_PKG_VERSION")))
        .render(&mut text)?;
    papers.push(Paper { place: format!("man/{name}.8"), text });
    for sub in command
        .get_subcommands()
        .filter(|sub| !sub.is_hide_set() && sub.get_display_name() != Some("muster-agent"))
    {
        page(sub, papers)?;
    }
    Ok(())
}

/// clap wants names that live as long as the program; there are a few dozen.
fn leaked(name: &str) -> &'static str {
    Box::leak(name.to_owned().into_boxed_str())
}

fn completions(mut command: Command, papers: &mut Vec<Paper>) {
    let name = command.get_name().to_owned();
    for (shell, place) in [
        (Shell::Bash, format!("bash/{name}")),
        (Shell::Zsh, format!("zsh/_{name}")),
        (Shell::Fish, format!("fish/{name}.fish")),
    ] {
        let mut text = Vec::new();
        clap_complete::generate(shell, &mut command, &name, &mut text);
        papers.push(Paper { place, text });
    }
}

/// A key's line, also one that is commented out: `# key = "value"`.
fn is_key(line: &str) -> bool {
    let line = line.strip_prefix("# ").unwrap_or(line);
    line.split_once(" = ").is_some_and(|(word, _)| word.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'))
}

/// muster.toml(5).
fn configuration(reference: &str) -> String {
    let mut out = String::from(
        ".TH muster.toml 5\n.SH NAME\nmuster.toml \\- configuration of the server and of the agent\n.SH DESCRIPTION\n",
    );
    let mut said: Vec<&str> = Vec::new();
    for line in reference.lines() {
        if is_key(line) {
            let line =
                line.strip_prefix("# ").map(|rest| format!("{rest} (not set)")).unwrap_or(line.to_owned());
            let _ = writeln!(out, ".TP\n.B {}", roff(&line));
            flush(&mut out, &mut said, "");
        } else if let Some(text) = line.strip_prefix("# ") {
            said.push(text);
        } else if line.starts_with('[') {
            // What stands before a section after an empty line is about the section.
            let _ = writeln!(out, ".SH {}", roff(line));
            flush(&mut out, &mut said, ".PP\n");
        } else if out.ends_with(".SH DESCRIPTION\n")
            || line == "#"
            || !said.is_empty() && !out.contains(".TP")
        {
            flush(&mut out, &mut said, ".PP\n");
        }
    }
    out.push_str(".SH FILES\n.I /etc/muster/muster.toml\n, the server's;\n.I /etc/muster\\-agent/agent.toml\n, the agent's.\n");
    out.push_str(".SH SEE ALSO\nmuster(8), muster\\-agent(8)\n");
    out
}

fn flush(out: &mut String, said: &mut Vec<&str>, before: &str) {
    if said.is_empty() {
        return;
    }
    out.push_str(before);
    for text in said.drain(..) {
        let _ = writeln!(out, "{}", roff(text));
    }
}

/// Text that roff takes for nothing but text.
fn roff(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-").replace('`', "\\(ga");
    if text.starts_with(['.', '\'']) { format!("\\&{text}") } else { text }
}

/// The sections that the agent reads, less what has a meaning on the server's own host only.
fn agent_configuration(reference: &str) -> String {
    let mut out = String::from(
        "# Configuration of the agent of this host. Every key stands here with its default; a key that is left out has that\n\
         # default.\n\n",
    );
    let rest = reference.find("[log]").map_or("", |at| &reference[at..]);
    let mut said = String::new();
    for line in rest.lines() {
        if line.starts_with("enabled = ") {
            said.clear();
        } else if line.starts_with("# ") && !is_key(line) {
            said.push_str(line);
            said.push('\n');
        } else {
            out.push_str(&said);
            said.clear();
            out.push_str(line);
            out.push('\n');
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::config::{Config, Sources};

    #[test]
    fn every_command_that_people_see_has_a_page() {
        let papers = server().unwrap();
        let text = |place: &str| {
            let paper = papers.iter().find(|paper| paper.place == place);
            String::from_utf8(paper.unwrap_or_else(|| panic!("no {place}")).text.clone()).unwrap()
        };
        assert!(text("man/muster.8").contains("muster\\-setup\\-url(8)"));
        assert!(text("man/muster-keys-rotate.8").contains(".TH muster-keys-rotate 8"));
        assert!(text("man/muster-backup.8").contains("\\-\\-without\\-telemetry"));
        assert!(text("bash/muster").contains("setup-url"));
        assert!(
            !papers.iter().any(|paper| paper.place.contains("papers") || paper.place == "man/muster-agent.8")
        );
        let agent = agent().unwrap();
        assert!(agent.iter().any(|paper| paper.place == "man/muster-agent.8"));
        assert!(agent.iter().any(|paper| paper.place == "zsh/_muster-agent"));
    }

    #[test]
    fn the_page_of_the_configuration_has_every_key_and_what_it_does() {
        let page = configuration(REFERENCE);
        for line in REFERENCE.lines().filter(|line| is_key(line)) {
            let key = line.trim_start_matches("# ").split(" = ").next().unwrap();
            assert!(page.contains(&format!(".B {key} = ")), "{key}");
        }
        assert!(
            page.contains(".SH [http]\n") && page.contains(".B tls_minimum = \"1.3\"\nThe oldest version"),
            "{page}"
        );
        assert!(page.contains(".SH [agent]\n.PP\nThis host as an agent."), "{page}");
        assert_eq!((roff(".x -\\"), roff("'")), ("\\&.x \\-\\e".into(), "\\&'".into()));
    }

    #[test]
    fn the_agents_file_is_its_part_of_the_defaults() {
        let text = agent_configuration(REFERENCE);
        assert!(text.contains("[log]") && text.contains("[agent.commands.uptime]"));
        assert!(!text.contains("enabled") && !text.contains("[http]"), "{text}");
        let sources = Sources { file: Some(("agent.toml".into(), text)), ..Sources::default() };
        assert_eq!(Config::assemble(&sources).unwrap().show(), Config::default().show());
    }

    #[test]
    fn papers_are_written_below_a_folder() {
        let folder = tempfile::tempdir().unwrap();
        assert!(write(folder.path()).is_ok());
        assert!(folder.path().join("server/man/muster.toml.5").exists());
        assert!(folder.path().join("agent/agent.toml").exists());
    }
}
