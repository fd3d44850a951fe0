use std::os::unix::fs::PermissionsExt as _;
use std::sync::mpsc;

use super::*;

fn answers() -> Answers {
    Answers {
        call: Box::new(|from, id, op, input| match op {
            "echo" => Ok(json!({ "from": from, "input": input, "id": id.len() })),
            "refuse" => Err(Error::conflict("it is `busy`").hint("wait")),
            "break" => Err(Error::internal("a secret of the inside")),
            "panic" => panic!("boom"),
            _ => Err(Error::not_found("operation", op)),
        }),
        stream: Box::new(|_, _, name, input, out| match name {
            "zeroes" => {
                out.begin(&json!({ "bytes": input }))?;
                let block = vec![7; 100_000];
                for _ in 0..input.as_u64().unwrap_or(0) {
                    out.write_all(&block)?;
                }
                Ok(json!("done"))
            }
            "fails" => {
                out.begin(&Value::Null)?;
                out.write_all(b"half")?;
                Err(Error::unavailable("the disk broke"))
            }
            _ => Err(Error::not_found("stream", name)),
        }),
    }
}

fn start(folder: &Path) -> Control {
    Control::start(folder, None, &Clock::system(), answers()).unwrap()
}

fn client(folder: &Path) -> Client {
    Client::connect(folder).unwrap().unwrap()
}

/// What comes back for these bytes.
fn raw(folder: &Path, bytes: &[u8]) -> String {
    let mut stream = UnixStream::connect(folder.join(SOCKET)).unwrap();
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let mut text = String::new();
    let _ = stream.read_to_string(&mut text);
    text
}

#[test]
fn operations_answer_with_values_and_problems() {
    let folder = tempfile::tempdir().unwrap();
    let mut control = start(folder.path());
    let mode = std::fs::metadata(folder.path().join(SOCKET)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let said = client(folder.path()).call("echo", json!({ "a": 1 })).unwrap();
    let uid = rustix::process::geteuid().as_raw();
    assert_eq!(said, json!({ "from": format!("command line, uid {uid}"), "input": { "a": 1 }, "id": 16 }));
    let error = client(folder.path()).call("refuse", Value::Null).unwrap_err();
    assert_eq!(
        (error.kind(), error.message(), error.hint_text()),
        (Kind::Conflict, "it is `busy`", Some("wait"))
    );
    for inside in ["break", "panic"] {
        let error = client(folder.path()).call(inside, Value::Null).unwrap_err();
        assert_eq!(error.message(), "the server failed: internal error");
        assert!(error.hint_text().unwrap().contains("its log"), "{error}");
    }
    control.stop();
    assert!(Client::connect(folder.path()).unwrap().is_none(), "no socket is left behind");
}

#[test]
fn streams_come_whole_or_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let _control = start(folder.path());
    let (mut out, mut heard) = (Vec::new(), 0);
    let last = client(folder.path())
        .stream("zeroes", json!(30), &mut out, &mut |head, bytes| {
            assert_eq!(head, &json!({ "bytes": 30 }));
            heard = bytes;
        })
        .unwrap();
    assert_eq!((last, out.len(), heard), (json!("done"), 3_000_000, 3_000_000));
    assert!(out.iter().all(|byte| *byte == 7));
    let mut out = Vec::new();
    let error = client(folder.path()).stream("fails", Value::Null, &mut out, &mut |_, _| {}).unwrap_err();
    assert_eq!((error.message(), &out[..]), ("the disk broke", &b"half"[..]));
    let error = client(folder.path()).stream("none", Value::Null, &mut out, &mut |_, _| {}).unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound);
}

#[test]
fn garbage_is_refused_and_the_next_is_answered() {
    let folder = tempfile::tempdir().unwrap();
    let _control = start(folder.path());
    let long = vec![b'x'; REQUEST_BYTES_MAX + 5_000];
    for (bytes, expected) in [
        (&b""[..], "ended before its line"),
        (b"GET / HTTP/1.1\r\n\r\n", "not understood"),
        (b"\xff\xfe\x00\n", "not understood"),
        (b"{}\n", "names an `op`"),
        (b"{\"op\":\"echo\",\"stream\":\"zeroes\"}\n", "names an `op`"),
        (b"{\"op\":\"echo\",\"shell\":\"rm\"}\n", "not understood"),
        (b"{\"op\":\"echo\"", "ended before its line"),
        (&long, "longer than 262144 bytes"),
    ] {
        let said = raw(folder.path(), bytes);
        assert!(said.contains(expected) && said.contains("problem"), "{expected}: {said}");
    }
    client(folder.path()).call("echo", Value::Null).unwrap();
}

