//! Signs posts: "Security configuration", Port's webhook documentation.

use hmac::{Hmac, KeyInit, Mac};
use reqwest::header::{HeaderName, HeaderValue};
use secrecy::ExposeSecret;
use sha2::Sha256;

use crate::config::SigningConfig;
use crate::secrets;

/// Signs bodies with one secret.
pub(crate) struct Signer {
    /// Keyed once, then cloned for each body.
    mac: Hmac<Sha256>,
    header: HeaderName,
    prefix: String,
}

impl Signer {
    pub(crate) fn new(config: &SigningConfig) -> Self {
        #[expect(clippy::expect_used, reason = "HMAC takes a key of any length: RFC 2104, section 2")]
        let mac = Hmac::new_from_slice(config.secret.expose_secret().as_bytes()).expect("any key will do");
        secrets::keep(config.secret.expose_secret());
        Self { mac, header: config.header.clone(), prefix: config.prefix.clone() }
    }

    pub(crate) fn header(&self) -> &HeaderName {
        &self.header
    }

    /// The signature of exactly these bytes, marked sensitive so that the HTTP client does not log it.
    pub(crate) fn sign(&self, body: &[u8]) -> HeaderValue {
        let mut mac = self.mac.clone();
        mac.update(body);
        let digest: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        let value = format!("{}{digest}", self.prefix);
        #[expect(
            clippy::expect_used,
            reason = "the prefix was checked with the configuration, and the rest is hexadecimal"
        )]
        let mut value = HeaderValue::try_from(value).expect("visible ASCII");
        value.set_sensitive(true);
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(secret: &str) -> SigningConfig {
        SigningConfig {
            secret: secret.into(),
            header: HeaderName::from_static("x-port-signature"),
            prefix: "sha256=".into(),
        }
    }

    #[test]
    fn a_signature_is_that_of_rfc_4231_case_2() {
        let value = Signer::new(&config("Jefe")).sign(b"what do ya want for nothing?");
        assert_eq!(value, "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
        assert!(value.is_sensitive());
    }

    #[test]
    fn neither_the_secret_nor_a_signature_shows_with_or_without_its_prefix() {
        let value = Signer::new(&config("marked-key-to-sign-with")).sign(b"any");
        let value = value.to_str().unwrap();
        let digest = value.trim_start_matches("sha256=");
        // As a failed post does.
        secrets::keep_signature(value);
        assert_eq!(
            secrets::hide(&format!("{value}, {digest}, marked-key-to-sign-with")),
            "[redacted], [redacted], [redacted]"
        );
    }

    #[test]
    fn a_secret_may_be_longer_than_a_block() {
        assert_eq!(Signer::new(&config(&"s".repeat(1000))).sign(b"").len(), "sha256=".len() + 64);
    }
}
