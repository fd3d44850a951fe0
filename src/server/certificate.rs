//! The certificates that are served: the own authority's, and for HTTPS one that is supplied. Both change without a restart
//! and without an end of any connection.
//!
//! Invariant: a supplied certificate that cannot be used never takes the place of one that is in use.

use std::fs;
use std::io::Read as _;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::{Value, json};

use super::config::{Config, Http};
use crate::base::{Error, Result, Secret, Span, Timestamp};
use crate::engine::clock::Clock;
use crate::engine::crypto::{ServerTls, Supplied};
use crate::engine::jobs::Step;
use crate::kit::{Ctx, Notice, Served, Site};

/// The name under which a running server is asked.
pub(super) const ASKED: &str = "server.reload";
/// Bytes of each of the two files.
const FILE_BYTES_MAX: u64 = 256 * 1024;
/// So long before its end a supplied certificate is spoken of.
const WARNED_BEFORE: Span = Span::from_days(21);
/// Where a notice leads.
const HELP: &str = "/help/network#certificate";

/// Reads the certificate that the configuration names; none when it names none. It may have ended.
fn read(http: &Http) -> Result<Option<Supplied>> {
    let (Some(certificate), Some(key)) = (&http.certificate, &http.key) else { return Ok(None) };
    let chain = text(certificate, "http.certificate")?;
    let secret = Secret::new(text(key, "http.key")?);
    let mode = fs::metadata(key).map(|meta| meta.mode()).unwrap_or_default();
    if mode & 0o007 != 0 {
        return Err(Error::invalid(format!(
            "`http.key`: everybody on this machine may use `{}`",
            key.display()
        ))
        .hint(format!("`chmod o= {}`, and a new key if others have seen it", key.display())));
    }
    let place =
        format!("`http.certificate` and `http.key`, `{}` and `{}`", certificate.display(), key.display());
    Supplied::read(&chain, &secret).map(Some).map_err(|e| placed(&place, &e))
}

fn text(path: &Path, key: &str) -> Result<String> {
    let failed = |e: std::io::Error| {
        Error::invalid(format!("`{key}`: the file `{}` cannot be read: {e}", path.display()))
            .hint("name a file that exists and that the server's user may read")
    };
    let file = fs::File::open(path).map_err(failed)?;
    let mut text = String::new();
    file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(failed)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        let error = Error::invalid(format!("`{key}`: the file `{}` is too long", path.display()));
        return Err(error.hint(format!("at most {FILE_BYTES_MAX} bytes")));
    }
    Ok(text)
}

fn placed(place: &str, error: &Error) -> Error {
    let told = Error::invalid(format!("{place}: {}", error.message()));
    match error.hint_text() {
        Some(hint) => told.hint(hint.to_owned()),
        None => told,
    }
}

/// Checks the certificate that the configuration names, as it would be used now. Gives its names and its end.
pub fn check(config: &Config, clock: &Clock) -> Result<Option<(Vec<String>, Timestamp)>> {
    let Some(supplied) = read(&config.http)? else { return Ok(None) };
    supplied.valid_at(clock.now()).map_err(|e| placed("`http.certificate`", &e))?;
    Ok(Some((supplied.names, supplied.ends)))
}

/// What is served, and how it is made anew.
pub(super) struct Certificates {
    tls: ServerTls,
    http: Http,
    names: Vec<String>,
    addresses: Vec<IpAddr>,
    state: Mutex<State>,
}

struct State {
    supplied: Option<Supplied>,
    /// Why the newest files are not in use.
    refused: Option<String>,
    own_ends: Timestamp,
}

impl Certificates {
    /// Serves what the configuration names. Files that are wrong are an error; a certificate that has ended is served all
    /// the same, and said to have, for the site must go on.
    pub(super) fn start(
        site: &Site,
        http: &Http,
        names: Vec<String>,
        addresses: Vec<IpAddr>,
    ) -> Result<Arc<Certificates>> {
        let supplied = read(http)?;
        let own = site.authority.issue_server(&names, &addresses)?;
        let tls = ServerTls::new(&site.authority, &own, &site.clock)?;
        if let Some(supplied) = &supplied {
            tls.supply(supplied);
            tracing::info!(until = %supplied.ends, "HTTPS with the supplied certificate for {}", supplied.names.join(", "));
        }
        let state = Mutex::new(State { supplied, refused: None, own_ends: own.ends });
        let certificates = Arc::new(Certificates { tls, http: http.clone(), names, addresses, state });
        certificates.tell(site);
        Ok(certificates)
    }

