//! What only the data folder knows: its certificates, and when it changed last. A running server tells it; the folder of
//! a stopped one is opened for it.

use std::path::Path;

use serde_json::{Value, json};

use super::{Inside, Level, Report};
use crate::base::{Result, Span, Timestamp};
use crate::engine::clock::Clock;
use crate::engine::crypto::{lifetime_of, names_of};
use crate::kit::Site;
use crate::server::certificate;
use crate::server::command::Stopped;
use crate::server::config::Config;

/// The name under which a running server is asked.
pub const DOCTOR: &str = "server.doctor";
/// So long before its end a certificate is spoken of.
const SUPPLIED_BEFORE: Span = Span::from_days(21);
const AUTHORITY_BEFORE: Span = Span::from_days(365);
/// The server renews its own certificate long before; so near to its end it has not.
const OWN_BEFORE: Span = Span::from_days(7);
/// How far the newest change may lie ahead of the clock.
const AHEAD_MAX: Span = Span::from_seconds(5);
/// Longer ago than this, the clock is more likely wrong than the site that quiet.
const QUIET_MAX: Span = Span::from_days(400);

/// What a site knows of itself.
pub(in crate::server) fn told(site: &Site) -> Result<Value> {
    let last = site.store.last_change();
    let newest = match last {
        0 => None,
        last => site.store.changes(last - 1, 1)?.pop(),
    };
    let authority = lifetime_of(site.authority.certificate_der())?;
    let own = match site.vault.get("server.certificate")? {
        Some(der) => {
            let (begins, ends) = lifetime_of(der.expose())?;
            json!({ "begins": begins, "ends": ends, "names": names_of(der.expose())? })
        }
        None => Value::Null,
    };
    Ok(json!({
        "pid": std::process::id(),
        "version": env!("CARGO_PKG_VERSION"),
        "limits": std::fs::read_to_string("/proc/self/limits").ok(),
        "change": newest.map(|change| json!({ "number": change.number, "at": change.origin.at })),
        "authority": { "begins": authority.0, "ends": authority.1 },
        "server": own,
    }))
}

/// The same of a stopped server's folder, which must be this user's.
pub fn stopped(config: &Config, folder: &Path, clock: &Clock) -> Result<Value> {
    told(Stopped::open(config, folder, clock)?.site())
}

pub(super) fn server(inside: &Inside, report: &mut Report) {
    const SUBJECT: &str = "server";
    match inside {
        Inside::Running(told) => report.good(
            SUBJECT,
            format!("{} runs, process {}", told["version"].as_str().unwrap_or("it"), told["pid"]),
        ),
        Inside::Stopped(_) => report.good(SUBJECT, "stopped; its data folder opens"),
        Inside::Nothing => report.good(SUBJECT, "never started: there is no data folder yet"),
        Inside::Unknown(error) => {
            let remedy = error.hint_text().unwrap_or("run the doctor as root or as the server's user");
            let found = format!("what is in the data folder is not known: {}", error.detail());
            // Who may not look has found nothing that is broken.
            match error.kind() {
                crate::base::Kind::Forbidden | crate::base::Kind::Conflict => {
                    report.attention(SUBJECT, found, remedy);
                }
                _ => report.bad(SUBJECT, found, remedy),
            }
        }
    }
}

fn instant(value: &Value) -> Option<Timestamp> {
    value.as_str()?.parse().ok()
}

