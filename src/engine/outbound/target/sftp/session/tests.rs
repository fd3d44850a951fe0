use std::sync::atomic::Ordering;

use tokio::io::DuplexStream;

use super::super::super::contract;
use super::super::packet::how;
use super::*;
use crate::engine::clock::Clock;

/// A server that answers each request by `answer`, with the request's kind and number.
fn with<T>(
    answer: impl Fn(u8, u32) -> Vec<Vec<u8>> + Send + 'static,
    work: impl AsyncFnOnce(&mut Session) -> Result<T>,
) -> Result<T> {
    program::blocking(async {
        let (ours, theirs) = tokio::io::duplex(1024 * 1024);
        tokio::spawn(serve(theirs, answer));
        let (output, input) = tokio::io::split(ours);
        let mut session =
            Session::over(Box::new(input), Box::new(output), Arc::default(), None, "there").await?;
        work(&mut session).await
    })
}

async fn serve(mut stream: DuplexStream, answer: impl Fn(u8, u32) -> Vec<Vec<u8>>) {
    let mut head = [0; 4];
    while stream.read_exact(&mut head).await.is_ok() {
        let mut body = vec![0; packet::length(head).unwrap()];
        stream.read_exact(&mut body).await.unwrap();
        let number = u32::from_be_bytes(body[1..5].try_into().unwrap());
        for packet in answer(body[0], number) {
            if stream.write_all(&packet).await.is_err() {
                return;
            }
        }
    }
}

fn version() -> Vec<u8> {
    Request::new(2, 3).text(SYNC).text("1").done()
}

fn handle(number: u32) -> Vec<u8> {
    Request::new(102, number).text("h").done()
}

fn data(number: u32, bytes: usize) -> Vec<u8> {
    Request::new(103, number).text(vec![7; bytes]).done()
}

fn ok(number: u32) -> Vec<u8> {
    Request::new(101, number).number(0).text("").text("").done()
}

fn names(number: u32, count: u32) -> Vec<u8> {
    let mut packet = Request::new(104, number).number(count);
    for n in 0..count {
        packet = packet.text(format!("f{n}")).text("").attributes(Some(1));
    }
    packet.done()
}

#[test]
fn a_listing_without_end_is_cut_off() {
    for entries in [0, 1_000] {
        let error = with(
            move |kind, number| match kind {
                packet::INIT => vec![version()],
                packet::OPENDIR => vec![handle(number)],
                _ => vec![names(number, entries)],
            },
            async |session| session.list(".").await,
        )
        .unwrap_err();
        assert_eq!(error.kind(), Kind::TooMany, "{error}");
    }
}

#[test]
fn wrong_lengths_are_refused() {
    let read = |answer: fn(u32) -> Vec<u8>| {
        with(
            move |kind, number| match kind {
                packet::INIT => vec![version()],
                packet::OPEN => vec![handle(number)],
                _ => vec![answer(number)],
            },
            async |session| {
                let handle = session.open("a", how::READ).await?;
                let mut out = Vec::new();
                session.give(&handle, 0, 100, &mut out).await.map(|bytes| (bytes, out.len()))
            },
        )
    };
    assert_eq!(read(|n| data(n, 100)).unwrap(), (100, 100));
    for answer in
        [|n| data(n, 101), |n| data(n, 0), |n| ok(n), |n| data(n + 1, 100), |_| b"Welcome to".to_vec()]
    {
        assert!(read(answer).is_err());
    }
    // The end comes before the length that was told.
    assert!(read(|n| Request::new(101, n).number(1).done()).is_err());
}

#[test]
fn short_answers_and_another_order_are_fine() {
    let bytes = with(
        |kind, number| match kind {
            packet::INIT => vec![version()],
            packet::OPEN => vec![handle(number)],
            // Three are asked for at once, each with 32 KiB; answered in pairs the wrong way round.
            packet::READ if number == 2 => vec![],
            packet::READ if number == 3 => vec![data(3, PIECE_BYTES), data(2, 10)],
            packet::READ if number == 4 => vec![data(4, 1)],
            _ => vec![data(number, PIECE_BYTES - 10)],
        },
        async |session| {
            let handle = session.open("a", how::READ).await?;
            session.give(&handle, 0, 2 * PIECE_BYTES as u64 + 1, &mut Vec::new()).await
        },
    );
    assert_eq!(bytes.unwrap(), 2 * PIECE_BYTES as u64 + 1);
}

#[test]
fn what_is_no_server_is_seen_at_once() {
    for greeting in [b"Welcome to the machine\n".to_vec(), Request::new(2, 2).done(), ok(0), vec![0, 0, 0, 0]]
    {
        let error = with(move |_, _| vec![greeting.clone()], async |_| Ok(())).unwrap_err();
        assert_eq!(error.kind(), Kind::Unavailable, "{error}");
    }
}

#[test]
fn a_full_disk_on_the_way_is_an_error_that_names_the_place() {
    let file = contract::local(100_000);
    let source = Source::open(file.path()).unwrap();
    let error = with(
        |kind, number| match kind {
            packet::INIT => vec![version()],
            packet::OPEN => vec![handle(number)],
            _ => vec![Request::new(101, number).number(4).text("No space left\x1b[0m").done()],
        },
        async |session| {
            let handle = session.open("a", how::WRITE).await?;
            let pace = Pace::new(&Clock::system());
            let written = session.write_file(&handle, 0, &source, &pace).await;
            assert!(pace.done.load(Ordering::Relaxed) <= 100_000);
            written
        },
    )
    .unwrap_err();
    assert!(error.message().contains("`there` failed: No space left"), "{error}");
    assert!(!error.message().contains('\x1b'));
}

#[test]
fn words_of_ssh_become_words_for_people() {
    for (said, kind, part) in [
        ("Host key verification failed.", Kind::Forbidden, "another host key"),
        ("backup@a: Permission denied (publickey).", Kind::Forbidden, "key in"),
        ("subsystem request failed on channel 0", Kind::Unavailable, "no SFTP"),
        ("ssh: connect to host a port 22: Connection refused", Kind::Unavailable, "not reached"),
        ("", Kind::Unavailable, "ended"),
    ] {
        let error = why("a", said);
        assert_eq!(error.kind(), kind);
        assert!(error.message().contains(part), "{error}");
    }
}
