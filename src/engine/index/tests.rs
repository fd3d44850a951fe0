//! What the index promises, tried.

use std::path::Path;

use super::*;
use crate::base::{Kind, Span};

const ONE: TenantId = TenantId::from_bits(1);
const TWO: TenantId = TenantId::from_bits(2);

fn clock() -> Clock {
    Clock::manual(Timestamp::from_milliseconds(1_790_000_000_000), 1)
}

fn document(tenant: TenantId, id: u64, title: &str, body: &str) -> Document {
    let at = Timestamp::from_milliseconds(1_790_000_000_000 + id as i64);
    Document { kind: "audit", id: id.to_string(), title: title.into(), body: body.into(), tenant, at }
}

fn filled(folder: &Path) -> Index {
    let index = Index::new(folder, &clock());
    let documents = [
        document(ONE, 1, "agents.retired", "Inès Moreau retired the agent press-07 in Lyon"),
        document(ONE, 2, "agents.renamed", "press-07 is called retired press now; press press"),
        document(ONE, 3, "tasks.created", "uptime on press-08 <b>bold</b>"),
        document(TWO, 4, "agents.retired", "somebody else's press-07"),
    ];
    index.put("audit", &documents, "at 4").unwrap();
    index.commit().unwrap();
    index
}

fn ids(index: &Index, words: &str, order: Order) -> Vec<String> {
    let asked = Asked { words, order, tenant: Some(ONE), limit: 10, ..Asked::default() };
    index.search(&asked).unwrap().items.into_iter().map(|hit| hit.id).collect()
}

#[test]
fn words_and_phrases_find_documents_of_their_tenant() {
    let folder = tempfile::tempdir().unwrap();
    let index = filled(&folder.path().join("index"));
    for (words, newest) in [
        ("press", &["3", "2", "1"][..]),
        ("INES moreau", &["1"]),
        ("press-07", &["2", "1"]),
        ("\"agent press\"", &["1"]),
        ("\"press agent\"", &[]),
        ("agents.retired", &["1"]),
        ("lyon uptime", &[]),
        ("\"open end", &[]),
    ] {
        assert_eq!(ids(&index, words, Order::Newest), newest, "{words}");
    }
    // A title counts more than the body.
    assert_eq!(ids(&index, "retired", Order::Best), ["1", "2"]);
    let mut asked =
        Asked { words: "press", tenant: Some(TWO), kinds: &["audit"], limit: 1, ..Asked::default() };
    let hits = index.search(&asked).unwrap();
    assert_eq!((hits.total, hits.items[0].id.as_str(), hits.items[0].kind.as_str()), (1, "4", "audit"));
    asked.kinds = &["agents"];
    assert_eq!(index.search(&asked).unwrap().total, 0);
    let page = Asked { words: "press", tenant: Some(ONE), limit: 1, offset: 1, ..Asked::default() };
    let page = index.search(&page).unwrap();
    assert_eq!((page.total, page.items[0].id.as_str()), (3, "2"));
}

#[test]
fn what_was_found_is_marked_and_everything_escaped() {
    let folder = tempfile::tempdir().unwrap();
    let index = filled(folder.path());
    let hits = index.search(&Asked { words: "uptime", limit: 1, ..Asked::default() }).unwrap();
    let text = "uptime on press-08 <script>\"x\"</script>";
    let marked = hits.marker.mark(text);
    assert!(marked.starts_with("<mark>uptime</mark> on press-08 &lt;script&gt;"), "{marked}");
    assert!(!hits.marker.mark("<i>nothing of it</i> &").contains('<'));
}

#[test]
fn a_later_document_replaces_the_one_before() {
    let folder = tempfile::tempdir().unwrap();
    let index = filled(folder.path());
    index.put("audit", &[document(ONE, 3, "tasks.created", "something else")], "at 5").unwrap();
    index.commit().unwrap();
    assert_eq!((index.documents(), ids(&index, "uptime", Order::Best).len()), (4, 0));
    assert_eq!(ids(&index, "something", Order::Best), ["3"]);
}

