//! The law of the tree, read from its `use` lines and paths: who may import whom, which module may name a foreign
//! crate, the order of the capabilities, the length of files, and what templates may not contain.
//!
//! The rules are functions on text; the cases at the end are breaches that they must catch.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

const LINES_MAX: usize = 600;

/// What may stand visibly at the top, and nothing else.
const TOP: [&str; 13] = [
    "Cargo.toml",
    "Cargo.lock",
    "src",
    "templates",
    "static",
    "config",
    "packaging",
    "tests",
    "benches",
    "README.md",
    "LICENSE",
    "CHANGELOG.md",
    "target",
];

/// Foreign crates that only these modules may name.
const FENCES: &[(&str, &[&str])] = &[
    ("redb", &["engine::store"]),
    ("rumqttd", &["engine::broker"]),
    ("sysinfo", &["engine::host"]),
    ("actix_web", &["engine::http", "surface"]),
    ("actix_http", &["engine::http"]),
    ("actix_service", &["engine::http"]),
    ("ipnet", &["base"]),
    ("base64", &["engine::crypto"]),
    (
        "rustls",
        &["engine::http", "engine::broker", "engine::crypto", "engine::outbound", "surface", "server"],
    ),
    ("tokio_rustls", &["engine::http", "engine::broker", "engine::outbound", "surface", "server"]),
    ("rcgen", &["engine::crypto"]),
    ("ring", &["engine::crypto", "engine::outbound::oidc"]),
    ("ldap3", &["engine::outbound::ldap"]),
    ("tantivy", &["engine::index"]),
    ("age", &["engine::archive"]),
    ("age_core", &["engine::archive"]),
    ("tar", &["engine::archive"]),
    ("blahaj", &["engine::archive"]),
    ("object_store", &["engine::outbound"]),
    ("reqwest", &["engine::outbound"]),
    ("qrcode", &["kit"]),
    ("pulldown_cmark", &["kit::guide"]),
    ("argon2", &["engine::crypto"]),
    ("getrandom", &["engine::clock"]),
    ("data_encoding", &["engine::crypto", "capabilities::identity"]),
    ("askama", &["kit", "surface", "*::pages"]),
    ("clap", &["cli"]),
    ("clap_complete", &["cli"]),
    ("clap_mangen", &["cli"]),
    ("rusqlite", &[]),
    ("ureq", &[]),
];

/// A path that code names, from the crate's root (`crate`, …) or from a foreign crate.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Reference {
    line: usize,
    path: Vec<String>,
}

/// The code without comments, texts and characters; lines stay where they are.
fn code_only(source: &str) -> String {
    let bytes = source.as_bytes();
    let mut out = String::with_capacity(source.len());
    let mut i = 0;
    let blank = |out: &mut String, from: usize, to: usize| {
        out.push(' ');
        out.extend(bytes[from..to].iter().filter(|b| **b == b'\n').map(|_| '\n'));
    };
    while i < bytes.len() {
        let rest = &source[i..];
        let word_before = i > 0 && (bytes[i - 1].is_ascii_alphanumeric() || bytes[i - 1] == b'_');
        if rest.starts_with("//") {
            i += rest.find('\n').unwrap_or(rest.len());
        } else if rest.starts_with("/*") {
            let end = i + rest.find("*/").map_or(rest.len(), |n| n + 2);
            blank(&mut out, i, end);
            i = end;
        } else if let Some(hashes) = raw_text(rest).filter(|_| !word_before) {
            let close = format!("\"{}", "#".repeat(hashes));
            let open = i + rest.find('"').unwrap_or(0) + 1;
            let end = source[open..].find(&close).map_or(source.len(), |n| open + n + close.len());
            blank(&mut out, i, end);
            i = end;
        } else if bytes[i] == b'"' {
            let mut end = i + 1;
            while end < bytes.len() && bytes[end] != b'"' {
                end += if bytes[end] == b'\\' { 2 } else { 1 };
            }
            let end = (end + 1).min(bytes.len());
            blank(&mut out, i, end);
            i = end;
        } else if bytes[i] == b'\'' && rest[1..].starts_with('\\') {
            i += 3 + rest[3.min(rest.len())..].find('\'').map_or(0, |n| n + 1);
            out.push(' ');
        } else if bytes[i] == b'\'' && rest.chars().nth(2) == Some('\'') {
            i += rest.chars().take(3).map(char::len_utf8).sum::<usize>();
            out.push(' ');
        } else {
            let c = rest.chars().next().unwrap_or(char::from(0));
            out.push(c);
            i += c.len_utf8();
        }
    }
    out
}

