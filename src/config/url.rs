//! Checks for URLs in the settings, and how to show them.

use std::net::Ipv4Addr;

use reqwest::Url;

use crate::text::printable;

/// Parses an absolute URL, or returns a clause that says what is wrong. Without `//`, a host and port would be parsed
/// as a scheme and path.
pub(super) fn parse(text: &str) -> Result<Url, String> {
    if !text.contains("://") {
        return Err("does not begin with https://".into());
    }
    Url::parse(text).map_err(|error| format!("is not a URL: {error}"))
}

/// A clause that shows the URL unless it may contain a password.
pub(super) fn quoted(url: &str) -> String {
    if url.contains('@') {
        "is not shown because it may contain a password".into()
    } else {
        format!("is \"{}\"", printable(url))
    }
}

pub(super) fn has_user_info(url: &Url) -> bool {
    !url.username().is_empty() || url.password().is_some()
}

pub(super) fn is_loopback(url: &Url) -> bool {
    match url.host_str() {
        Some("localhost") => true,
        Some(host) => host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback()),
        None => false,
    }
}

pub(super) fn is_link_local(url: &Url) -> bool {
    ipv4(url).is_some_and(|address| address.is_link_local())
}

pub(super) fn ipv4(url: &Url) -> Option<Ipv4Addr> {
    url.host_str()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn names_that_only_look_like_loopback_are_not() {
        for near in ["http://localhost", "http://127.8.9.1", "http://[::1]"] {
            assert!(is_loopback(&url(near)), "{near}");
        }
        for far in ["http://localhost.example", "http://127.0.0.1.example", "http://[::2]", "http://10.0.0.1", "data:x"]
        {
            assert!(!is_loopback(&url(far)), "{far}");
        }
    }

    #[test]
    fn only_ipv4_addresses_are_link_local() {
        assert!(is_link_local(&url("http://169.254.169.254/metadata")));
        assert!(!is_link_local(&url("http://169.253.0.1")) && !is_link_local(&url("http://example")));
    }

    #[test]
    fn a_possible_password_is_not_shown() {
        assert_eq!(quoted("https://a.example/x"), "is \"https://a.example/x\"");
        assert!(!quoted("https://marked@a.example").contains("marked"));
        assert!(has_user_info(&url("https://:p@a")) && has_user_info(&url("https://u@a")));
        assert!(!has_user_info(&url("https://a/@")));
    }
}
