//! Topic names and filters: what is allowed at all, what matches, and what lies within what.

const LEVELS_MAX: usize = 8;
const BYTES_MAX: usize = 256;

/// Printable ASCII within the bounds, no `$` at the beginning. The router panics on less.
fn sound(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= BYTES_MAX
        && text.bytes().all(|b| (0x20..0x7f).contains(&b))
        && !text.starts_with('$')
        && text.split('/').count() <= LEVELS_MAX
}

/// Whether `text` may be published to.
pub(super) fn valid_topic(text: &str) -> bool {
    sound(text) && !text.contains(['+', '#'])
}

/// Whether `text` may be subscribed to, rights aside.
pub(super) fn valid_filter(text: &str) -> bool {
    let mut levels = text.split('/').peekable();
    sound(text)
        && std::iter::from_fn(|| levels.next().map(|level| (level, levels.peek().is_none()))).all(
            |(level, last)| match level {
                "+" => true,
                "#" => last,
                other => !other.contains(['+', '#']),
            },
        )
}

/// Whether everything that `wanted` matches is matched by `allowed` too. A topic is a filter that matches itself.
pub(super) fn covers(allowed: &str, wanted: &str) -> bool {
    let mut wanted = wanted.split('/');
    for level in allowed.split('/') {
        match (level, wanted.next()) {
            // `a/#` matches `a` itself, too.
            ("#", _) => return true,
            (_, None | Some("#")) => return false,
            ("+", Some(_)) => {}
            (level, Some(other)) if level != other => return false,
            _ => {}
        }
    }
    wanted.next().is_none()
}

/// Whether a client of the tenant with this text may subscribe to `filter` under `allowed`. Under `muster/` it sees its
/// own tenant only, whatever the administrator wrote.
pub(super) fn may_subscribe(tenant: &str, allowed: &[String], filter: &str) -> bool {
    let mut levels = filter.split('/');
    let own = match levels.next() {
        Some("+" | "#") => false,
        Some("muster") => levels.next() == Some(crate::wire::VERSION) && levels.next() == Some(tenant),
        _ => true,
    };
    own && allowed.iter().any(|a| covers(a, filter))
}

/// Whether a client may publish to `topic` under `allowed`. The product's own topics stay closed.
pub(super) fn may_publish(allowed: &[String], topic: &str) -> bool {
    topic != "muster" && !topic.starts_with("muster/") && allowed.iter().any(|a| covers(a, topic))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_sound_names_pass() {
        for good in ["a", "a/b", "/", "a//b", "site/line 1/x"] {
            assert!(valid_topic(good) && valid_filter(good), "{good}");
        }
        for filter in ["#", "+", "a/+/b", "a/#", "+/+/#"] {
            assert!(valid_filter(filter) && !valid_topic(filter), "{filter}");
        }
        let long = "x".repeat(257);
        for bad in [
            "",
            "$SYS/x",
            "$share/g/t",
            "a/#/b",
            "a+",
            "a/b#",
            "é/x",
            "a\0",
            "a\n",
            "1/2/3/4/5/6/7/8/9",
            &long,
        ] {
            assert!(!valid_topic(bad) && !valid_filter(bad), "{bad}");
        }
    }

    #[test]
    fn covering_is_matching_for_filters() {
        for (allowed, wanted) in
            [("#", "#"), ("a/#", "a"), ("a/#", "a/+/b"), ("a/+", "a/+"), ("a/+", "a/b"), ("a/b", "a/b")]
        {
            assert!(covers(allowed, wanted), "{allowed} {wanted}");
        }
        for (allowed, wanted) in
            [("a/+", "a/#"), ("a/b", "a/+"), ("+", "#"), ("a/+", "a"), ("a", "a/b"), ("a/+/c", "a/#")]
        {
            assert!(!covers(allowed, wanted), "{allowed} {wanted}");
        }
    }

    #[test]
    fn the_products_topics_are_closed_to_clients() {
        let all = [String::from("#")];
        assert!(may_subscribe("t1", &all, "site/#") && may_subscribe("t1", &all, "muster/v1/t1/#"));
        for filter in ["#", "+/v1/t2/#", "muster/#", "muster/v1/+/a", "muster/v1/t2/#", "muster/v2/t1/#"] {
            assert!(!may_subscribe("t1", &all, filter), "{filter}");
        }
        assert!(may_publish(&all, "site/x") && !may_publish(&all, "muster/v1/t1/a/up/task"));
    }
}
