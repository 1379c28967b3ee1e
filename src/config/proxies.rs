//! The proxy for requests. Only this module reads the variables: the HTTP client has its own rules, by which a trailing
//! newline, an empty name or `REQUEST_METHOD` silently turns a proxy off.

use std::net::IpAddr;

use ipnet::IpNet;
use reqwest::Url;

use super::reader::Reader;
use super::value::Form;
use crate::secrets;

/// The variables that name a proxy, in order of precedence. Every request that may use one is https.
pub(super) const PROXIES: [&str; 6] =
    ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "HTTP_PROXY", "http_proxy"];

/// The first of them apply to https.
const FOR_HTTPS: usize = 4;

/// The proxy, and the hosts to reach directly.
#[derive(Clone, Default)]
pub struct Proxies {
    proxy: Option<Url>,
    direct: Vec<Direct>,
}

/// Hides the address, which may contain a password.
impl std::fmt::Debug for Proxies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Proxies").field("is_set", &self.proxy.is_some()).field("direct", &self.direct).finish()
    }
}

/// An entry of `NO_PROXY`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Direct {
    hosts: Hosts,
    /// `None` for any port.
    port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Hosts {
    All,
    Network(IpNet),
    /// This domain and its subdomains, in lower case.
    Domain(String),
}

impl Proxies {
    /// Whether neither a proxy nor a direct host is set.
    pub(crate) fn is_empty(&self) -> bool {
        self.proxy.is_none() && self.direct.is_empty()
    }

    /// The proxy for this URL.
    pub(crate) fn of(&self, url: &Url) -> Option<&Url> {
        let host = url.host_str()?.trim_matches(['[', ']']).trim_end_matches('.').to_ascii_lowercase();
        let port = url.port_or_known_default();
        self.proxy.as_ref().filter(|_| !self.direct.iter().any(|direct| direct.covers(&host, port)))
    }
}

impl Direct {
    /// Parses `*`, an address, a network or a domain, each with an optional port.
    fn parse(entry: &str) -> Option<Self> {
        let network = |text: &str| {
            let text = text.trim_matches(['[', ']']);
            text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
        };
        if let Some(network) = network(entry) {
            return Some(Self { hosts: Hosts::Network(network), port: None });
        }
        let (name, port) = match entry.rsplit_once(':') {
            Some((name, port)) => (name, Some(port.parse().ok()?)),
            None => (entry, None),
        };
        let hosts = match (name, network(name)) {
            ("*", _) => Hosts::All,
            (_, Some(network)) => Hosts::Network(network),
            (name, None) => {
                let domain = name.trim_start_matches('*').trim_matches('.').to_ascii_lowercase();
                Hosts::Domain(Some(domain).filter(|domain| !domain.is_empty())?)
            }
        };
        Some(Self { hosts, port })
    }

    fn covers(&self, host: &str, port: Option<u16>) -> bool {
        let is_host = match &self.hosts {
            Hosts::All => true,
            Hosts::Network(network) => host.parse::<IpAddr>().is_ok_and(|address| network.contains(&address)),
            Hosts::Domain(domain) => {
                let below = host.strip_suffix(domain.as_str()).filter(|_| host.parse::<IpAddr>().is_err());
                below.is_some_and(|below| below.is_empty() || below.ends_with('.'))
            }
        };
        is_host && (self.port.is_none() || self.port == port)
    }
}

impl Reader<'_> {
    /// Validates all variables, including unused ones. No message shows an address, because it may contain a password.
    pub(super) fn proxies(&mut self) -> Proxies {
        let addresses = PROXIES.map(|name| {
            let value = self.variable(name)?;
            secrets::keep_password_of(value.trim());
            let url = address(value.trim());
            if url.is_none() {
                self.wrong(
                    name,
                    "must be a proxy address such as http://proxy.example:8080, with special characters in the password \
                     percent-encoded; its value is not shown"
                        .into(),
                );
            }
            url
        });
        let lists = ["NO_PROXY", "no_proxy"].map(|name| self.variable_of(name, Form::Lines));
        let list = lists.into_iter().flatten().next().unwrap_or_default();
        Proxies {
            proxy: addresses.into_iter().take(FOR_HTTPS).flatten().next(),
            direct: list.split(|c: char| c == ',' || c.is_whitespace()).filter_map(Direct::parse).collect(),
        }
    }
}

fn address(text: &str) -> Option<Url> {
    let whole = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    let is_plain = text.bytes().all(|byte| byte.is_ascii_graphic()) && text.matches('@').count() <= 1;
    Url::parse(&whole).ok().filter(|url| is_plain && matches!(url.scheme(), "http" | "https"))
}

#[cfg(test)]
mod tests {
    use super::super::testing::read;
    use super::*;
    use crate::cli::Settings;