/// The number of hashes when the text begins a raw string.
fn raw_text(rest: &str) -> Option<usize> {
    let after = rest.strip_prefix("br").or_else(|| rest.strip_prefix('r'))?;
    let hashes = after.bytes().take_while(|b| *b == b'#').count();
    after[hashes..].starts_with('"').then_some(hashes)
}

/// The code before its test module: tests of a slice may use what they need.
fn without_tests(code: &str) -> &str {
    match code.find("#[cfg(test)]\nmod tests") {
        Some(at) => &code[..at],
        None => code,
    }
}

/// Words, `::` and other signs, each with its line.
fn tokens(code: &str) -> Vec<(usize, String)> {
    let mut out: Vec<(usize, String)> = Vec::new();
    let (mut line, mut chars) = (1, code.chars().peekable());
    while let Some(c) = chars.next() {
        if c == '\n' {
            line += 1;
        } else if c.is_alphanumeric() || c == '_' {
            let mut word = String::from(c);
            while let Some(n) = chars.next_if(|n| n.is_alphanumeric() || *n == '_') {
                word.push(n);
            }
            out.push((line, word));
        } else if c == ':' && chars.next_if_eq(&':').is_some() {
            out.push((line, "::".into()));
        } else if !c.is_whitespace() {
            out.push((line, c.into()));
        }
    }
    out
}

