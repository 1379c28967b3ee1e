//! The proxy in between: whether there is one, and what it says when it opens no tunnel.

use std::time::Duration;

use hyper_util::client::proxy::matcher::Matcher;
use reqwest::{ClientBuilder, Proxy, Url};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Failure, Obstacle};
use crate::config::Proxies;
use crate::error::Cause;

/// The timeout for asking a proxy again: one that has just refused a tunnel refuses again at once.
const ASKING: Duration = Duration::from_secs(5);

/// The client's messages for a tunnel that was not opened.
const NEEDS_PASSWORD: &str = "tunnel error: proxy authorization required";
const UNSUCCESSFUL: &str = "tunnel error: unsuccessful";

/// Sends requests through the configured proxies, and ignores the client's own environment variables.
pub(super) fn through(proxies: &Proxies, builder: ClientBuilder) -> ClientBuilder {
    // On these systems, the system settings may name a proxy.
    if proxies.is_empty() && cfg!(any(windows, target_os = "macos")) {
        return builder;
    }
    let proxies = proxies.clone();
    builder.no_proxy().proxy(Proxy::custom(move |url| proxies.of(url).cloned()))
}

/// Tells a proxy's refusal apart from a failure that may pass. The client does not report the status, so the proxy is
/// asked again.
pub(super) async fn explain(failure: Failure, url: Option<&Url>, proxies: &Proxies) -> Failure {
    let Failure::Connect { source, obstacle: Obstacle::Network } = &failure else { return failure };
    let cause = source.to_string();
    let status = if cause.contains(NEEDS_PASSWORD) {
        Some(407)
    } else if cause.contains(UNSUCCESSFUL) {
        let asked = async { ask(url?, proxies).await };
        tokio::time::timeout(ASKING, asked).await.ok().flatten()
    } else {
        None
    };
    let Some(status) = status.filter(|status| *status != 200) else { return failure };
    let obstacle = if may_pass(status) { Obstacle::Network } else { Obstacle::Proxy };
    let source = Cause::told(format!("the proxy answered CONNECT with status {status}"), source.clone());
    Failure::Connect { source, obstacle }
}

fn may_pass(status: u16) -> bool {
    matches!(status, 408 | 429 | 500..)
}

/// The status that the proxy for this URL answers CONNECT with. `None` if it cannot be asked, such as over TLS.
async fn ask(url: &Url, proxies: &Proxies) -> Option<u16> {
    let proxy = Matcher::builder().all(proxies.of(url)?.as_str()).build().intercept(&url.as_str().parse().ok()?)?;
    let address = proxy.uri();
    if address.scheme_str() != Some("http") {
        return None;
    }
    let target = format!("{}:{}", url.host_str()?, url.port_or_known_default()?);
    let password = proxy.basic_auth().and_then(|value| value.to_str().ok());
    let password = password.map_or_else(String::new, |value| format!("Proxy-Authorization: {value}\r\n"));
    let request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{password}\r\n");
    let mut stream =
        TcpStream::connect(format!("{}:{}", address.host()?, address.port_u16().unwrap_or(80))).await.ok()?;
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut line = [0; "HTTP/1.1 200".len()];
    stream.read_exact(&mut line).await.ok()?;
    status(&line)
}

fn status(line: &[u8]) -> Option<u16> {
    let (_, status) = std::str::from_utf8(line).ok()?.strip_prefix("HTTP/1.")?.split_once(' ')?;
    status.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_told_from_what_may_pass() {
        for refusal in [302, 400, 401, 403, 404, 405, 407] {
            assert!(!may_pass(refusal), "{refusal}");
        }
        for passing in [408, 429, 500, 502, 503, 504, 599] {
            assert!(may_pass(passing), "{passing}");
        }
    }

    #[test]
    fn the_status_is_read_from_the_first_line() {
        assert_eq!(status(b"HTTP/1.0 403"), Some(403));
        assert_eq!(status(b"HTTP/1.1 502"), Some(502));
        for odd in [&b"HTTP/2 403 F"[..], b"<html><body>", b"HTTP/1.1 abc", b"\xff\xff\xff\xff\xff\xff\xff\xff 403"] {
            assert_eq!(status(odd), None);
        }
    }
}