    pub(super) fn tls(&self) -> &ServerTls {
        &self.tls
    }

    /// Whether the supplied certificate is for this host.
    pub(super) fn is_for(&self, host: &str) -> bool {
        self.state.lock().supplied.as_ref().is_some_and(|supplied| supplied.is_for(host))
    }

    /// The job that looks every hour: the own certificate renews itself, and the end of a supplied one is told in time.
    pub(super) fn job(self: &Arc<Self>, site: &Arc<Site>) -> (&'static str, Span, Step) {
        let (certificates, site) = (Arc::clone(self), Arc::clone(site));
        let run = move || {
            certificates.renew(&site)?;
            certificates.tell(&site);
            Ok(())
        };
        ("server.renew", Span::from_hours(1), Box::new(run))
    }

    /// The authority gives the same certificate until two thirds of its life are over.
    fn renew(&self, site: &Site) -> Result<()> {
        let certificate = site.authority.issue_server(&self.names, &self.addresses)?;
        let mut state = self.state.lock();
        if certificate.ends != state.own_ends {
            self.tls.replace(&certificate)?;
            state.own_ends = certificate.ends;
            tracing::info!(until = %certificate.ends, "the server's certificate was renewed until {}", certificate.ends);
        }
        Ok(())
    }

    /// Reads the files again. What cannot be used leaves everything as it is, and is said on every page.
    pub(super) fn reload(&self, ctx: &Ctx<'_>) -> Result<Value> {
        let permit = ctx.require("settings.reload")?;
        self.renew(ctx.site)?;
        let fresh = read(&self.http).and_then(|supplied| match supplied {
            Some(supplied) => match supplied.valid_at(ctx.now) {
                Ok(()) => Ok(Some(supplied)),
                Err(e) => Err(placed("`http.certificate`", &e)),
            },
            None => Ok(None),
        });
        let fresh = match fresh {
            Ok(fresh) => fresh,
            Err(error) => {
                tracing::warn!("the new HTTPS certificate is not used: {}", error.message());
                self.state.lock().refused = Some(error.message().to_owned());
                self.tell(ctx.site);
                return Err(error);
            }
        };
        let mut state = self.state.lock();
        state.refused = None;
        let same = state.supplied.as_ref().map(|s| s.fingerprint) == fresh.as_ref().map(|s| s.fingerprint);
        let told = match &fresh {
            Some(fresh) => json!({
                "names": fresh.names,
                "ends": fresh.ends.to_string(),
                "sha256": fresh.fingerprint.to_string(),
                "changed": !same,
            }),
            None => json!({ "names": Value::Null, "ends": state.own_ends.to_string(), "changed": false }),
        };
        if let Some(fresh) = fresh {
            self.tls.supply(&fresh);
            state.supplied = Some(fresh);
        }
        drop(state);
        self.tell(ctx.site);
        if !same {
            permit.write(|change| {
                change.tell("settings.certificate_replaced", "https", told.clone());
                Ok(())
            })?;
            tracing::info!("the HTTPS certificate was replaced");
        }
        Ok(told)
    }

    /// Says on every page what is wrong, or will be.
    fn tell(&self, site: &Site) {
        let state = self.state.lock();
        site.settings.serve(Served {
            own_ends: state.own_ends,
            supplied: state.supplied.as_ref().map(|supplied| (supplied.names.clone(), supplied.ends)),
            refused: state.refused.clone(),
        });
        let end = state.supplied.as_ref().map(|supplied| supplied.ends);
        let now = site.clock.now();
        let (grave, text) = match (&state.refused, end) {
            (_, Some(end)) if end <= now => (
                true,
                format!(
                    "The HTTPS certificate ended {end}; browsers refuse it. Put a new one, then `muster reload`."
                ),
            ),
            (Some(why), _) => {
                (true, format!("The new HTTPS certificate is not used, the old one is kept: {why}."))
            }
            (None, Some(end)) if end.since(now) < WARNED_BEFORE => {
                (false, format!("The HTTPS certificate ends {end}. Put a new one, then `muster reload`."))
            }
            _ => return site.notices.say("certificate", None),
        };
        let notice = Notice { grave, text, href: HELP, permission: "settings.read" };
        site.notices.say("certificate", Some(notice));
    }
}