fn is_word(text: &str) -> bool {
    text.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// Every path with at least two parts that the code names, trees of `use` unfolded, `super` and `self` resolved.
fn references(module: &[String], source: &str) -> Vec<Reference> {
    let code = code_only(source);
    let tokens = tokens(without_tests(&code));
    let mut found = Vec::new();
    let mut i = 0;
    while i < tokens.len() {
        let before = i.checked_sub(1).map(|b| tokens[b].1.as_str());
        let in_use = before == Some("use");
        let starts = is_word(&tokens[i].1) && !matches!(before, Some("::" | "."));
        let path_follows = tokens.get(i + 1).is_some_and(|t| t.1 == "::");
        if starts && (path_follows || in_use) {
            i = tree(&tokens, i, &mut Vec::new(), &mut found).max(i + 1);
        } else {
            i += 1;
        }
    }
    found.iter().map(|r| Reference { line: r.line, path: resolve(module, &r.path) }).collect()
}

/// Reads one path or tree of paths; returns where it ended.
fn tree(
    tokens: &[(usize, String)],
    mut i: usize,
    prefix: &mut Vec<String>,
    found: &mut Vec<Reference>,
) -> usize {
    let depth = prefix.len();
    let line = tokens.get(i).map_or(0, |t| t.0);
    loop {
        match tokens.get(i).map(|t| t.1.as_str()) {
            Some("{") if depth < prefix.len() || depth > 0 => {
                i += 1;
                while i < tokens.len() && tokens[i].1 != "}" {
                    let here = prefix.len();
                    let next = tree(tokens, i, prefix, found);
                    prefix.truncate(here);
                    i = next.max(i + 1);
                    while tokens.get(i).is_some_and(|t| t.1 == "," || t.1 == "as") {
                        i += if tokens[i].1 == "as" { 2 } else { 1 };
                    }
                }
                prefix.truncate(depth);
                return i + 1;
            }
            Some(word) if is_word(word) => {
                prefix.push(word.to_owned());
                i += 1;
                if tokens.get(i).is_some_and(|t| t.1 == "::") {
                    i += 1;
                    continue;
                }
                break;
            }
            _ => break,
        }
    }
    found.push(Reference { line, path: prefix.clone() });
    prefix.truncate(depth);
    i
}

fn resolve(module: &[String], path: &[String]) -> Vec<String> {
    let root = || vec!["crate".to_owned()];
    match path.first().map(String::as_str) {
        Some("crate" | "muster") => root().into_iter().chain(path[1..].iter().cloned()).collect(),
        Some("super" | "self") => {
            let ups = path.iter().take_while(|p| *p == "super").count();
            let rest = path.iter().skip_while(|p| *p == "super" || *p == "self").cloned();
            let keep = module.len().saturating_sub(ups);
            root().into_iter().chain(module[..keep].iter().cloned()).chain(rest).collect()
        }
        _ => path.to_vec(),
    }
}

/// Whether code in `from` may name `to` (both below the crate's root); `all` are the capabilities in their order.
fn law(from: &[String], to: &[String], all: &[String]) -> Result<(), String> {
    let part = |path: &[String], n: usize| path.get(n).cloned().unwrap_or_default();
    let (here, there) = (part(from, 0), part(to, 0));
    let (slice, what) = (part(from, 1), part(to, 1));
    const FLOORS: [&str; 9] =
        ["base", "wire", "engine", "kit", "capabilities", "surface", "server", "agent", "cli"];
    if here == there && !["engine", "capabilities"].contains(&here.as_str())
        || !FLOORS.contains(&there.as_str())
    {
        return Ok(());
    }
    let allowed = match here.as_str() {
        "base" => false,
        "wire" => there == "base",
        "engine" => match there.as_str() {
            "base" => true,
            "wire" => slice == "broker",
            "engine" => {
                what == slice
                    || slice.is_empty()
                    || ["clock", "days", "journal"].contains(&what.as_str())
                    || slice == "jobs" && what == "store"
            }
            _ => false,
        },
        "kit" => ["base", "wire", "engine"].contains(&there.as_str()),
        "capabilities" if there == "capabilities" => {
            if slice.is_empty() || slice == what {
                return Ok(());
            }
            let place = |name: &str| all.iter().position(|n| n == name);
            return match (place(&slice), place(&what)) {
                (Some(mine), Some(theirs)) if theirs < mine => Ok(()),
                (Some(_), Some(_)) => Err(format!("`{slice}` stands before `{what}` in ALL")),
                _ => Err(format!("`{what}` is no capability that `{slice}` may use")),
            };
        }
        "capabilities" => ["base", "wire", "kit", "engine"].contains(&there.as_str()),
        "surface" if there == "capabilities" => ["ALL", "identity", "agents"].contains(&what.as_str()),
        "surface" => ["base", "wire", "engine", "kit"].contains(&there.as_str()),
        "server" => !["agent", "cli"].contains(&there.as_str()),
        "agent" if there == "engine" => {
            ["clock", "host", "outbound", "crypto", "trace", "store", "journal"].contains(&what.as_str())
        }
        "agent" => ["base", "wire"].contains(&there.as_str()),
        "cli" if there == "engine" => ["clock", "trace", "outbound", "crypto"].contains(&what.as_str()),
        "cli" => ["server", "agent", "base", "kit"].contains(&there.as_str()),
        "main" => ["cli", "base"].contains(&there.as_str()),
        _ => true,
    };
    if allowed { Ok(()) } else { Err(format!("`{}` may not use `{}`", from.join("::"), to.join("::"))) }
}

/// Whether code in `from` may name the foreign crate.
fn fence(from: &[String], foreign: &str) -> Result<(), String> {
    let Some((_, homes)) = FENCES.iter().find(|(name, _)| *name == foreign) else { return Ok(()) };
    let here = from.join("::");
    let inside = homes.iter().any(|home| match home.strip_prefix("*::") {
        Some(last) => from.iter().any(|part| part == last),
        None => here == *home || here.starts_with(&format!("{home}::")),
    });
    if inside { Ok(()) } else { Err(format!("`{here}` may not name the crate `{foreign}`")) }
}

/// The capabilities in their order.
fn order_of_all(source: &str) -> Vec<String> {
    let list = source.split_once("ALL:").and_then(|(_, rest)| rest.split_once("= &[")).map_or("", |(_, l)| l);
    let list = list.split_once("];").map_or(list, |(l, _)| l);
    list.split(',')
        .filter_map(|entry| entry.trim().strip_prefix('&')?.split_once("::"))
        .map(|(n, _)| n.to_owned())
        .collect()
}

/// Breaches in one source file.
fn breaches(module: &[String], source: &str, all: &[String]) -> Vec<String> {
    let mut out = Vec::new();
    for Reference { line, path } in references(module, source) {
        let verdict = match path.split_first() {
            Some((first, rest)) if first == "crate" => law(module, rest, all),
            Some((first, _)) => fence(module, first),
            None => Ok(()),
        };
        out.extend(verdict.err().map(|why| format!("line {line}: {why}")));
    }
    let code = code_only(source);
    for word in ["#[ignore", "todo!", "unimplemented!"] {
        if code.contains(word) {
            out.push(format!("`{word}` stands in it"));
        }
    }
    if source.contains("style=\\\"") || source.contains(" style=\"") {
        out.push("an inline style stands in it".into());
    }
    let lines = source.lines().count();
    if lines > LINES_MAX {
        out.push(format!("{lines} lines; at most {LINES_MAX}"));
    }
    out
}

/// Breaches in one template, style sheet or script.
fn page_breaches(name: &str, text: &str) -> Vec<String> {
    let mut out = Vec::new();
    let lower = text.to_lowercase();
    let mut say = |what: &str| out.push(what.to_owned());
    if ["src", "href", "action", "data", "poster", "srcset"].iter().any(|attribute| {
        ["\"", "'", ""].iter().any(|q| {
            ["http://", "https://", "//"].iter().any(|s| lower.contains(&format!(" {attribute}={q}{s}")))
        })
    }) {
        say("it loads from elsewhere");
    }
    if ["http://", "https://", "//"].iter().any(|scheme| {
        ["url(", "url(\"", "url('", "@import \"", "@import '", "fetch(\"", "fetch('", "import(\""]
            .iter()
            .any(|start| lower.contains(&format!("{start}{scheme}")))
    }) {
        say("it loads from elsewhere");
    }
    if !name.ends_with(".html") && !name.ends_with(".svg") {
        return out;
    }
    if lower.contains("style=\"") || lower.contains("style='") || lower.contains("<style") {
        say("an inline style stands in it");
    }
    for (at, _) in lower.match_indices("<script") {
        let tag = &lower[at..at + lower[at..].find('>').unwrap_or(0)];
        if !tag.contains("src=") && !tag.contains("application/json") {
            say("an inline script stands in it");
        }
    }
    for (at, _) in lower.match_indices(" on") {
        let name_end = lower[at + 3..].find(|c: char| !c.is_ascii_alphabetic()).map_or(0, |n| at + 3 + n);
        let value = &lower[name_end.max(at + 3)..];
        if name_end > at + 3 && (value.starts_with("=\"") || value.starts_with("='")) {
            say("an inline handler stands in it");
        }
    }
    if lower.contains("javascript:") {
        say("a script address stands in it");
    }
    out
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut out = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() { out.extend(files(&path)) } else { out.push(path) }
    }
    out.sort();
    out
}

