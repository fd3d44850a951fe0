use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::super::contract;
use super::*;

/// A store that answers each request by `answer`, from its first line. Gives the port and how often it was asked.
fn server(answer: impl Fn(&str, &mut dyn Write) + Send + 'static) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let (mut first, mut length) = (String::new(), 0);
            reader.read_line(&mut first).unwrap();
            loop {
                let mut line = String::new();
                if reader.read_line(&mut line).unwrap_or(0) < 3 {
                    break;
                }
                if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
            }
            let _ = std::io::copy(&mut reader.take(length), &mut std::io::sink());
            count.fetch_add(1, Ordering::SeqCst);
            answer(first.trim(), &mut stream);
        }
    });
    (port, asked)
}

fn say(out: &mut dyn Write, status: &str, headers: &str, body: &str) {
    let length = body.len();
    let _ = write!(
        out,
        "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
    );
}

/// A page of a listing, with another one behind it.
fn page(keys: usize, next: &str) -> String {
    let mut text = "<?xml version=\"1.0\"?><ListBucketResult><Name>b</Name><Prefix></Prefix>".to_owned();
    text += &format!("<KeyCount>{keys}</KeyCount><MaxKeys>1000</MaxKeys><IsTruncated>true</IsTruncated>");
    for n in 0..keys {
        text += &format!(
            "<Contents><Key>f{n}</Key><LastModified>2026-11-25T14:00:00.000Z</LastModified>\
             <ETag>&quot;e&quot;</ETag><Size>1</Size></Contents>"
        );
    }
    text + &format!("<NextContinuationToken>{next}</NextContinuationToken></ListBucketResult>")
}

fn settings(port: u16) -> S3Settings {
    S3Settings {
        endpoint: format!("http://127.0.0.1:{port}"),
        bucket: "b".into(),
        region: region(),
        prefix: String::new(),
        path_style: true,
        access_key: "AK".into(),
        authority: None,
    }
}

fn target(port: u16) -> S3 {
    let clock = Clock::system();
    let egress = Egress::new(&clock);
    egress.allow("127.0.0.1", port, "test", "test", clock.now()).unwrap();
    S3::new(&settings(port), Some(Secret::new("secret".into())), &egress, &clock).unwrap()
}

#[test]
fn a_redirect_is_not_followed() {
    let (elsewhere, asked) = server(|_, out| say(out, "200 OK", "", ""));
    for status in ["301 Moved Permanently", "307 Temporary Redirect", "308 Permanent Redirect"] {
        let location = format!("Location: http://127.0.0.1:{elsewhere}/b/a\r\n");
        let (port, _) = server(move |_, out| say(out, status, &location, ""));
        let target = target(port);
        let file = contract::local(10);
        assert!(target.put("a", file.path(), &Pace::new(&target.clock)).is_err(), "{status}");
        assert!(target.get("a", 0, &mut Vec::new()).is_err());
        assert!(target.list().is_err());
    }
    assert_eq!(asked.load(Ordering::SeqCst), 0);
}

