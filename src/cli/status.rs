//! `muster status` and `muster setup-url`: what a running server says of itself.

use clap::Args;
use serde_json::{Value, json};

use super::{Failure, Folder, say};
use crate::base::{Error, Result};
use crate::server::control::Client;
use crate::server::{SETUP, STATUS};

/// `muster status`.
#[derive(Args)]
pub(super) struct Status {
    #[command(flatten)]
    folder: Folder,
    /// As one object of JSON, for programs.
    #[arg(long)]
    json: bool,
}

/// Says how the running server is.
pub(super) fn status(arguments: &Status) -> Result<(), Failure> {
    let told = ask(&arguments.folder, STATUS)?;
    match arguments.json {
        true => say(&told.to_string()),
        false => say(text(&told).trim_end()),
    }
    Ok(())
}

/// Prints the address that makes the first account.
pub(super) fn setup_url(folder: &Folder) -> Result<(), Failure> {
    let told = ask(folder, SETUP)?;
    say(told["url"].as_str().unwrap_or_default());
    say("");
    say(
        "It is good once, and the next one that is made ends it. The browser warns of the site's own authority:",
    );
    say(&format!("compare its fingerprint, {} (SHA-256).", told["authority"].as_str().unwrap_or_default()));
    Ok(())
}

fn ask(folder: &Folder, op: &str) -> Result<Value> {
    let client = Client::connect(&folder.data)?.ok_or_else(|| {
        Error::unavailable(format!("no server runs in `{}`", folder.data.display()))
            .hint("`systemctl start muster` starts the installed one; name another folder with `--data`")
    })?;
    client.call(op, json!({}))
}

/// For people: one thing a line, what is wrong last.
fn text(told: &Value) -> String {
    let word = |name: &str| told[name].as_str().unwrap_or_default().to_owned();
    let number = |value: &Value| value.as_u64().unwrap_or_default();
    let agents = &told["agents"];
    let mut out = format!(
        "Muster {} runs, process {}, for {}\n",
        word("version"),
        told["pid"],
        span(number(&told["up_seconds"]))
    );
    let mut line = |name: &str, text: String| out.push_str(&format!("  {name:<12} {text}\n"));
    line("Console", word("console"));
    line("Agents join", word("gate"));
    line("Authority", format!("{} (SHA-256)", word("authority")));
    line(
        "Folder",
        format!("{}, {} free on its disk", word("folder"), size(number(&told["disk_free_bytes"]))),
    );
    line("Memory", size(number(&told["memory_bytes"])));
    line("Last change", told["last_change"].to_string());
    let counted: Vec<String> = ["healthy", "warning", "critical", "offline", "inactive"]
        .iter()
        .filter(|health| number(&agents[**health]) > 0)
        .map(|health| format!("{} {health}", agents[*health]))
        .collect();
    line("Agents", format!("{} ({})", agents["total"], counted.join(", ")).replace(" ()", ""));
    if told["needs_setup"] == Value::Bool(true) {
        out.push_str(
            "\nNobody has an account yet: `muster setup-url` prints the address that makes the first one.\n",
        );
    }
    for notice in told["notices"].as_array().into_iter().flatten() {
        let mark = if notice["grave"] == Value::Bool(true) { "!" } else { "-" };
        out.push_str(&format!("\n{mark} {}\n", notice["text"].as_str().unwrap_or_default()));
    }
    out
}

fn size(bytes: u64) -> String {
    const UNITS: [(&str, u64); 3] = [("GB", 1_000_000_000), ("MB", 1_000_000), ("kB", 1_000)];
    match UNITS.iter().find(|(_, unit)| bytes >= *unit) {
        Some((name, unit)) => format!("{:.1} {name}", bytes as f64 / *unit as f64),
        None => format!("{bytes} B"),
    }
}

fn span(seconds: u64) -> String {
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7_199 => format!("{} min", seconds / 60),
        7_200..=172_799 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_reads_what_matters() {
        let told = json!({
            "version": "0.1.0", "pid": 7, "up_seconds": 7_300, "memory_bytes": 41_200_000, "folder": "/var/lib/muster",
            "disk_free_bytes": 12_000_000_000_u64, "console": "https://plant:8443", "gate": "plant:8883",
            "authority": "AB", "needs_setup": true, "last_change": 9,
            "agents": { "total": 3, "healthy": 2, "offline": 1, "warning": 0 },
            "notices": [{ "grave": true, "text": "The disk is full." }, { "grave": false, "text": "Soon." }],
        });
        let text = text(&told);
        for part in [
            "Muster 0.1.0 runs, process 7, for 2 h",
            "Folder       /var/lib/muster, 12.0 GB free",
            "Memory       41.2 MB",
            "Agents       3 (2 healthy, 1 offline)",
            "`muster setup-url`",
            "! The disk is full.",
            "- Soon.",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(
            super::text(&json!({})).starts_with("Muster"),
            "an answer of another version is no reason to fail"
        );
    }
}
