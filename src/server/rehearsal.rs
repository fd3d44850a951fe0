//! A server that shows that it could: it answers HTTPS on a port of this machine that nobody is told of, from a folder
//! that goes away. No jobs run, no agent is let in, no follower follows, nothing leaves the process.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};

use super::DOORS;
use crate::base::{Error, Result, Span};
use crate::capabilities::{ALL, identity};
use crate::engine::crypto::{Minimum, Pin, ServerTls, client_config};
use crate::engine::http;
use crate::kit::Site;
use crate::surface::{Rates, Surface};

/// How long the page may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// Bytes of the page that are read.
const PAGE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// The listening rehearsal. Dropping it stops it.
pub(super) struct Rehearsal {
    site: Arc<Site>,
    http: http::Handle,
}

impl Rehearsal {
    /// Opens a port of the loopback address for the site.
    pub(super) fn start(site: &Arc<Site>) -> Result<Rehearsal> {
        let certificate = site.authority.issue_server(&["localhost".into()], &[[127, 0, 0, 1].into()])?;
        let tls = ServerTls::new(&site.authority, &certificate, &site.clock)?;
        let traffic = http::Traffic::new(site.clock.clone());
        let surface = Surface::new(Arc::clone(site), ALL, DOORS, Arc::clone(&traffic), Rates::default())?;
        let https = Arc::new(tls.https_config(Minimum::Tls13)?);
        let settings = http::Settings {
            workers: 1,
            limits: http::Limits { connections_max: 4, blocking_threads_max: 2, ..http::Limits::default() },
            ..http::Settings::new(([127, 0, 0, 1], 0).into(), https, traffic)
        };
        let http = http::Server::start(settings, move |app| surface.configure(app))?;
        Ok(Rehearsal { site: Arc::clone(site), http })
    }

    /// Opens the page on which people sign in, or make the first account, as a browser that trusts the site's authority.
    /// Gives the path.
    pub(super) fn sign_in_page(&self) -> Result<&'static str> {
        let path = if identity::needs_setup(&self.site) { "/setup" } else { "/login" };
        let pin = Pin::Authority(self.site.authority.certificate_pem());
        let page = fetch(self.http.address(), &pin, &self.site, path)?;
        let sound = page.starts_with("HTTP/1.1 200 ") && page.contains("<form") && page.contains("password");
        if sound {
            return Ok(path);
        }
        let first = page.lines().next().unwrap_or_default().chars().take(80).collect::<String>();
        Err(Error::unavailable(format!("the restored server answered `{path}` with `{first}`")))
    }

    pub(super) fn stop(self) {
        self.http.stop(Span::default());
    }
}

/// One request over TLS 1.3; head and body as they came.
fn fetch(address: SocketAddr, pin: &Pin, site: &Site, path: &str) -> Result<String> {
    let failed = |e: std::io::Error| Error::unavailable("the restored server does not answer").because(e);
    let tls = client_config(pin, None, &site.clock)?;
    let socket = TcpStream::connect_timeout(&address, ANSWER_WITHIN).map_err(failed)?;
    socket.set_read_timeout(Some(ANSWER_WITHIN)).map_err(failed)?;
    socket.set_write_timeout(Some(ANSWER_WITHIN)).map_err(failed)?;
    let name = ServerName::try_from("localhost")?;
    let mut stream = StreamOwned::new(ClientConnection::new(tls, name)?, socket);
    let request = format!(
        "GET {path} HTTP/1.1\r\nhost: localhost:{}\r\naccept: text/html\r\nconnection: close\r\n\r\n",
        address.port()
    );
    stream.write_all(request.as_bytes()).map_err(failed)?;
    let mut page = Vec::new();
    match stream.take(PAGE_BYTES_MAX).read_to_end(&mut page) {
        // Some servers close without the closing word of TLS; what came is judged by its content.
        Err(e) if page.is_empty() => return Err(failed(e)),
        _ => {}
    }
    Ok(String::from_utf8_lossy(&page).into_owned())
}

#[cfg(test)]
mod tests {
    use super::super::config::Config;
    use super::super::opening::{self, Purpose};
    use super::*;
    use crate::engine::clock::Clock;

    #[test]
    fn a_rehearsal_shows_the_sign_in_page_to_who_trusts_the_authority() {
        let (folder, clock) = (tempfile::tempdir().unwrap(), Clock::system());
        opening::prepare(folder.path(), &clock).unwrap();
        let site =
            opening::site(&Config::default(), folder.path(), &clock, Vec::new(), Purpose::Rehearsal).unwrap();
        let site = Arc::new(site);
        let rehearsal = Rehearsal::start(&site).unwrap();
        assert_eq!(rehearsal.sign_in_page().unwrap(), "/setup");
        let address = rehearsal.http.address();
        assert!(address.ip().is_loopback());
        assert!(site.bus().is_none(), "no agent is let in");
        let stranger = Pin::Short("A".repeat(26));
        assert!(fetch(address, &stranger, &site, "/setup").is_err(), "its certificate is the site's");
        rehearsal.stop();
        assert!(TcpStream::connect(address).is_err());
    }
}