#[test]
fn a_listing_without_end_is_cut_off() {
    // Ever more names.
    let (port, _) = server(|_, out| say(out, "200 OK", "", &page(1_000, "t")));
    assert_eq!(target(port).list().unwrap_err().kind(), Kind::TooMany);
    // One answer that never ends.
    let (port, _) = server(|_, out| {
        let _ = write!(out, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n<ListBucketResult>");
        while out.write_all(&[b' '; 65_536]).is_ok() {}
    });
    let error = target(port).list().unwrap_err();
    assert!(error.message().contains("an answer of more than"), "{error}");
    // The same for words that come with a failure.
    let (port, _) = server(|_, out| {
        let _ = write!(out, "HTTP/1.1 403 Forbidden\r\nConnection: close\r\n\r\n");
        while out.write_all(&[b' '; 65_536]).is_ok() {}
    });
    assert!(target(port).get("a", 0, &mut Vec::new()).is_err());
}

#[test]
fn empty_pages_without_end_are_cut_off() {
    let (port, asked) = server(|_, out| say(out, "200 OK", "", &page(0, "t")));
    let error = target(port).list().unwrap_err();
    assert!(error.message().contains("requests"), "{error}");
    assert_eq!(asked.load(Ordering::SeqCst), http::LIST_REQUESTS_MAX as usize);
}

#[test]
fn wrong_lengths_are_refused() {
    let told = "Last-Modified: Wed, 25 Nov 2026 14:00:00 GMT\r\nETag: \"e\"\r\n";
    for (range, body) in [
        ("bytes 0-9/10", "12345"),
        ("bytes 1-9/10", "123456789"),
        ("bytes 0-4/10", "12345"),
        ("", "1234567890"),
    ] {
        let (port, _) = server(move |line, out| {
            if line.starts_with("HEAD") {
                let _ =
                    write!(out, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 10\r\n{told}\r\n");
                return;
            }
            let (status, range) = match range {
                "" => ("200 OK", String::new()),
                range => ("206 Partial Content", format!("Content-Range: {range}\r\n")),
            };
            say(out, status, &format!("{told}{range}"), body);
        });
        let mut out = Vec::new();
        assert!(target(port).get("a", 0, &mut out).is_err(), "{range} {body}");
        assert!(out.len() <= 10);
    }
}

#[test]
fn a_store_that_takes_a_file_and_does_not_have_it_is_found_out() {
    let (port, _) = server(|line, out| match line.split(' ').next() {
        Some("PUT") => say(out, "200 OK", "ETag: \"e\"\r\n", ""),
        _ => say(out, "404 Not Found", "", ""),
    });
    let target = target(port);
    let file = contract::local(10);
    let error = target.put("a", file.path(), &Pace::new(&target.clock)).unwrap_err();
    assert!(error.message().contains("does not have it"), "{error}");
}

#[test]
fn an_upload_that_the_store_forgot_is_begun_anew() {
    let file = contract::local(20 * 1024 * 1024);
    let bytes = std::fs::read(file.path()).unwrap();
    let note = serde_json::json!({
        "upload": "gone",
        "blake3": blake3::hash(&bytes).to_hex().as_str(),
        "bytes": bytes.len(),
        "part_bytes": upload::PART_BYTES,
        "parts": ["e"],
    })
    .to_string();
    // The first is how the store says it when a part is sent, the second when the parts are put together.
    for forgotten in ["PUT", "POST"] {
        let (note, whole) = (note.clone(), std::cell::Cell::new(false));
        let (port, _) = server(move |line, out| {
            let told = "Last-Modified: Wed, 25 Nov 2026 14:00:00 GMT\r\nETag: \"e\"\r\n";
            let mut words = line.split(' ');
            let (method, path) = (words.next().unwrap(), words.next().unwrap());
            let is_note = path.starts_with("/b/a.part");
            match method {
                "PUT" | "POST" if method == forgotten && path.contains("uploadId=gone") => say(
                    out,
                    "404 Not Found",
                    "",
                    "<Error><Code>NoSuchUpload</Code><Message>It is not there.</Message></Error>",
                ),
                "HEAD" if is_note || whole.get() => {
                    let length = if is_note { note.len() } else { 20 * 1024 * 1024 };
                    let _ = write!(
                        out,
                        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {length}\r\n{told}\r\n"
                    );
                }
                "GET" if is_note => {
                    let range = format!("{told}Content-Range: bytes 0-{}/{}\r\n", note.len() - 1, note.len());
                    say(out, "206 Partial Content", &range, &note);
                }
                "PUT" => say(out, "200 OK", told, ""),
                "DELETE" => say(out, "204 No Content", "", ""),
                "POST" if path.contains("uploadId=new") => {
                    whole.set(true);
                    let done =
                        "<CompleteMultipartUploadResult><ETag>e</ETag></CompleteMultipartUploadResult>";
                    say(out, "200 OK", "", done);
                }
                "POST" => {
                    let begun = "<InitiateMultipartUploadResult><UploadId>new</UploadId></InitiateMultipartUploadResult>";
                    say(out, "200 OK", "", begun);
                }
                _ => say(out, "404 Not Found", "", ""),
            }
        });
        let target = target(port);
        let pace = Pace::new(&target.clock);
        let put = target.put("a", file.path(), &pace).unwrap();
        assert_eq!(put, Put { bytes: bytes.len() as u64, resumed: 0 }, "{forgotten}");
        assert_eq!(pace.done.load(Ordering::Relaxed), put.bytes);
    }
}

#[test]
fn settings_are_checked() {
    let clock = Clock::system();
    let good = settings(9_000);
    let open = |settings: &S3Settings, key: &str| {
        S3::new(settings, Some(Secret::new(key.to_owned())), &Egress::new(&clock), &clock)
    };
    assert_eq!(open(&good, "k").unwrap().describe(), "S3 store `http://127.0.0.1:9000/b`");
    assert_eq!(good.destination().unwrap(), ("127.0.0.1".into(), 9_000));
    let host = S3Settings { path_style: false, endpoint: "http://store.lan".into(), ..good.clone() };
    assert_eq!(host.destination().unwrap(), ("b.store.lan".into(), 80));
    let bad = [
        S3Settings { endpoint: "store.lan".into(), ..good.clone() },
        S3Settings { endpoint: "ftp://store.lan".into(), ..good.clone() },
        S3Settings { endpoint: "https://store.lan".into(), ..good.clone() },
        S3Settings { endpoint: "http://store.lan/x".into(), ..good.clone() },
        S3Settings { endpoint: "http://a:b@store.lan".into(), ..good.clone() },
        S3Settings { endpoint: "http://store.lan?x".into(), ..good.clone() },
        S3Settings { bucket: "a/b".into(), ..good.clone() },
        S3Settings { bucket: String::new(), ..good.clone() },
        S3Settings { region: "x".repeat(WORD_BYTES_MAX + 1), ..good.clone() },
        S3Settings { prefix: "/a".into(), ..good.clone() },
        S3Settings { prefix: "a/../b".into(), ..good.clone() },
        S3Settings { prefix: "a/".repeat(PREFIX_BYTES_MAX / 2) + "a", ..good.clone() },
        S3Settings { access_key: "a b".into(), ..good.clone() },
        S3Settings { authority: Some("x".into()), endpoint: "https://a".into(), ..good.clone() },
        S3Settings { authority: Some("x".repeat(AUTHORITY_BYTES_MAX + 1)), ..good.clone() },
        S3Settings {
            authority: Some("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----".into()),
            endpoint: "https://a".into(),
            ..good.clone()
        },
    ];
    for settings in bad {
        assert!(open(&settings, "k").is_err(), "{settings:?}");
    }
    for key in ["", "a\nb", &"x".repeat(KEY_BYTES_MAX + 1)] {
        assert!(open(&good, key).is_err());
    }
    assert!(S3::new(&good, None, &Egress::new(&clock), &clock).is_err());
    assert_eq!(open(&good, "k").unwrap().list().unwrap_err().kind(), Kind::Forbidden, "not on the list");
}
