//! What pages of several capabilities say in the same way.

use std::fmt;

use super::{Reply, chart, local};
use crate::base::{Kind, Result, Timestamp};

/// Text that is HTML already: templates do not escape it again. Only drawings and rendered parts become one.
#[derive(Clone, Debug, Default)]
pub struct Markup(pub String);

impl fmt::Display for Markup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl askama::filters::HtmlSafe for Markup {}

impl Markup {
    /// The text of it, as a terminal shows it.
    pub fn plain(&self) -> String {
        let (mut out, mut inside) = (String::new(), false);
        for c in self.0.chars() {
            match c {
                '<' => inside = true,
                '>' if inside => inside = false,
                c if !inside => out.push(c),
                _ => {}
            }
        }
        let signs = [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&#39;", "'"), ("&amp;", "&")];
        signs.iter().fold(out, |out, (escaped, sign)| out.replace(escaped, sign))
    }

    /// The sign of a status.
    pub fn glyph(tone: &str, word: &str) -> Markup {
        Markup(chart::glyph(tone, word))
    }

    /// How long ago something was, as an element that keeps counting; a dash for never.
    pub fn ago(at: Option<Timestamp>, now: Timestamp) -> Markup {
        Markup(match at {
            Some(at) => format!(
                "<time datetime=\"{at}\" title=\"{}\" data-ago>{}</time>",
                local(at, "%Y-%m-%d %H:%M:%S %Z"),
                now.since(at).rough()
            ),
            None => "—".to_owned(),
        })
    }

    /// An instant as the clock of who looks shows it; a dash for never.
    pub fn at(at: Option<Timestamp>) -> Markup {
        at.map_or_else(|| Markup("—".to_owned()), |at| Markup::time(&at, "%d %b %Y %H:%M:%S %Z"))
    }

    /// An instant to the minute.
    pub fn minute(at: &Timestamp) -> Markup {
        Markup::time(at, "%Y-%m-%d %H:%M %Z")
    }

    /// An instant to the second.
    pub fn second(at: &Timestamp) -> Markup {
        Markup::time(at, "%Y-%m-%d %H:%M:%S %Z")
    }

    /// An instant to the millisecond.
    pub fn exact(at: &Timestamp) -> Markup {
        Markup::time(at, "%Y-%m-%d %H:%M:%S%.3f %Z")
    }

    /// The day of an instant; which minute it was, on demand.
    pub fn day(at: &Timestamp) -> Markup {
        let (day, minute) = (local(*at, "%Y-%m-%d"), local(*at, "%Y-%m-%d %H:%M %Z"));
        Markup(format!("<time datetime=\"{at}\" title=\"{minute}\">{day}</time>"))
    }

    /// What programs read is UTC, what people read is in their zone.
    fn time(at: &Timestamp, pattern: &str) -> Markup {
        Markup(format!("<time datetime=\"{at}\">{}</time>", local(*at, pattern)))
    }
}

/// One part of a live message: the element with this id, rendered anew.
pub fn part(id: &str, html: &str) -> String {
    format!("<hx-partial hx-target=\"#{id}\" hx-swap=\"outerMorph\">{html}</hx-partial>")
}

/// After a form: go there and say what came of it. What the person can mend is said there too; the rest is an error.
pub fn told(to: &str, outcome: Result<String>) -> Result<Reply> {
    let flash = match outcome {
        Ok(text) => format!("ok:{text}"),
        Err(error)
            if matches!(error.kind(), Kind::Invalid | Kind::Conflict | Kind::TooMany | Kind::Unavailable) =>
        {
            match error.hint_text() {
                Some(hint) => format!("error:{}; {hint}", error.message()),
                None => format!("error:{}", error.message()),
            }
        }
        Err(error) => return Err(error),
    };
    let joint = if to.contains('?') { '&' } else { '?' };
    Ok(Reply::Redirect(format!("{to}{joint}{}", query(&[("flash", &flash)])), Vec::new()))
}

/// A query string of the pairs whose value is not empty.
pub fn query(pairs: &[(&str, &str)]) -> String {
    let said: Vec<_> = pairs.iter().filter(|(_, value)| !value.is_empty()).collect();
    serde_urlencoded::to_string(said).unwrap_or_default()
}

/// What every rendered page must obey, and samples to render. Pages are left in a folder below the temporary one, to be
/// looked at.
#[cfg(test)]
pub(crate) mod proof {
    use crate::kit::{NavItem, Shell};

    const SPRITE: &str = include_str!("../../static/icons.svg");