    fn proxies(variables: &[(&str, &str)]) -> Result<Proxies, String> {
        read(&Settings::default(), variables, Reader::proxies).map_err(|error| error.to_string())
    }

    fn used(variables: &[(&str, &str)], url: &str) -> Option<String> {
        proxies(variables).unwrap().of(&url.parse().unwrap()).map(ToString::to_string)
    }

    #[test]
    fn an_address_that_is_none_is_rejected_and_not_shown() {
        for right in ["proxy:8080", "http://proxy.example:8080", "https://user:p%40ss@proxy/", " ", "10.0.0.1:3128"] {
            assert!(proxies(&[("HTTPS_PROXY", right)]).is_ok(), "{right}");
        }
        for wrong in [
            "http://user:mar ked@proxy",
            "user:m@rked@proxy",
            "http://user:marked/@proxy",
            "socks5://marked",
            "http://",
            "marked:port",
        ] {
            for name in PROXIES {
                let said = proxies(&[(name, wrong)]).unwrap_err();
                assert!(
                    said.starts_with(&format!("{name} must be a proxy address")) && !said.contains("rked"),
                    "{said}"
                );
            }
        }
    }

    #[test]
    fn the_first_that_is_set_is_used_without_the_white_space_around_it() {
        const URL: &str = "https://x.example/";
        let used = |variables: &[(&str, &str)]| used(variables, URL);
        let proxy = Some("http://proxy.example:8080/".to_owned());
        for value in ["http://proxy.example:8080\n", " proxy.example:8080 ", "http://proxy.example:8080/\r\n"] {
            assert_eq!(used(&[("HTTPS_PROXY", value)]), proxy, "{value:?}");
        }
        for name in ["https_proxy", "ALL_PROXY", "all_proxy"] {
            assert_eq!(used(&[("HTTPS_PROXY", ""), (name, "proxy.example:8080")]), proxy, "{name}");
        }
        let both = [("HTTPS_PROXY", "proxy.example:8080"), ("https_proxy", "other:1"), ("ALL_PROXY", "third:1")];
        assert_eq!(used(&both), proxy);
        assert_eq!(used(&[("HTTP_PROXY", "proxy.example:8080")]), None, "it is for http");
        assert_eq!(used(&[("HTTPS_PROXY", "proxy.example:8080"), ("REQUEST_METHOD", "GET")]), proxy);
    }

    #[test]
    fn a_list_of_hosts_takes_commas_spaces_ports_networks_and_a_star() {
        let direct = |list: &str, url: &str| {
            used(&[("HTTPS_PROXY", "proxy:1"), ("NO_PROXY", list)], url).is_none()
                && used(&[("HTTPS_PROXY", "proxy:1"), ("NO_PROXY", ""), ("no_proxy", list)], url).is_none()
        };
        for (list, url) in [
            ("*", "https://x.example"),
            ("a,*", "https://127.0.0.1"),
            ("x.example", "https://X.example/"),
            ("x.example", "https://y.x.example"),
            ("x.example", "https://x.example."),
            (".x.example", "https://y.x.example"),
            ("*.x.example", "https://y.x.example"),
            ("a b\n\tx.example", "https://x.example"),
            ("a, x.example ,b", "https://x.example"),
            ("X.EXAMPLE:443", "https://x.example"),
            ("x.example:8443", "https://x.example:8443"),
            ("*:8443", "https://x.example:8443"),
            ("127.0.0.1", "https://127.0.0.1:9"),
            ("127.0.0.1:9", "https://127.0.0.1:9"),
            ("10.0.0.0/8", "https://10.1.2.3"),
            ("::1", "https://[::1]:9"),
            ("[::1]:9", "https://[::1]:9"),
            ("fd00::/8", "https://[fd12::1]"),
        ] {
            assert!(direct(list, url), "{list:?} {url}");
        }
        for (list, url) in [
            ("", "https://x.example"),
            (",", "https://x.example"),
            ("x.example", "https://notx.example"),
            ("x.example:8443", "https://x.example"),
            ("x.example:port", "https://x.example"),
            ("10.0.0.0/8", "https://11.0.0.1"),
            ("10.0.0.0/99", "https://10.0.0.1"),
            ("127.0.0.1:9", "https://127.0.0.1:10"),
            ("1", "https://10.0.0.1"),
        ] {
            assert!(!direct(list, url), "{list:?} {url}");
        }
    }

    #[test]
    fn no_password_shows_in_debug() {
        let proxies = proxies(&[("HTTPS_PROXY", "user:marked-password@proxy:1"), ("NO_PROXY", "x")]).unwrap();
        assert!(!format!("{proxies:?}").contains("marked"), "{proxies:?}");
    }
}
