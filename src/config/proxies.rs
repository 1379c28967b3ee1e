//! The proxy variables, which the HTTP client reads itself.

use super::reader::Reader;

/// The variables that name a proxy.
pub(crate) const PROXIES: [&str; 6] =
    ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"];

impl Reader<'_> {
    /// The HTTP client silently ignores a proxy that it cannot parse, so invalid values are rejected here. A proxy URL may
    /// contain a password, so no message shows it.
    pub(super) fn proxies(&mut self) {
        for name in PROXIES {
            let Some(value) = self.variable(name) else { continue };
            let value = value.trim();
            let whole = if value.contains("://") { value.to_owned() } else { format!("http://{value}") };
            let url = reqwest::Url::parse(&whole).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
            if url.is_none() || !value.bytes().all(|byte| byte.is_ascii_graphic()) || value.matches('@').count() > 1 {
                self.wrong(
                    name,
                    "must be a proxy address such as http://proxy.example:8080, with special characters in the password \
                     percent-encoded; its value is not shown"
                        .into(),
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::read;
    use super::*;
    use crate::cli::Settings;

    #[test]
    fn a_proxy_that_the_client_would_ignore_is_rejected_and_not_shown() {
        let complaint = |name: &str, proxy: &str| {
            let read = read(&Settings::default(), &[(name, proxy)], Reader::proxies);
            read.err().map(|error| error.to_string()).unwrap_or_default()
        };
        for right in [
            "proxy:8080",
            "http://proxy.example:8080",
            "https://user:p%40ss@proxy/",
            " ",
            "10.0.0.1:3128",
            "http://[::1]:1",
        ] {
            assert_eq!(complaint("HTTPS_PROXY", right), "", "{right}");
        }
        for wrong in [
            "http://user:mar ked@proxy",
            "user:m@rked@proxy",
            "http://user:marked/@proxy",
            "socks5://marked",
            "http://",
            "marked:port",
        ] {
            let said = complaint("https_proxy", wrong);
            assert!(
                said.starts_with("https_proxy must be a proxy address") && !said.contains("rked"),
                "{wrong}: {said}"
            );
        }
    }
}