#[test]
fn the_cursor_is_of_the_same_instant_as_the_documents() {
    let folder = tempfile::tempdir().unwrap();
    let index = filled(folder.path());
    index.put("audit", &[document(ONE, 9, "lost", "lost")], "at 9").unwrap();
    assert_eq!(index.cursor("audit").unwrap().unwrap(), "at 9");
    drop(index);
    let clock = clock();
    let index = Index::new(folder.path(), &clock);
    assert!(!index.is_open());
    assert_eq!(
        (index.cursor("audit").unwrap().unwrap(), index.cursor("other").unwrap()),
        ("at 4".into(), None)
    );
    assert_eq!(index.documents(), 4);
    // Once it has waited, it is committed with the next look.
    index.put("audit", &[document(ONE, 9, "lost", "lost")], "at 9").unwrap();
    assert_eq!(index.documents(), 4);
    clock.advance(Span::from_milliseconds(COMMIT_MILLISECONDS));
    index.commit_due().unwrap();
    assert_eq!(index.documents(), 5);
}

#[test]
fn what_is_damaged_is_made_again() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path().join("index");
    let damages: [fn(&Path); 5] = [
        |at| std::fs::write(at.join("meta.json"), b"{").unwrap(),
        |at| std::fs::remove_file(at.join("meta.json")).unwrap(),
        |at| {
            let other = r#"{"form":99,"cursors":{}}"#;
            let text = std::fs::read_to_string(at.join("meta.json")).unwrap();
            let mut meta: serde_json::Value = serde_json::from_str(&text).unwrap();
            meta["payload"] = other.into();
            std::fs::write(at.join("meta.json"), meta.to_string()).unwrap();
        },
        |at| {
            for file in std::fs::read_dir(at).unwrap().flatten() {
                if file.path().extension().is_some_and(|e| e == "idx") {
                    std::fs::remove_file(file.path()).unwrap();
                }
            }
        },
        |at| {
            for file in std::fs::read_dir(at).unwrap().flatten() {
                if file.path().extension().is_some_and(|e| e == "pos") {
                    let mut bytes = std::fs::read(file.path()).unwrap();
                    bytes[0] ^= 1;
                    std::fs::write(file.path(), bytes).unwrap();
                }
            }
        },
    ];
    for (n, damage) in damages.iter().enumerate() {
        drop(filled(&at));
        damage(&at);
        let index = Index::new(&at, &clock());
        assert_eq!(index.cursor("audit").unwrap(), None, "damage {n}");
        assert_eq!(index.documents(), 0, "damage {n}");
    }
    let index = filled(&at);
    index.clear();
    assert!(!index.is_open() && !at.exists());
    assert_eq!(
        index.search(&Asked { words: "x", ..Asked::default() }).err().unwrap().kind(),
        Kind::Unavailable
    );
    assert_eq!(index.cursor("audit").unwrap(), None);
}

#[test]
fn hostile_searches_are_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let index = filled(folder.path());
    let search = |words: &str, limit, offset| {
        index.search(&Asked { words, limit, offset, tenant: Some(ONE), ..Asked::default() })
    };
    assert!(search(&"a ".repeat(WORDS_BYTES_MAX), 10, 0).is_err());
    assert!(search(&"a ".repeat(WORDS_MAX + 1), 10, 0).is_err());
    assert!(search(&"a ".repeat(WORDS_MAX), usize::MAX, usize::MAX).is_ok());
    for words in ["", "   ", "\"\"", "*", "(((", "-", "\u{0}", "…"] {
        assert_eq!(search(words, 10, 0).err().unwrap().kind(), Kind::Invalid, "{words:?}");
    }
    for words in ["press*", "title:press", "press OR", "[a TO b]", "press^99", "/re(gex)*/", "\"press\"~9 \\"]
    {
        assert!(search(words, 10, 0).is_ok(), "{words}");
    }
}
