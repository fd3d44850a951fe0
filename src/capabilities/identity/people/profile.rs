//! What people choose for themselves: language, time zone, look. It goes with the person, not with the browser.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::base::{Error, Result, TenantId, UserId};
use crate::capabilities::identity::{own, session_watcher};
use crate::engine::store::{Read, Table};
use crate::kit::{Actor, Cookie, Ctx, Nothing, Theme, Zone};

/// Names of the tables, for checks.
pub(in crate::capabilities::identity) const NAMES: [&str; 1] = ["identity_profiles"];
static PROFILES: Table<(TenantId, UserId), Profile> = Table::new(NAMES[0]);

/// How long a browser remembers the look.
const THEME_SECONDS: i64 = 365 * 24 * 3600;
/// Languages of the console.
const LANGUAGES: [&str; 1] = ["en"];

/// What somebody chose.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Profile {
    /// The console's language: `en`.
    pub language: String,
    /// A name of the time zone database, such as `Europe/Paris`.
    pub time_zone: String,
    /// `light`, `dark`, or empty for the system's.
    pub theme: String,
}

impl Default for Profile {
    fn default() -> Profile {
        Profile { language: "en".into(), time_zone: "UTC".into(), theme: String::new() }
    }
}

fn of(read: &impl Read, tenant: TenantId, user: UserId) -> Result<Profile> {
    Ok(read.get(&PROFILES, &(tenant, user))?.unwrap_or_default())
}

/// The zone in which somebody reads times: the one that they chose, also while they look at the console as another.
pub fn zone_of(ctx: &Ctx<'_>) -> Result<Zone> {
    let Actor::Person { user, .. } = &ctx.actor else { return Ok(Zone::utc()) };
    Ok(Zone::named(&of(&ctx.read()?, ctx.tenant, *user)?.time_zone))
}

/// Shows one's own.
pub(in crate::capabilities::identity) fn find(ctx: &Ctx<'_>, _: Nothing) -> Result<Profile> {
    of(&ctx.read()?, ctx.tenant, own(ctx)?.0)
}

/// Changes one's own.
pub(super) fn change(ctx: &Ctx<'_>, input: Profile) -> Result<Profile> {
    let (id, _, raised) = own(ctx)?;
    if !LANGUAGES.contains(&input.language.as_str()) {
        return Err(Error::invalid("the language is not known")
            .hint(format!("the console speaks {}", LANGUAGES.join(", "))));
    }
    if jiff::tz::TimeZone::get(&input.time_zone).is_err() {
        let shown: String = input.time_zone.chars().take(40).collect();
        return Err(Error::invalid(format!("`{shown}` is not a time zone"))
            .hint("use a name such as `Europe/Paris` or `UTC`"));
    }
    let theme = Theme::find(&input.theme).word().to_owned();
    let after = Profile { theme, ..input };
    raised.require("identity.profile_change")?.write(|change| {
        let before = of(&*change.tx, ctx.tenant, id)?;
        if before != after {
            change.tx.put(&PROFILES, &(ctx.tenant, id), &after)?;
            change.tell("identity.profile_changed", id, json!({ "before": before, "after": after }));
        }
        Ok(())
    })?;
    Ok(after)
}

/// Keeps the look that was chosen, where somebody is signed in. Nothing is written when it stays.
pub(in crate::capabilities::identity) fn keep_theme(ctx: &Ctx<'_>, theme: Theme) -> Result<()> {
    if !matches!(ctx.actor, Actor::Person { .. }) {
        return Ok(());
    }
    let profile = find(ctx, Nothing {})?;
    if profile.theme == theme.word() {
        return Ok(());
    }
    change(ctx, Profile { theme: theme.word().to_owned(), ..profile }).map(|_| ())
}

/// The look as a cookie, so that also pages before the sign-in have it.
pub(in crate::capabilities::identity) fn theme_cookie(theme: Theme) -> Cookie {
    let value = theme.word().to_owned();
    let seconds = if value.is_empty() { 0 } else { THEME_SECONDS };
    Cookie { name: "theme", value, seconds }
}

/// The look of whoever has just come in by this cookie; none while they have chosen none.
pub(in crate::capabilities::identity) fn theme_of(ctx: &Ctx<'_>, cookie: &str) -> Result<Option<Cookie>> {
    let Some((tenant, Actor::Person { user, .. })) = session_watcher(ctx.site, cookie, ctx.now)? else {
        return Ok(None);
    };
    let kept = ctx.read()?.get(&PROFILES, &(tenant, user))?;
    Ok(kept.map(|profile| theme_cookie(Theme::find(&profile.theme))))
}