/// The module that a file below `src` is.
fn module_of(relative: &Path) -> Vec<String> {
    let mut parts: Vec<String> =
        relative.with_extension("").iter().map(|p| p.to_string_lossy().into()).collect();
    if parts.last().is_some_and(|p| p == "mod" || p == "lib") {
        parts.pop();
    }
    parts
}

#[test]
fn every_source_file_keeps_the_law() {
    let source = root().join("src");
    let all = order_of_all(&fs::read_to_string(source.join("capabilities/mod.rs")).unwrap_or_default());
    assert!(all.len() >= 7, "ALL is read wrongly: {all:?}");
    let mut out = Vec::new();
    for file in files(&source).iter().filter(|f| f.extension().is_some_and(|e| e == "rs")) {
        let relative = file.strip_prefix(&source).unwrap();
        let module = module_of(relative);
        let text = fs::read_to_string(file).unwrap();
        if module.is_empty() || module.iter().any(|part| part == "tests") {
            continue;
        }
        out.extend(breaches(&module, &text, &all).iter().map(|b| format!("src/{}: {b}", relative.display())));
    }
    assert!(out.is_empty(), "\n{}", out.join("\n"));
}

#[test]
fn a_face_is_not_passed_by() {
    let source = root().join("src");
    let mut out = Vec::new();
    for file in files(&source).iter().filter(|f| f.extension().is_some_and(|e| e == "rs")) {
        let relative = file.strip_prefix(&source).unwrap();
        let module = module_of(relative);
        if module.first().is_none_or(|floor| floor != "capabilities") {
            continue;
        }
        for Reference { line, path } in references(&module, &fs::read_to_string(file).unwrap()) {
            let [_, floor, theirs, inner, _, ..] = path.as_slice() else { continue };
            let mine = module.get(1).is_some_and(|m| m == theirs) && module[0] == *floor;
            let folder = source.join(floor).join(theirs);
            let is_file = folder.join(format!("{inner}.rs")).is_file() || folder.join(inner).is_dir();
            // Operations are what a capability offers; its tables, pages and followers are its own.
            let offered = inner == "ops";
            if path[0] == "crate" && floor == "capabilities" && !mine && is_file && !offered {
                out.push(format!("src/{} line {line}: `{}`", relative.display(), path.join("::")));
            }
        }
    }
    assert!(out.is_empty(), "inner files of a capability are named:\n{}", out.join("\n"));
}