pub(super) fn certificates(config: &Config, inside: &Inside, clock: &Clock, report: &mut Report) {
    let now = clock.now();
    if let Inside::Running(told) | Inside::Stopped(told) = inside {
        let remedy =
            "restore a backup from before, or set the site up anew: agents trust this authority alone";
        lifetime("authority", &told["authority"], now, AUTHORITY_BEFORE, remedy, report);
        if !told["server"].is_null() {
            let before = report.findings.len();
            let remedy = "restart the server, which makes a new one; its log says why it has not";
            lifetime("certificate", &told["server"], now, OWN_BEFORE, remedy, report);
            let names: Vec<&str> =
                told["server"]["names"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            let missing: Vec<&str> =
                config.site.hosts.iter().map(String::as_str).filter(|host| !names.contains(host)).collect();
            if !missing.is_empty() && report.findings.iter().skip(before).all(|one| one.level == Level::Good)
            {
                report.findings.truncate(before);
                report.attention(
                    "certificate",
                    format!("it is not for {}, which `site.hosts` names", missing.join(", ")),
                    "restart the server, which makes one for them",
                );
            }
        }
    }
    match certificate::check(config, clock) {
        Ok(None) => {}
        Ok(Some((names, ends))) if ends.since(now) < SUPPLIED_BEFORE => report.attention(
            "https",
            format!("the certificate for {} ends {ends}", names.join(", ")),
            "put a new one into its place, then `muster reload`",
        ),
        Ok(Some((names, ends))) => {
            report
                .good("https", format!("the supplied certificate is for {}, until {ends}", names.join(", ")));
        }
        Err(e) => report.bad("https", e.message(), e.hint_text().unwrap_or("put a right one into its place")),
    }
}

fn lifetime(subject: &str, told: &Value, now: Timestamp, before: Span, remedy: &str, report: &mut Report) {
    let (Some(begins), Some(ends)) = (instant(&told["begins"]), instant(&told["ends"])) else {
        return report.attention(subject, "its life is not known", "bring server and command to one version");
    };
    if now < begins {
        report.bad(
            subject,
            format!("it is valid only from {begins}, and this machine's clock says {now}"),
            "set the clock",
        );
    } else if now >= ends {
        report.bad(subject, format!("it ended {ends}"), remedy);
    } else if ends.since(now) < before {
        report.attention(subject, format!("it ends {ends}"), remedy);
    } else {
        report.good(subject, format!("valid until {ends}"));
    }
}

/// The clock against the newest change: what happened cannot lie ahead.
pub(super) fn newest(inside: &Inside, clock: &Clock, report: &mut Report) {
    const SUBJECT: &str = "newest change";
    let (Inside::Running(told) | Inside::Stopped(told)) = inside else { return };
    let Some(at) = instant(&told["change"]["at"]) else { return };
    let now = clock.now();
    let number = &told["change"]["number"];
    if at > now + AHEAD_MAX {
        report.bad(
            SUBJECT,
            format!("change {number} is of {at}, and the clock says {now}: it went back"),
            "set the clock before anything else is done, and look what sets it (battery, time source)",
        );
    } else if now > at + QUIET_MAX {
        report.attention(
            SUBJECT,
            format!("change {number} is of {at}, {} before what the clock says", now.since(at)),
            "look whether the clock went forward; retention would drop what is old",
        );
    } else {
        report.good(SUBJECT, format!("change {number}, {at}"));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::server::opening::{self, Purpose};

    #[test]
    fn certificates_and_the_newest_change_of_a_real_folder_are_judged_by_the_clock() {
        let clock = Clock::manual(Timestamp::from_milliseconds(1_790_000_000_000), 3);
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let mut config = Config::default();
        config.site.hosts = vec!["plant.lan".into()];
        opening::prepare(&data, &clock).unwrap();
        let site = opening::site(&config, &data, &clock, Vec::new(), Purpose::Serve).unwrap();
        let site = Arc::new(site);
        site.authority.issue_server(&["plant.lan".into()], &[]).unwrap();
        crate::capabilities::identity::setup_code(&site).unwrap();
        let told = told(&site).unwrap();
        assert!(told["limits"].as_str().unwrap().contains("Max open files"), "{told}");
        let look = |config: &Config, told: &Value, clock: &Clock| {
            let mut report = Report::default();
            let inside = Inside::Running(told.clone());
            server(&inside, &mut report);
            certificates(config, &inside, clock, &mut report);
            newest(&inside, clock, &mut report);
            report
        };
        let report = look(&config, &told, &clock);
        assert_eq!((report.level(), report.findings.len()), (Level::Good, 4), "{report}");
        config.site.hosts.push("other.lan".into());
        let report = look(&config, &told, &clock);
        assert!(report.level() == Level::Attention && report.to_string().contains("other.lan"), "{report}");
        let back = Clock::manual(Timestamp::from_milliseconds(1_690_000_000_000), 3);
        let report = look(&config, &told, &back);
        assert!(report.level() == Level::Bad && report.to_string().contains("went back"), "{report}");
        clock.advance(Span::from_days(9 * 366 + 200));
        let report = look(&config, &told, &clock);
        assert_eq!(report.level(), Level::Bad, "the server's own has ended: {report}");
        assert!(
            report.findings.iter().any(|f| f.subject == "authority" && f.level == Level::Attention),
            "{report}"
        );
    }

    #[test]
    fn who_may_not_look_has_found_nothing_broken() {
        use crate::base::Error;
        for (error, level) in [
            (Error::forbidden("this user may not"), Level::Attention),
            (Error::conflict("in use"), Level::Attention),
            (Error::internal("the journal is torn"), Level::Bad),
        ] {
            let mut report = Report::default();
            server(&Inside::Unknown(error), &mut report);
            assert_eq!(report.level(), level, "{report}");
        }
        let mut report = Report::default();
        server(&Inside::Nothing, &mut report);
        assert_eq!(report.level(), Level::Good);
    }
}