/// What a running server did when it read everything again.
pub struct Reloaded {
    /// Whom the supplied certificate is for; nobody when there is none.
    pub names: Vec<String>,
    /// Until when HTTPS has its certificate.
    pub ends: String,
    /// Whether that is another than before.
    pub changed: bool,
    /// Settings that were taken over.
    pub settings: Vec<String>,
    /// Settings that wait for a restart.
    pub restart: Vec<String>,
}

/// Asks the server that runs in the folder to read its certificate's files again. Gives what it serves now.
pub fn reload(folder: &Path) -> Result<Reloaded> {
    let Some(client) = super::control::Client::connect(folder)? else {
        return Err(Error::conflict(format!("no server runs in `{}`", folder.display()))
            .hint("name its data folder with `--data`; a server that starts reads the files anyway"));
    };
    let told = client.call(ASKED, Value::Null)?;
    let texts = |name: &str| {
        let list = told[name].as_array().into_iter().flatten();
        list.filter_map(Value::as_str).map(str::to_owned).collect()
    };
    Ok(Reloaded {
        names: texts("names"),
        ends: told["ends"].as_str().unwrap_or_default().to_owned(),
        changed: told["changed"] == Value::Bool(true),
        settings: texts("settings"),
        restart: texts("restart"),
    })
}

#[cfg(test)]
mod tests {
    use super::super::opening::{self, Purpose};
    use super::*;

    #[test]
    fn the_guide_says_how_long_before_the_end_it_is_told() {
        assert_eq!(WARNED_BEFORE, Span::from_days(21));
        assert!(crate::kit::guide::proof::says("network", "Three weeks before its end every page says so"));
    }

    #[test]
    fn the_own_certificate_renews_itself_and_a_supplied_one_is_warned_of() {
        let folder = tempfile::tempdir().unwrap();
        let clock = Clock::manual(Timestamp::from_milliseconds(1_790_000_000_000), 5);
        let made = rcgen::generate_simple_self_signed(vec!["muster.plant.lan".into()]).unwrap();
        let mut config = Config::default();
        for (name, text) in [("certificate", made.cert.pem()), ("key", made.signing_key.serialize_pem())] {
            use std::os::unix::fs::PermissionsExt as _;
            let path = folder.path().join(name);
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            let file = if name == "key" { &mut config.http.key } else { &mut config.http.certificate };
            *file = Some(path);
        }
        let data = folder.path().join("data");
        opening::prepare(&data, &clock).unwrap();
        let site = Arc::new(opening::site(&config, &data, &clock, Vec::new(), Purpose::Serve).unwrap());
        let names = vec!["muster.plant.lan".to_owned()];
        let certificates = Certificates::start(&site, &config.http, names, Vec::new()).unwrap();
        assert!(certificates.is_for("muster.plant.lan") && !certificates.is_for("plant.lan"));
        assert!(site.notices.all().is_empty());
        let first = certificates.state.lock().own_ends;
        clock.advance(Span::from_days(270));
        let (_, _, step) = certificates.job(&site);
        step().unwrap();
        assert!(certificates.state.lock().own_ends > first);
        // Reloading looks at the own one too, and keeps what is supplied.
        clock.advance(Span::from_days(270));
        let second = certificates.state.lock().own_ends;
        certificates.reload(&Ctx::system(&site, site.home, "test")).unwrap();
        let (third, end) = {
            let state = certificates.state.lock();
            (state.own_ends, state.supplied.as_ref().unwrap().ends)
        };
        assert!(third > second);

        let until = |days: u64| end.since(clock.now()).milliseconds() - Span::from_days(days).milliseconds();
        clock.advance(Span::from_milliseconds(until(20)));
        step().unwrap();
        let notice = site.notices.all().remove(0);
        assert!(!notice.grave && notice.text.contains("muster reload"), "{notice:?}");
        clock.advance(Span::from_milliseconds(until(0)));
        step().unwrap();
        let notice = site.notices.all().remove(0);
        assert!(notice.grave && notice.text.contains("ended"), "{notice:?}");
        assert!(
            certificates.reload(&Ctx::system(&site, site.home, "test")).is_err(),
            "the file holds the same one"
        );
    }
}
