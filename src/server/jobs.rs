//! The capabilities' jobs, and the server's own: the renewal of its certificate.

use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::base::{Result, Span, Timestamp};
use crate::capabilities::ALL;
use crate::engine::crypto::ServerTls;
use crate::engine::jobs::{Runner, Step};
use crate::kit::{Ctx, Jobs, Site};

/// Starts them.
pub(super) fn start(
    site: &Arc<Site>,
    tls: ServerTls,
    names: Vec<String>,
    addresses: Vec<IpAddr>,
    ends: Timestamp,
) -> Result<Runner> {
    let mut declared = Jobs::default();
    ALL.iter().for_each(|capability| capability.jobs(&mut declared));
    let mut jobs: Vec<(&'static str, Span, Step)> = Vec::new();
    for job in declared.0 {
        let site = Arc::clone(site);
        jobs.push((job.name, job.every, Box::new(move || (job.run)(&Ctx::system(&site, job.name)))));
    }
    let (site, current) = (Arc::clone(site), Mutex::new(ends));
    let clock = site.clock.clone();
    jobs.push((
        "server.renew",
        Span::from_hours(1),
        Box::new(move || {
            let certificate = site.authority.issue_server(&names, &addresses)?;
            let mut current = current.lock();
            if certificate.ends != *current {
                *current = certificate.ends;
                tls.replace(&certificate)?;
                tracing::info!(until = %certificate.ends, "the server's certificate was renewed until {}", certificate.ends);
            }
            Ok(())
        }),
    ));
    Runner::start(clock, jobs)
}
