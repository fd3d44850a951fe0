//! Query strings, form bodies and the way back from a form.

use std::collections::BTreeMap;

use actix_web::HttpRequest;

use crate::base::{Error, Result};

/// Pairs of a query string or a form body, in their order.
pub(super) fn pairs(text: &[u8]) -> Result<Vec<(String, String)>> {
    serde_urlencoded::from_bytes(text)
        .map_err(|e| Error::invalid("the form is not valid").hint("send it as a browser would").because(e))
}

/// Fields by name; one that occurs several times is joined by commas.
pub(super) fn fields(pairs: Vec<(String, String)>) -> BTreeMap<String, String> {
    let mut fields: BTreeMap<String, String> = BTreeMap::new();
    for (name, value) in pairs {
        fields
            .entry(name)
            .and_modify(|have| {
                have.push(',');
                have.push_str(&value);
            })
            .or_insert(value);
    }
    fields
}

/// The named parts of the path, decoded.
pub(super) fn parameters(request: &HttpRequest) -> Result<BTreeMap<String, String>> {
    let parts = request.match_info().iter();
    parts.map(|(name, value)| Ok((name.to_owned(), decode(value)?))).collect()
}

/// The router decodes all but `%25`, `%2F` and `%2B`, which would change where a part ends.
fn decode(part: &str) -> Result<String> {
    let mut bytes = Vec::with_capacity(part.len());
    let mut rest = part.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let digits = after.get(..2).filter(|_| *first == b'%').and_then(|d| std::str::from_utf8(d).ok());
        match digits.and_then(|d| u8::from_str_radix(d, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8(bytes).map_err(|e| Error::invalid("the path is not UTF-8").because(e))
}

/// The page that a form was on, with a message that it failed; none when the browser does not say, or names another
/// site. `referer` is the header's text, `host` that of the request.
pub(super) fn back(referer: &str, host: &str, message: &str) -> Option<String> {
    let local = came_from(referer, host)?;
    let (path, query) = local.split_once('?').unwrap_or((&local, ""));
    let mut pairs: Vec<(String, String)> = pairs(query.as_bytes()).unwrap_or_default();
    pairs.retain(|(name, _)| name != "flash");
    pairs.push(("flash".into(), format!("error:{message}")));
    Some(format!("{path}?{}", serde_urlencoded::to_string(pairs).ok()?))
}

/// The page of ours that a request came from, if the browser says so.
pub(super) fn came_from(referer: &str, host: &str) -> Option<String> {
    let local = referer.strip_prefix("https://")?.strip_prefix(host)?;
    let local = if local.is_empty() { "/" } else { local };
    let local = local.split('#').next().unwrap_or("/");
    is_local(local).then(|| local.to_owned())
}

/// Whether a browser that is sent there stays with us: `/path`, and not `//host` or `/\host`.
pub(super) fn is_local(target: &str) -> bool {
    target.starts_with('/')
        && !target.starts_with("//")
        && !target.contains('\\')
        && target.bytes().all(|b| (0x21..0x7f).contains(&b))
}

/// A value for a query string.
pub(super) fn escape(text: &str) -> String {
    serde_urlencoded::to_string([("", text)]).map(|t| t[1..].to_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_that_repeat_are_joined() {
        let fields = fields(pairs(b"agent=a&agent=b&note=x+y%26z&empty=").unwrap());
        assert_eq!(fields["agent"], "a,b");
        assert_eq!(fields["note"], "x y&z");
        assert_eq!(fields["empty"], "");
    }

    #[test]
    fn the_way_back_stays_on_this_site() {
        let host = "site.lan:8443";
        assert_eq!(
            back("https://site.lan:8443/agents?filter=a&flash=ok%3Aold", host, "no `x`").unwrap(),
            "/agents?filter=a&flash=error%3Ano+%60x%60"
        );
        assert_eq!(back("https://site.lan:8443", host, "no").unwrap(), "/?flash=error%3Ano");
        for referer in
            ["https://evil.example/agents", "http://site.lan:8443/", "https://site.lan:8443.evil/", ""]
        {
            assert_eq!(back(referer, host, "no"), None, "{referer}");
        }
    }

    #[test]
    fn parts_of_the_path_are_decoded_once() {
        for (part, expected) in
            [("a%2Fb", "a/b"), ("100%25", "100%"), ("%252F", "%2F"), ("50%", "50%"), ("é", "é")]
        {
            assert_eq!(decode(part).unwrap(), expected);
        }
        assert!(decode("%FF").is_err());
    }

    #[test]
    fn only_paths_are_local() {
        assert!(is_local("/agents?x=1"));
        for target in ["//evil", "/\\evil", "https://evil", "agents", "/a\r\nset-cookie: x", ""] {
            assert!(!is_local(target), "{target}");
        }
        assert_eq!(escape("/a?b=c&d"), "%2Fa%3Fb%3Dc%26d");
    }
}
