//! What must hold of the settings, and that the name can be brought back.

use super::store::{SETTINGS, Stored};
use crate::base::{Error, Result};
use crate::engine::store::{Read, Snapshot};
use crate::kit::{Change, Ctx, Difference, Findings, Returnable};

/// The one thing that there is.
const SUBJECT: &str = "site";

/// The name in memory is the stored one.
pub(super) fn check(ctx: &Ctx<'_>, findings: &mut Findings) -> Result<()> {
    findings.each_row(ctx, &SETTINGS, |findings, _, tenant, stored| {
        let same = *tenant != ctx.tenant || stored.name.as_str() == ctx.site.settings.name();
        findings.demand(same, "settings", "the site's name in use is not the stored one", "start again");
        Ok(())
    })
}

/// The site's name.
pub(super) const RETURNABLE: [Returnable; 1] = [Returnable {
    word: "settings",
    title: "Settings",
    permission: "settings.change",
    differing,
    bring_back,
}];

/// How the name differs, and what was stored then: nothing while the site had the name of its configuration.
fn difference(ctx: &Ctx<'_>, then: &Snapshot) -> Result<Option<(Option<Stored>, Difference)>> {
    let before = then.get(&SETTINGS, &ctx.tenant)?;
    let name = [("name", ctx.site.settings.name(), called(ctx, before.as_ref()))];
    Ok(Difference::of(SUBJECT, ctx.site.settings.name(), name).map(|told| (before, told)))
}

fn called(ctx: &Ctx<'_>, stored: Option<&Stored>) -> String {
    stored.map_or_else(|| ctx.site.settings.configured.clone(), |stored| stored.name.to_string())
}

fn differing(ctx: &Ctx<'_>, then: &Snapshot, filter: &str) -> Result<Vec<Difference>> {
    let found = difference(ctx, then)?.map(|(_, told)| told);
    let matches = |told: &Difference| {
        let text = format!("{SUBJECT} {}", told.name).to_lowercase();
        filter.to_lowercase().split_whitespace().all(|word| text.contains(word))
    };
    Ok(found.into_iter().filter(matches).collect())
}

fn bring_back(ctx: &Ctx<'_>, change: &mut Change<'_>, then: &Snapshot, subject: &str) -> Result<Difference> {
    if subject != SUBJECT {
        return Err(Error::not_found("setting", subject));
    }
    let (before, told) =
        difference(ctx, then)?.ok_or_else(|| Error::conflict("the site is called as it was then"))?;
    match &before {
        Some(before) => change.tx.put(&SETTINGS, &ctx.tenant, before)?,
        None => change.tx.delete(&SETTINGS, &ctx.tenant)?,
    }
    change.tell("settings.changed", SUBJECT, told.detail());
    // A change that gets so far fails only with the disk, and then nothing is written any more anyway.
    ctx.site.settings.rename(called(ctx, before.as_ref()));
    Ok(told)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capabilities::identity::tests as identity;
    use crate::capabilities::settings::ops;

    #[test]
    fn the_name_comes_back() {
        let (site, _folder) = identity::site();
        let ctx = Ctx::system(&site, site.home, "test");
        let rename =
            |name: &str| ops::change(&ctx, ops::SettingsChanged { name: name.parse().unwrap() }).unwrap();
        let never = ctx.read().unwrap();
        assert!(differing(&ctx, &never, "").unwrap().is_empty());
        rename("Plant 03");
        ctx.require("settings.change")
            .unwrap()
            .write(|change| bring_back(&ctx, change, &never, "site"))
            .unwrap();
        assert_eq!(site.settings.name(), "Test", "as the configuration says");
        rename("Plant 03");
        let then = ctx.read().unwrap();
        rename("Plnt 30");
        assert_eq!(differing(&ctx, &then, "plnt").unwrap()[0].fields[0].then, "Plant 03");
        let back = || {
            ctx.require("settings.change").unwrap().write(|change| bring_back(&ctx, change, &then, "site"))
        };
        back().unwrap();
        assert_eq!(site.settings.name(), "Plant 03");
        assert!(back().is_err() && differing(&ctx, &then, "").unwrap().is_empty());
        let mut findings = Findings::default();
        check(&ctx, &mut findings).unwrap();
        assert_eq!((findings.count, findings.looked_at), (0, 1));
        site.settings.rename("another".into());
        check(&ctx, &mut findings).unwrap();
        assert_eq!(findings.count, 1);
    }
}
