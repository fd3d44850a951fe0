//! What a client may be called and may do.

use serde::{Deserialize, Serialize};

use crate::base::{Error, Result, Timestamp};

/// Bytes of a client's identifier.
const ID_BYTES_MAX: usize = 64;
/// Filters of one kind that a client may have.
const FILTERS_MAX: usize = 16;
/// Bytes of a filter.
const FILTER_BYTES_MAX: usize = 200;

/// A client as stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Client {
    /// Client identifier and user name.
    pub(super) id: String,
    /// Filters of topics that it may publish to.
    #[serde(default)]
    pub(super) publish: Vec<String>,
    /// Filters that its subscriptions must lie within.
    #[serde(default)]
    pub(super) subscribe: Vec<String>,
    /// When it was made.
    pub(super) created: Timestamp,
    /// Digest of its secret.
    pub(super) secret: Vec<u8>,
}

/// Checks an identifier: it must not look like an agent's, nor break a topic.
pub(super) fn check_id(id: &str) -> Result<()> {
    let sound = !id.is_empty()
        && id.len() <= ID_BYTES_MAX
        && id.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && id != "join";
    if sound {
        return Ok(());
    }
    let shown: String = id.chars().take(80).collect();
    Err(Error::invalid(format!("`{shown}` cannot be the identifier of a client"))
        .hint(format!("use a-z, 0-9 and `-`, at most {ID_BYTES_MAX} characters; `join` is taken")))
}

/// Checks filters. What may be published is under `site/`; what may be heard is that, or what agents say.
pub(super) fn check_filters(what: &str, filters: &[String], roots: &[&str]) -> Result<()> {
    if filters.len() > FILTERS_MAX {
        return Err(Error::invalid(format!("{} filters to {what}", filters.len()))
            .hint(format!("at most {FILTERS_MAX}")));
    }
    for filter in filters {
        let levels: Vec<&str> = filter.split('/').collect();
        let wildcards = levels.iter().enumerate().all(|(at, level)| match *level {
            "#" => at + 1 == levels.len(),
            "+" => true,
            level => !level.is_empty() && !level.contains(['#', '+', '$']),
        });
        let sound = wildcards
            && filter.len() <= FILTER_BYTES_MAX
            && filter.bytes().all(|b| b.is_ascii_graphic())
            && roots.iter().any(|root| filter.starts_with(root))
            && levels.len() > 1;
        if !sound {
            let shown: String = filter.chars().take(80).collect();
            let roots: Vec<String> = roots.iter().map(|root| format!("`{root}…`")).collect();
            return Err(Error::invalid(format!("`{shown}` cannot be a filter to {what}"))
                .hint(format!("it begins with {}, for example `site/line-7/#`", roots.join(" or "))));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_and_filters_are_checked_by_name() {
        assert!(check_id("scada-1").is_ok());
        for id in ["", "join", "Scada", "a/b", "agt_01", &"x".repeat(65)] {
            assert!(check_id(id).is_err(), "{id}");
        }
        let check = |filter: &str| check_filters("publish", &[filter.to_owned()], &["site/"]);
        assert!(check("site/line-7/#").is_ok() && check("site/+/state").is_ok());
        for filter in [
            "",
            "#",
            "site",
            "site/",
            "site/#/x",
            "muster/v1/x",
            "$share/g/site/x",
            "site/a#",
            "other/x",
            "site/é",
        ] {
            assert!(check(filter).unwrap_err().hint_text().unwrap().contains("site"), "{filter}");
        }
    }
}
