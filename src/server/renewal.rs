//! The server's certificate renews itself, without dropping a connection.

use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::base::{Span, Timestamp};
use crate::engine::crypto::ServerTls;
use crate::engine::jobs::Step;
use crate::kit::Site;

/// The job that looks every hour. The authority gives the same certificate until two thirds of its life are over.
pub(super) fn job(
    site: &Arc<Site>,
    tls: &ServerTls,
    names: Vec<String>,
    addresses: Vec<IpAddr>,
    ends: Timestamp,
) -> (&'static str, Span, Step) {
    let (authority, tls, current) = (site.authority.clone(), tls.clone(), Mutex::new(ends));
    let run = move || {
        let certificate = authority.issue_server(&names, &addresses)?;
        let mut current = current.lock();
        if certificate.ends != *current {
            tls.replace(&certificate)?;
            *current = certificate.ends;
            tracing::info!(until = %certificate.ends, "the server's certificate was renewed until {}", certificate.ends);
        }
        Ok(())
    };
    ("server.renew", Span::from_hours(1), Box::new(run))
}