#[test]
fn every_capability_is_a_folder_and_every_folder_a_capability() {
    let folder = root().join("src/capabilities");
    let all = order_of_all(&fs::read_to_string(folder.join("mod.rs")).unwrap());
    let folders: BTreeSet<String> = fs::read_dir(&folder)
        .unwrap()
        .flatten()
        .filter(|e| e.path().is_dir())
        .map(|e| e.file_name().to_string_lossy().into())
        .collect();
    assert_eq!(folders, all.iter().cloned().collect());
}

#[test]
fn pages_load_only_themselves() {
    let mut out = Vec::new();
    for folder in ["templates", "static"] {
        for file in files(&root().join(folder)) {
            let Ok(text) = fs::read_to_string(&file) else { continue };
            let name = file.strip_prefix(root()).unwrap().display().to_string();
            out.extend(page_breaches(&name, &text).iter().map(|b| format!("{name}: {b}")));
        }
    }
    assert!(out.is_empty(), "\n{}", out.join("\n"));
}

#[test]
fn the_top_is_as_drawn() {
    let here: BTreeSet<String> = fs::read_dir(root())
        .unwrap()
        .flatten()
        .map(|e| e.file_name().to_string_lossy().into_owned())
        .filter(|name| !name.starts_with('.') && name != "muster-data")
        .collect();
    let extra: Vec<_> = here.iter().filter(|name| !TOP.contains(&name.as_str())).collect();
    assert!(extra.is_empty(), "not drawn: {extra:?}");
}

#[test]
fn tests_are_neither_ignored_nor_unfinished() {
    for file in files(&root().join("tests")).iter().filter(|f| f.extension().is_some_and(|e| e == "rs")) {
        let text = fs::read_to_string(file).unwrap();
        assert!(!code_only(&text).contains("#[ignore"), "{}", file.display());
        assert!(text.lines().count() <= LINES_MAX, "{} is too long", file.display());
    }
}

fn module(path: &str) -> Vec<String> {
    path.split("::").map(str::to_owned).collect()
}

