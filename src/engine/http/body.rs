//! Bodies of requests: whole, in memory, within a bound of bytes and time.

use std::time::Duration;

use actix_web::web::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt};

use super::Refusal;
use crate::base::limits::{HTTP_BODY_BYTES_MAX, HTTP_BODY_SECONDS_MAX};
use crate::base::{Error, Result};

/// Reads the whole body. Over [`HTTP_BODY_BYTES_MAX`] is 413, slower than [`HTTP_BODY_SECONDS_MAX`] is 408.
pub async fn body<S, E>(payload: S) -> Result<Bytes, Refusal>
where
    S: Stream<Item = Result<Bytes, E>>,
    E: std::fmt::Display,
{
    within(payload, Duration::from_secs(HTTP_BODY_SECONDS_MAX)).await
}

/// The same with another bound of time.
pub(super) async fn within<S, E>(payload: S, deadline: Duration) -> Result<Bytes, Refusal>
where
    S: Stream<Item = Result<Bytes, E>>,
    E: std::fmt::Display,
{
    match actix_web::rt::time::timeout(deadline, collect(payload)).await {
        Ok(result) => result,
        Err(_) => Err(Refusal::new(
            408,
            Error::invalid("the body did not arrive in time")
                .hint(format!("at most {HTTP_BODY_SECONDS_MAX} seconds")),
        )),
    }
}

async fn collect<S, E>(payload: S) -> Result<Bytes, Refusal>
where
    S: Stream<Item = Result<Bytes, E>>,
    E: std::fmt::Display,
{
    let mut payload = std::pin::pin!(payload);
    let mut body = BytesMut::new();
    while let Some(chunk) = payload.next().await {
        let chunk = chunk.map_err(|e| {
            Refusal::new(
                400,
                Error::invalid("the body broke off").because(Error::invalid(e.to_string()).detail()),
            )
        })?;
        if body.len() + chunk.len() > HTTP_BODY_BYTES_MAX {
            return Err(Refusal::new(
                413,
                Error::invalid("the body is too long").hint(format!("at most {HTTP_BODY_BYTES_MAX} bytes")),
            ));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunks(sizes: &[usize]) -> impl Stream<Item = Result<Bytes, String>> {
        let chunks: Vec<_> = sizes.iter().map(|n| Ok(Bytes::from(vec![b'x'; *n]))).collect();
        futures_util::stream::iter(chunks)
    }

    #[test]
    fn the_bound_is_reached_and_not_passed() {
        actix_web::rt::System::new().block_on(async {
            let half = HTTP_BODY_BYTES_MAX / 2;
            assert_eq!(body(chunks(&[half, half])).await.unwrap().len(), HTTP_BODY_BYTES_MAX);
            assert_eq!(body(chunks(&[half, half, 1])).await.unwrap_err().status, 413);
            let broken = futures_util::stream::iter([Err("reset")]);
            assert_eq!(body(broken).await.unwrap_err().status, 400);
        });
    }
}
