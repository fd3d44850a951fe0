//! What leaves the site: entries as lines and CSV, and packs of evidence.

use super::*;

#[test]
fn what_is_picked_out_is_listed_and_leaves_as_lines_and_as_csv() {
    let (site, _folder, _) = logged(6);
    site.made_of(crate::capabilities::ALL);
    let ctx = owner(&site);
    let only = |event: &str| Narrowed { event: event.into(), ..Narrowed::default() };
    let list_of =
        |narrowed| list(&ctx, AuditAsked { narrowed, after: None, limit: None }).unwrap().items.len();
    assert_eq!(list_of(only("identity.link_made")), 5);
    assert_eq!(list_of(only("identity.*")), 6);
    assert_eq!(list_of(Narrowed { category: "trust".into(), ..Narrowed::default() }), 1);
    assert_eq!(list_of(Narrowed { weight: "alarm".into(), ..Narrowed::default() }), 0);
    assert_eq!(list_of(Narrowed { since: "2999-01-01".into(), ..Narrowed::default() }), 0);
    let picked = |format: &str| {
        let asked = ExportAsked {
            format: format.into(),
            narrowed: only("identity.set_up"),
            ..ExportAsked::default()
        };
        String::from_utf8(exported(&ctx, asked).unwrap()).unwrap()
    };
    let (lines, csv) = (picked("jsonl"), picked("csv"));
    assert_eq!((lines.lines().count(), csv.lines().count()), (1, 2), "{lines} {csv}");
    assert!(lines.contains("identity.set_up") && csv.contains("\"identity.set_up\""), "{lines} {csv}");
    assert!(prove(lines.as_bytes(), None).is_err(), "what is picked out proves nothing by itself");
    let told = exports_told(&site);
    assert!(told.iter().all(|detail| detail["only"]["event"] == "identity.set_up") && told.len() == 2);

    let mut request = PageRequest::default();
    for (name, value) in [("event", "identity.set_up"), ("since", "2020-01-01")] {
        request.query.insert(name.into(), value.into());
    }
    let Reply::Html(200, page) = pages::list(&ctx, &request).unwrap() else { panic!("not a page") };
    assert!(
        page.contains("name=\"event\" value=\"identity.set_up\"") && !page.contains("identity.link_made</a>")
    );
}

/// The details of the exports that were told since the start.
fn exports_told(site: &Site) -> Vec<serde_json::Value> {
    let changes = site.store.changes(0, 10_000).unwrap();
    let events = changes.into_iter().flat_map(|change| change.events);
    events.filter(|event| event.name == "audit.exported").map(|event| event.detail).collect()
}

#[test]
fn what_cannot_be_written_down_leaves_only_where_the_site_chose_so() {
    use crate::kit::Unwritable;
    for unwritable in [Unwritable::Closed, Unwritable::Open] {
        let (mut site, _folder, _) = logged(3);
        site.settings.unwritable = unwritable;
        let ctx = owner(&site);
        site.store.break_disk();
        let outcome = exported(&ctx, ExportAsked::default());
        match unwritable {
            Unwritable::Closed => {
                let error = outcome.unwrap_err();
                assert_eq!(error.kind(), Kind::Unavailable);
                assert!(error.message().contains("the audit log cannot be written"), "{}", error.message());
                assert!(error.hint_text().is_some());
            }
            // Who may read goes on reading, and the server's log says that the entry is lacking.
            Unwritable::Open => assert_eq!(prove(&outcome.unwrap()[..], None).unwrap().range, (1, 3)),
        }
        let error = login_link(&site).unwrap_err();
        assert_eq!(error.kind(), Kind::Unavailable, "what changes something is refused in any case");
    }
}

#[test]
fn a_pack_of_evidence_proves_itself_and_nothing_in_it_can_be_changed() {
    use std::io::{Cursor, Read as _};

    use crate::engine::archive::ZipReader;

    let (site, _folder, after) = logged(5);
    let ctx = owner(&site);
    checkpoint(&ctx, Nothing {}).unwrap();
    follow_all(&site, after);
    let asked = ExportAsked { format: "pack".into(), ..ExportAsked::default() };
    let pack = exported(&ctx, asked.clone()).unwrap();
    assert!(is_pack(&pack) && !is_pack(b"{\"line\""));
    let proved = prove_pack(Cursor::new(&pack[..]), None).unwrap();
    // The last entry comes after the last checkpoint: the pack's own signature vouches for it.
    assert_eq!((proved.range, proved.checkpoints, proved.signed_up_to), ((1, 6), 1, 6));
    assert!(prove_pack(Cursor::new(&pack[..]), Some(&"0".repeat(64))).is_err());
    let files = |pack: &[u8]| -> Option<Vec<(String, Vec<u8>)>> {
        let mut zip = ZipReader::open(Cursor::new(pack.to_vec())).ok()?;
        let names: Vec<String> = zip.names().map(str::to_owned).collect();
        let mut all = Vec::new();
        for name in names {
            let mut bytes = Vec::new();
            zip.file(&name).ok()??.read_to_end(&mut bytes).ok()?;
            all.push((name, bytes));
        }
        Some(all)
    };
    let good = files(&pack).unwrap();
    let names: Vec<&str> = good.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        names,
        [
            "README.txt",
            "verify.html",
            "public-key.txt",
            "log.jsonl",
            "summary.txt",
            "manifest.json",
            "manifest.sig"
        ]
    );
    let summary = String::from_utf8(good[4].1.clone()).unwrap();
    assert!(summary.contains("1 to 6") && summary.contains("4  identity.link_made"), "{summary}");
    for at in (0..pack.len()).step_by(37) {
        let mut bad = pack.clone();
        bad[at] ^= 1;
        if prove_pack(Cursor::new(&bad[..]), Some(&proved.key)).is_ok() {
            assert_eq!(files(&bad).unwrap(), good, "byte {at} of the content was changed unseen");
        }
    }
    let narrowed = Narrowed { event: "x.y".into(), ..Narrowed::default() };
    assert_eq!(exported(&ctx, ExportAsked { narrowed, ..asked }).unwrap_err().kind(), Kind::Invalid);
}