#[test]
fn breaches_are_caught() {
    let all: Vec<String> = ["identity", "settings", "agents", "tasks"].map(str::to_owned).to_vec();
    for (from, source) in [
        ("base::name", "use crate::wire::Up;"),
        ("wire::topic", "use crate::engine::clock::Clock;"),
        ("engine::store", "use crate::engine::broker::Bus;"),
        ("engine::store::inner", "use super::super::series::Series;"),
        ("engine::http", "use crate::wire::Up;"),
        ("engine::clock", "use crate::{base::Id, kit::Ctx};"),
        ("kit::page", "use crate::capabilities::ALL;"),
        ("kit::page", "use actix_web::web;"),
        ("capabilities::agents", "use crate::capabilities::tasks;"),
        ("capabilities::agents::ops", "use crate::capabilities::{identity, tasks::Task};"),
        ("capabilities::agents::ops", "use super::super::tasks::find;"),
        ("capabilities::tasks", "fn f() { crate::surface::rest::go() }"),
        ("capabilities::agents::ops", "use askama::Template;"),
        ("surface::rest", "use crate::capabilities::tasks::Task;"),
        ("server", "use crate::agent::run;"),
        ("agent::spool", "use crate::kit::Ctx;"),
        ("agent::spool", "use crate::engine::{clock::Clock, broker::Bus};"),
        ("cli::serve", "use crate::capabilities::ALL;"),
        ("cli::serve", "use crate::engine::store::Store;"),
        ("main", "use muster::server::Server;"),
        ("capabilities::agents::store", "use redb::Database;"),
        ("agent::session", "let x = rumqttd::Broker::new();"),
        ("cli", "use rusqlite as db;"),
        ("base::id", "#[test]\n#[ignore]\nfn slow() {}"),
        ("base::id", "fn later() { todo!() }"),
        ("kit::chart", "fn f() -> &'static str { \"<p style=\\\"x\\\">\" }"),
        ("base::id", &"\n".repeat(LINES_MAX + 1)),
    ] {
        assert!(!breaches(&module(from), source, &all).is_empty(), "not caught in {from}: {source}");
    }
    for (from, source) in [
        ("base::name", "use super::{Error, Result, limits};"),
        ("engine::broker::gate", "use crate::wire::Topic; use rumqttd::protocol;"),
        ("engine::store", "use crate::engine::{clock::Clock, journal::Journal};"),
        ("engine::jobs", "use crate::engine::store::Store;"),
        ("engine::logs", "use crate::engine::days::Days;"),
        ("capabilities::tasks::ops", "use crate::capabilities::agents::{self, Agent};"),
        ("capabilities::tasks::ops", "use super::super::agents;"),
        ("capabilities::agents::pages", "use askama::Template;"),
        ("capabilities::agents", "// crate::capabilities::tasks\nconst A: &str = \"crate::surface::x\";"),
        ("capabilities::agents", "#[cfg(test)]\nmod tests { use crate::capabilities::tasks; }"),
        ("surface::gate", "use crate::capabilities::{ALL, agents, identity};"),
        ("agent::session", "use crate::engine::outbound; let c = '\"'; let s = r#\"redb::x\"#;"),
        ("cli::serve", "use crate::{base::Error, server::Server};"),
        ("engine::crypto", "fn f<'a>(x: &'a str) {} use rustls::Error;"),
    ] {
        assert_eq!(breaches(&module(from), source, &all), Vec::<String>::new(), "{from}: {source}");
    }
}

#[test]
fn breaches_of_pages_are_caught() {
    for text in [
        "<p style=\"color: red\">",
        "<script>go()</script>",
        "<button onclick=\"go()\">",
        "<style>p{}</style>",
        "<img src=\"https://elsewhere.example/x.png\">",
        "<link href=\"//elsewhere.example/x.css\">",
        "<a href=\"javascript:go()\">",
    ] {
        assert!(!page_breaches("x.html", text).is_empty(), "{text}");
    }
    assert!(!page_breaches("x.css", "p { background: url(https://elsewhere.example/x.png) }").is_empty());
    for text in [
        "<p class=\"on\"> on = \"x\"",
        "<script src=\"/static/x.js\" defer></script>",
        "<svg xmlns=\"http://www.w3.org/2000/svg\">",
        "<script type=\"application/json\">{}</script>",
    ] {
        assert_eq!(page_breaches("x.html", text), Vec::<String>::new(), "{text}");
    }
}

#[test]
fn the_order_of_all_is_read() {
    let source = "pub const ALL: &[&dyn Capability] = &[\n &identity::Identity,\n &agents::Agents,\n];";
    assert_eq!(order_of_all(source), ["identity", "agents"]);
}
