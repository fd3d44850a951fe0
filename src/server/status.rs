//! How a running server is, for `muster status`, and the address at which its first account is made, for `muster setup-url`.

use serde_json::{Value, json};

use crate::base::{Error, Result};
use crate::capabilities::{ALL, identity};
use crate::engine::host;
use crate::kit::Ctx;
use crate::surface;

/// The name under which a running server is asked how it is.
pub const STATUS: &str = "server.status";
/// The name under which a running server is asked for the address of its set-up.
pub const SETUP: &str = "server.setup";

/// What a person wants to know first when something seems wrong.
pub(super) fn status(ctx: &Ctx<'_>) -> Result<Value> {
    let agents = surface::call(&surface::ops(ALL), ctx, "agents.counts", json!({}))?;
    let site = ctx.site;
    let space = host::space(&site.folder)?;
    let notices: Vec<Value> = (site.notices.all().into_iter())
        .map(|notice| json!({ "grave": notice.grave, "text": notice.text }))
        .collect();
    Ok(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "pid": std::process::id(),
        "up_seconds": site.clock.monotonic().as_secs(),
        "memory_bytes": resident(),
        "folder": site.folder.display().to_string(),
        "disk_free_bytes": space.free,
        "console": site.settings.console(),
        "gate": site.settings.gate(),
        "authority": site.authority.fingerprint().to_string(),
        "needs_setup": identity::needs_setup(site),
        "last_change": site.store.last_change(),
        "agents": agents,
        "notices": notices,
    }))
}

/// A fresh code, and the address that has it already; the code before it is worth nothing any more.
pub(super) fn setup(ctx: &Ctx<'_>) -> Result<Value> {
    let code = identity::setup_code(ctx.site)?.ok_or_else(|| {
        Error::conflict("the site has an owner already")
            .hint("sign in at the console; `muster admin recover` lets somebody in again")
    })?;
    let console = ctx.site.settings.console();
    Ok(json!({
        "url": format!("{console}/setup?code={code}"),
        "authority": ctx.site.authority.fingerprint().to_string(),
    }))
}

/// Memory of this process, as the kernel counts it; 0 where it does not say.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    kibibytes(&status, "VmRSS:") * 1024
}

fn kibibytes(status: &str, name: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::config::Config;
    use super::super::opening::{self, Purpose};
    use super::*;
    use crate::base::{Span, Timestamp};
    use crate::engine::clock::Clock;

    #[test]
    fn the_state_of_a_site_is_told_and_its_setup_is_given_until_it_has_an_owner() {
        let clock = Clock::manual(Timestamp::from_milliseconds(1_790_000_000_000), 7);
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        opening::prepare(&data, &clock).unwrap();
        let site = opening::site(&Config::default(), &data, &clock, vec!["plant.lan".into()], Purpose::Serve);
        let site = Arc::new(site.unwrap());
        site.settings.listening(8443, 8883);
        let ctx = Ctx::system(&site, "test");
        clock.advance(Span::from_seconds(75));
        let told = status(&ctx).unwrap();
        assert_eq!((&told["up_seconds"], &told["needs_setup"]), (&json!(75), &json!(true)));
        assert_eq!(
            (&told["console"], &told["agents"]["total"]),
            (&json!("https://plant.lan:8443"), &json!(0))
        );
        assert!(told["memory_bytes"].as_u64().unwrap() > 1_000_000, "{told}");
        let first = setup(&ctx).unwrap();
        let url = first["url"].as_str().unwrap();
        assert!(url.starts_with("https://plant.lan:8443/setup?code="), "{url}");
        assert_ne!(setup(&ctx).unwrap()["url"], first["url"]);
        identity::login_link(&site).unwrap();
        let error = setup(&ctx).unwrap_err();
        assert!(error.message().contains("owner already"), "{error}");
    }

    #[test]
    fn the_kernels_lines_are_read() {
        let text = "Name:\tmuster\nVmRSS:\t   14400 kB\n";
        assert_eq!(
            (kibibytes(text, "VmRSS:"), kibibytes(text, "VmHWM:"), kibibytes("", "VmRSS:")),
            (14_400, 0, 0)
        );
    }
}
