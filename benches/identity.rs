//! What it costs to come in, and to stay in.
//!
//! `cargo bench --bench identity`. A password is checked by Argon2id with 19 MiB, which is what a sign-in costs; a session
//! is looked up at every request. Each is run `IDENTITY_ROUNDS` (50 and 50,000) times on one thread. Compare within a run.

#![expect(clippy::unwrap_used, reason = "a bench that cannot go on stops")]
#![expect(clippy::print_stdout, reason = "a bench speaks to its reader")]

use std::time::Duration;

use muster::capabilities::identity::{Identity, login_link, session_actor};
use muster::engine::clock::Clock;
use muster::engine::crypto::{Authority, Kek, Vault, hash_password, verify_password};
use muster::engine::logs::{self, Logs};
use muster::engine::series::{self, Series};
use muster::engine::store::{self, Store};
use muster::kit::{
    Actor, Capability, Ctx, Grant, PageRequest, Pages, Parts, Reply, Request, Rights, Role, Settings, Site,
};

const PASSWORD: &str = "correct horse battery staple";

fn rounds(usual: u32) -> u32 {
    std::env::var("IDENTITY_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

/// The median and the slowest in a hundred.
fn measure(clock: &Clock, what: &str, rounds: u32, mut run: impl FnMut()) {
    let mut took: Vec<Duration> = (0..rounds)
        .map(|_| {
            let began = clock.monotonic();
            run();
            clock.monotonic() - began
        })
        .collect();
    took.sort_unstable();
    let (median, slow) = (took[took.len() / 2], took[took.len() * 99 / 100]);
    println!("{what:<28} median {median:>10.1?}   99 % {slow:>10.1?}");
}

fn main() {
    let (folder, clock) = (tempfile::tempdir().unwrap(), Clock::system());
    let at = |name: &str| folder.path().join(name);
    let kept = hash_password(PASSWORD, &clock).unwrap();
    println!("a password is kept as {}", kept.split('$').take(4).collect::<Vec<_>>().join("$"));
    measure(&clock, "a right password", rounds(50), || assert!(verify_password(PASSWORD, Some(&kept))));
    measure(&clock, "a wrong password", rounds(50), || assert!(!verify_password("wrong", Some(&kept))));
    measure(&clock, "a password of nobody", rounds(50), || assert!(!verify_password(PASSWORD, None)));

    let vault = Vault::open(&at("keys"), &Kek::File(at("kek")), &clock).unwrap();
    let site = Site::new(Parts {
        store: Store::open(&at("store"), store::Options::new(clock.clone())).unwrap(),
        series: Series::open(&at("series"), series::Options::new(clock.clone())).unwrap(),
        logs: Logs::open(&at("logs"), logs::Options::new(clock.clone())).unwrap(),
        authority: Authority::open(&vault, "Bench", &clock).unwrap(),
        vault,
        settings: Settings::new("Bench".into(), vec!["muster.test".into()]),
        navigation: Vec::new(),
        assets: "/static/bench".into(),
        folder: folder.path().to_owned(),
        configuration: None,
        clock: clock.clone(),
    });
    let link = login_link(&site).unwrap();
    let mut pages = Pages::default();
    Identity.pages(&mut pages);
    let page = pages.pages.iter().find(|page| page.form && page.path == "/login/link").unwrap();
    let mut request = PageRequest::default();
    request.form.insert("token".into(), link.split_once("token=").unwrap().1.into());
    let ctx = Ctx::new(
        &site,
        site.home,
        Actor::Anonymous,
        Request { from: "10.0.0.1".into(), ..Request::default() },
    );
    let Reply::Redirect(_, cookies) = (page.run)(&ctx, &request).unwrap() else { panic!("not signed in") };
    measure(&clock, "a session that lives", rounds(50_000), || {
        assert!(session_actor(&site, &cookies[0].value, clock.now()).unwrap().is_some());
    });
    measure(&clock, "a cookie that is made up", rounds(50_000), || {
        assert!(session_actor(&site, "mss_nonsense", clock.now()).unwrap().is_none());
    });
    // Twenty grants, the one that counts last.
    let narrow = |scope: usize| Grant {
        role: Role::Operator.into(),
        permissions: Role::Operator.permissions(),
        scope: format!("site:s{scope}").parse().unwrap(),
        until: None,
    };
    let mut grants: Vec<Grant> = (0..19).map(narrow).collect();
    grants.extend(Rights::of(Role::Administrator).grants.iter().cloned());
    let rights = Rights { grants, ..Rights::default() };
    measure(&clock, "a permission of 20 grants", rounds(50_000), || {
        assert!(rights.sight("identity.create").is_everything() && !rights.allow("backups.kit"));
    });
}
