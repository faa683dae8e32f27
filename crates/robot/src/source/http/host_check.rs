//! Keeps web pages out: only requests that were meant for this machine, by a program or page of this machine, are answered.
//!
//! Loopback alone does not do that: a page on the web can have a browser send requests to 127.0.0.1, also under a name of its
//! own that it points there.
//!
//! **Invariant:** pure: header values in, a verdict out.

use std::net::IpAddr;

use recording::{Error, Kind, Result};

/// Checks the `Host`, `Origin` and `Sec-Fetch-Site` of a request, and the type of what it posts.
///
/// # Errors
/// `Denied` for a foreign host or origin; `Invalid` for a post that is not JSON.
pub(crate) fn check(host: Option<&str>, origin: Option<&str>, site: Option<&str>, posts: bool, content_type: Option<&str>) -> Result<()> {
    let host = host.unwrap_or_default();
    if !is_loopback(host) {
        return Err(Error::new(Kind::Denied, format!("request for the host '{host}': use 127.0.0.1 or localhost")));
    }
    let foreign = |origin: &&str| !origin.split_once("://").is_some_and(|(_, host)| is_loopback(host));
    if let Some(origin) = origin.filter(foreign) {
        return Err(Error::new(Kind::Denied, format!("request from a page of '{origin}': only pages of this machine may ask")));
    }
    // A picture or a script that a page asks for says nothing of its origin.
    if site.is_some_and(|site| site.eq_ignore_ascii_case("cross-site")) {
        return Err(Error::new(Kind::Denied, "request from a page of elsewhere: open this address by itself"));
    }
    let media_type = content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    if posts && !media_type.eq_ignore_ascii_case("application/json") {
        return Err(Error::invalid(format!("content type '{media_type}': send JSON, as application/json")));
    }
    Ok(())
}

fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_may_ask() {
        let allowed = |host, origin| check(host, origin, None, false, None).is_ok();
        for host in ["127.0.0.1:8621", "localhost", "LOCALHOST:1", "[::1]:8621", "127.0.0.2"] {
            assert!(allowed(Some(host), None), "{host}");
        }
        for host in ["", "evil.example", "127.0.0.1.evil.example", "localhost.evil.example:8621", "10.0.0.1", "[::2]:1", "["] {
            assert!(!allowed(Some(host), None), "{host}");
        }
        assert!(!allowed(None, None));
        assert!(allowed(Some("localhost"), Some("http://localhost:5173")));
        for origin in ["http://evil.example", "null", "", "http://localhost.evil.example", "file://"] {
            assert!(!allowed(Some("localhost"), Some(origin)), "{origin}");
        }
        let asked_by = |site| check(Some("localhost"), None, site, false, None).is_ok();
        assert!(asked_by(Some("same-origin")) && asked_by(Some("none")) && !asked_by(Some("cross-site")));
    }

    #[test]
    fn only_json_may_be_posted() {
        let posts = |content_type| check(Some("localhost"), None, None, true, content_type).is_ok();
        assert!(posts(Some("application/json")));
        assert!(posts(Some("Application/JSON; charset=utf-8")));
        assert!(!posts(Some("text/plain")));
        assert!(!posts(Some("application/x-www-form-urlencoded")));
        assert!(!posts(None));
    }
}