#[test]
fn connections_are_bounded_and_a_stop_ends_them() {
    let folder = tempfile::tempdir().unwrap();
    let mut control = start(folder.path());
    let silent: Vec<UnixStream> =
        (0..CONNECTIONS_MAX).map(|_| UnixStream::connect(folder.path().join(SOCKET)).unwrap()).collect();
    let said = raw(folder.path(), b"{\"op\":\"echo\"}\n");
    assert!(said.contains("too many commands"), "{said}");
    // A client that reads nothing of a long stream does not hold up the stop.
    drop(silent);
    let mut stalled = loop {
        let mut stream = UnixStream::connect(folder.path().join(SOCKET)).unwrap();
        stream.write_all(b"{\"stream\":\"zeroes\",\"input\":100000}\n").unwrap();
        let mut first = [0; 9];
        stream.read_exact(&mut first).unwrap();
        if first.starts_with(b"{\"stream\"") {
            break stream;
        }
    };
    let (send, receive) = mpsc::channel();
    std::thread::spawn(move || {
        control.stop();
        let _ = send.send(());
    });
    receive.recv_timeout(Duration::from_secs(10)).unwrap();
    let mut rest = Vec::new();
    let _ = stalled.read_to_end(&mut rest);
    assert!(rest.len() < 100_000 * 100_000, "the stream was cut");
}

#[test]
fn a_left_over_socket_is_replaced_and_nothing_else_is() {
    let folder = tempfile::tempdir().unwrap();
    drop(UnixListener::bind(folder.path().join(SOCKET)).unwrap());
    assert!(Client::connect(folder.path()).unwrap().is_none(), "nobody listens at a left-over socket");
    let control = start(folder.path());
    client(folder.path()).call("echo", Value::Null).unwrap();
    drop(control);
    std::fs::write(folder.path().join(SOCKET), "mine").unwrap();
    let error = Control::start(folder.path(), None, &Clock::system(), answers()).err().unwrap();
    assert!(error.message().contains("is no socket"), "{error}");
    assert_eq!(std::fs::read(folder.path().join(SOCKET)).unwrap(), b"mine");
}

#[test]
fn a_stop_needs_no_name() {
    let folder = tempfile::tempdir().unwrap();
    let mut control = start(folder.path());
    std::fs::remove_file(folder.path().join(SOCKET)).unwrap();
    let (send, receive) = mpsc::channel();
    std::thread::spawn(move || {
        control.stop();
        let _ = send.send(());
    });
    receive.recv_timeout(Duration::from_secs(10)).unwrap();
}

#[test]
fn a_long_path_is_no_hindrance() {
    let folder = tempfile::tempdir().unwrap();
    let long = folder.path().join("a".repeat(place::PATH_BYTES_MAX)).join("b".repeat(100));
    std::fs::create_dir_all(&long).unwrap();
    let mut control = start(&long);
    client(&long).call("echo", Value::Null).unwrap();
    control.stop();
    assert!(!long.join(SOCKET).exists());
}

#[test]
fn only_root_and_the_servers_user_may_ask() {
    for (peer, own, expected) in
        [(0, 0, true), (0, 998, true), (998, 998, true), (1000, 998, false), (998, 0, false)]
    {
        assert_eq!(admitted(peer, own), expected, "{peer} asks {own}");
    }
}

#[test]
fn a_request_that_drips_is_cut_off() {
    let (mut near, far) = UnixStream::pair().unwrap();
    near.write_all(b"{\"op\":").unwrap();
    let clock = Clock::manual(crate::base::Timestamp::from_milliseconds(0), 1);
    let (send, receive) = mpsc::channel();
    let reading = clock.clone();
    std::thread::spawn(move || {
        let _ = send.send(request(&reading, &far).map(drop));
    });
    // Every drop comes in time for the wait that runs; all together are too slow.
    let error = loop {
        clock.advance(crate::base::Span::from_seconds(1));
        near.write_all(b" ").unwrap();
        if let Ok(result) = receive.recv_timeout(Duration::from_millis(10)) {
            break result.unwrap_err();
        }
    };
    assert!(error.message().contains("took too long"), "{error}");
}

#[test]
fn in_a_folder_of_the_service_it_is_found_from_both_sides() {
    let (data, run) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for left_over in [false, true] {
        if left_over {
            // As a server leaves it that was killed.
            drop(UnixListener::bind(run.path().join(RUNTIME_SOCKET)).unwrap());
            std::os::unix::fs::symlink(run.path().join(RUNTIME_SOCKET), data.path().join(SOCKET)).unwrap();
            assert!(Client::connect(data.path()).unwrap().is_none());
        }
        let mut control = Control::start(data.path(), Some(run.path()), &Clock::system(), answers()).unwrap();
        client(data.path()).call("echo", Value::Null).unwrap();
        let socket = run.path().join(RUNTIME_SOCKET);
        let mode = std::fs::metadata(&socket).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "others may not even connect");
        control.stop();
        assert!(std::fs::symlink_metadata(&socket).is_err(), "no socket is left behind");
        assert!(std::fs::symlink_metadata(data.path().join(SOCKET)).is_err(), "no link is left behind");
    }
}
