//! Files that leave while they are made: one part is in memory, and the next is asked for when it has gone.

use std::io;

use actix_web::http::header::{self, ContentDisposition, DispositionParam, DispositionType};
use actix_web::web::Bytes;
use actix_web::{HttpResponse, web};
use futures_util::stream;

use crate::base::{Error, Result};
use crate::kit::{Download, NextPart};

/// Sends the file.
pub(super) fn send(file: Download) -> HttpResponse {
    let disposition = ContentDisposition {
        disposition: DispositionType::Attachment,
        parameters: vec![DispositionParam::Filename(file.name)],
    };
    let parts = stream::try_unfold(file.next, |next| async move {
        let made = web::block(move || part(next)).await;
        made.unwrap_or_else(|_| Err(Error::internal("the file's maker panicked"))).map_err(|error| {
            tracing::warn!("a download ended before its end: {}", error.detail());
            io::Error::other(error.message().to_owned())
        })
    });
    HttpResponse::Ok()
        .insert_header((header::CONTENT_TYPE, file.kind))
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .insert_header(disposition)
        .streaming(parts)
}

/// The next part with the maker of the one after it. Empty parts would end the body, so they are passed over.
fn part(mut next: NextPart) -> Result<Option<(Bytes, NextPart)>> {
    loop {
        match next()? {
            Some(bytes) if bytes.is_empty() => {}
            Some(bytes) => return Ok(Some((Bytes::from(bytes), next))),
            None => return Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use actix_web::body::to_bytes;
    use actix_web::rt::System;

    use super::*;

    fn file(last: Result<Option<Vec<u8>>>) -> Download {
        let mut parts =
            vec![last, Ok(Some(b"two".to_vec())), Ok(Some(Vec::new())), Ok(Some(b"one ".to_vec()))];
        let next = move || parts.pop().unwrap_or(Ok(None));
        Download { name: "a \"b\".txt".into(), kind: "text/plain", next: Box::new(next) }
    }

    #[test]
    fn parts_leave_in_order_and_an_error_cuts_the_file_off() {
        System::new().block_on(async {
            let answer = send(file(Ok(None)));
            let named = answer.headers().get(header::CONTENT_DISPOSITION).unwrap().to_str().unwrap();
            assert!(named.starts_with("attachment; filename=\"a"), "{named}");
            assert_eq!(to_bytes(answer.into_body()).await.unwrap(), "one two");
            let answer = send(file(Err(Error::unavailable("the disk is gone"))));
            assert!(to_bytes(answer.into_body()).await.is_err());
        });
    }
}
