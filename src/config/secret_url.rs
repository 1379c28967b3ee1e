//! A URL that contains a key.

use std::fmt;

use reqwest::Url;
use secrecy::{ExposeSecret, SecretString};

/// A URL that contains a key. Only its origin is ever shown, even by `Debug`.
#[derive(Clone)]
pub struct SecretUrl {
    whole: SecretString,
    origin: String,
}

impl SecretUrl {
    pub(super) fn new(url: &Url) -> Self {
        Self { whole: url.as_str().into(), origin: url.origin().ascii_serialization() }
    }

    /// The whole URL, for sending a request.
    pub(crate) fn expose(&self) -> &str {
        self.whole.expose_secret()
    }

    /// The scheme, host and port.
    pub fn origin(&self) -> &str {
        &self.origin
    }
}

impl fmt::Debug for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/[redacted]", self.origin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_origin_is_shown() {
        let url = SecretUrl::new(&Url::parse("https://ingest.example:8443/marked?key=marked").unwrap());
        assert_eq!(url.origin(), "https://ingest.example:8443");
        assert_eq!(format!("{url:?}"), "https://ingest.example:8443/[redacted]");
        assert_eq!(url.expose(), "https://ingest.example:8443/marked?key=marked");
    }
}
