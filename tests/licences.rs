//! Every crate that goes into the program has a licence that may, and none is a release with a known defect.
//! Works without a network: it reads what the lock file has already fetched.

use std::process::Command;

/// Licences whose terms this program meets.
const ALLOWED: [&str; 14] = [
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Crates and the releases of them that must not be in the lock file, with the reason.
const REFUSED: [(&str, &str, &str); 5] = [
    ("h2", "0.3.", "RUSTSEC-2026-0258: unbounded empty DATA frames, and no fix in this line"),
    ("rustls-webpki", "0.102.", "RUSTSEC-2026-0049, -0098, -0099, -0104"),
    ("rustls-pemfile", "", "RUSTSEC-2025-0134: unmaintained"),
    ("openssl-sys", "", "the program links no C library for TLS"),
    ("native-tls", "", "the program links no C library for TLS"),
];

/// Whether an SPDX expression can be met with the allowed licences. The old `/` stands for `OR`.
fn may(expression: &str) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut at = 0;
    either(&words, &mut at) && at == words.len()
}

fn either(words: &[&str], at: &mut usize) -> bool {
    let mut met = both(words, at);
    while words.get(*at) == Some(&"OR") {
        *at += 1;
        met |= both(words, at);
    }
    met
}

fn both(words: &[&str], at: &mut usize) -> bool {
    let mut met = one(words, at);
    while words.get(*at) == Some(&"AND") {
        *at += 1;
        met &= one(words, at);
    }
    met
}

fn one(words: &[&str], at: &mut usize) -> bool {
    let Some(word) = words.get(*at) else { return false };
    *at += 1;
    if *word == "(" {
        let met = either(words, at);
        *at += 1;
        return met;
    }
    let mut name = (*word).to_owned();
    if words.get(*at) == Some(&"WITH") {
        name = format!("{name} WITH {}", words.get(*at + 1).unwrap_or(&""));
        *at += 2;
    }
    ALLOWED.contains(&name.as_str())
}

#[test]
fn every_crate_may_be_used() {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--offline", "--locked"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    assert!(packages.len() > 50);
    let wrong: Vec<String> = packages
        .iter()
        .filter(|package| !package["license"].as_str().is_some_and(may))
        .map(|package| format!("{} {}: {}", package["name"], package["version"], package["license"]))
        .collect();
    assert!(wrong.is_empty(), "licences that are not allowed:\n{}", wrong.join("\n"));
}

#[test]
fn no_release_with_a_known_defect_is_locked() {
    let lock = include_str!("../Cargo.lock");
    for (name, release, why) in REFUSED {
        let found = lock.contains(&format!("name = \"{name}\"\nversion = \"{release}"));
        assert!(!found, "`{name} {release}` is locked: {why}");
    }
}

#[test]
fn everything_comes_from_the_registry_with_a_checksum() {
    for package in include_str!("../Cargo.lock").split("[[package]]").skip(1) {
        let ours = package.contains("name = \"muster\"\n");
        assert!(ours || package.contains("checksum = "), "no checksum: {package}");
        assert!(!package.contains("git+"), "not a release: {package}");
    }
}

#[test]
fn expressions_are_read() {
    for expression in [
        "MIT",
        "MIT/Apache-2.0",
        "GPL-3.0 OR MIT",
        "(MIT OR GPL-2.0) AND Unicode-3.0",
        "Apache-2.0 WITH LLVM-exception",
    ] {
        assert!(may(expression), "{expression}");
    }
    for expression in ["", "GPL-3.0", "MIT AND GPL-3.0", "(MIT OR ISC) AND SSPL-1.0", "GPL-2.0 WITH x"] {
        assert!(!may(expression), "{expression}");
    }
}