    /// The frame of a page, as an owner sees it.
    pub(crate) fn shell(title: &str, active: &'static str) -> Shell {
        let item = |group, title, path, icon| NavItem { group, title, path, icon, permission: "agents.read" };
        let items = [
            item("Fleet", "Overview", "/", "layout-dashboard"),
            item("Fleet", "Agents", "/agents", "server"),
            item("Observe", "Events", "/events", "activity"),
            item("Operate", "Tasks", "/tasks", "workflow"),
            item("Govern", "People", "/people", "users"),
            item("Govern", "Audit", "/audit", "shield-check"),
            item("Govern", "Settings", "/settings", "settings"),
        ];
        let mut navigation: Vec<(&'static str, Vec<NavItem>)> = Vec::new();
        for item in items {
            match navigation.iter_mut().find(|(group, _)| *group == item.group) {
                Some((_, items)) => items.push(item),
                None => navigation.push((item.group, vec![item])),
            }
        }
        Shell {
            title: title.into(),
            active,
            site: "Plant 03 · Lyon".into(),
            person: "Inès Moreau".into(),
            role: "owner".into(),
            looks_as: String::new(),
            zone: "UTC".into(),
            csrf: "0f1e2d3c4b5a69788796a5b4c3d2e1f0".into(),
            theme: "",
            navigation,
            flash: None,
            notices: Vec::new(),
            counts: Vec::new(),
            live: "overview,agents:filter=site%3Alyon".into(),
            assets: "/static/test".into(),
            help: "/help/agents#health",
        }
    }

    /// Renders, checks the rules that hold for every page, and keeps the page for the eye.
    pub(crate) fn page(name: &str, template: &impl askama::Template) -> String {
        let html = template.render().expect("the page renders");
        assert!(!html.contains("style="), "{name}: a style attribute");
        assert!(!html.contains("<style"), "{name}: a style element");
        for script in html.split("<script").skip(1) {
            assert!(script.trim_start().starts_with("src="), "{name}: an inline script");
        }
        for tag in html.split('<').filter_map(|rest| rest.split('>').next()) {
            let handler = tag.split_whitespace().skip(1).any(|a| a.starts_with("on") && a.contains('='));
            assert!(!handler, "{name}: a handler in <{tag}>");
        }
        for icon in html.split("icons.svg#").skip(1).filter_map(|rest| rest.split('"').next()) {
            assert!(SPRITE.contains(&format!("id=\"{icon}\"")), "{name}: no icon {icon}");
        }
        for form in html.split("<form").skip(1) {
            let form = form.split("</form>").next().unwrap_or_default();
            if form.contains("method=\"post\"") {
                assert!(
                    form.contains("name=\"csrf\" value=\"0f1e"),
                    "{name}: a form without its token: {form}"
                );
            }
        }
        // The one scheme that a page may name: it leads nowhere.
        let html_bare = html.replace("secret://", "");
        for old in ["hx-ext=", "sse-connect", "hx-on", "hx-vars", "js:", "NaN", "://"] {
            assert!(!html_bare.contains(old), "{name}: {old}");
        }
        let folder = std::env::temp_dir().join("muster-pages");
        std::fs::create_dir_all(&folder).expect("the temporary folder");
        std::fs::write(folder.join(format!("{name}.html")), &html).expect("the page is written");
        html
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Error;

    #[test]
    fn outcomes_come_back_as_a_flash() {
        let Reply::Redirect(to, _) = told("/agents?tab=x", Ok("Agent `a&b` approved".into())).unwrap() else {
            panic!("not a redirect");
        };
        assert_eq!(to, "/agents?tab=x&flash=ok%3AAgent+%60a%26b%60+approved");
        assert!(told("/", Err(Error::conflict("it has ended"))).is_ok());
        assert!(told("/", Err(Error::forbidden("no"))).is_err());
    }

    #[test]
    fn times_are_elements() {
        let now = Timestamp::from_milliseconds(1_790_000_000_000);
        assert!(Markup::ago(Some(now), now).0.contains(">0 s</time>"));
        assert_eq!(Markup::ago(None, now).0, "—");
        assert_eq!(Markup::at(None).0, "—");
        // Whoever looks reads their own clock; what programs read is UTC.
        let utc = "<time datetime=\"2026-09-21T14:13:20.000Z\">2026-09-21 14:13 UTC</time>";
        assert_eq!(Markup::minute(&now).0, utc);
        crate::kit::Zone::named("Asia/Tokyo").during(|| {
            assert_eq!(Markup::minute(&now).0, utc.replace("14:13 UTC", "23:13 JST"));
            assert!(Markup::ago(Some(now), now).0.contains("title=\"2026-09-21 23:13:20 JST\""));
            assert!(Markup::at(Some(now)).0.contains(">21 Sep 2026 23:13:20 JST<"));
            assert!(Markup::exact(&now).0.contains(">2026-09-21 23:13:20.000 JST<"));
            assert!(Markup::day(&now).0.contains(">2026-09-21</time>"));
        });
    }
}
