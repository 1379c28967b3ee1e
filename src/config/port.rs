//! How a run reaches Port.

use std::num::NonZeroUsize;

use super::reader::Reader;
use super::secret_url::SecretUrl;
use super::signing::SigningConfig;
use super::url::{has_user_info, is_loopback, parse};

/// Where envelopes go.
#[derive(Clone, Debug)]
pub struct PortConfig {
    /// `None` only in a dry run, which does not need it.
    pub ingest_url: Option<SecretUrl>,
    /// How many posts are in flight at once, 1 to 200.
    pub concurrency: NonZeroUsize,
    /// What one post contains.
    pub payload: Payload,
    /// `None`: posts are not signed.
    pub signing: Option<SigningConfig>,
}

/// What one post contains.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Payload {
    /// One envelope, as the mapping in Port's guide expects.
    #[default]
    Single,
    /// A list of envelopes, for a mapping with `itemsToParse`.
    Batch,
}

impl Reader<'_> {
    pub(super) fn port(&mut self, dry_run: bool) -> PortConfig {
        let concurrency =
            self.count("PORT_WEBHOOK_CONCURRENCY", self.settings.port_webhook_concurrency.as_deref(), 200, 25);
        let payload = self.choice(
            "PORT_WEBHOOK_PAYLOAD",
            self.settings.port_webhook_payload.as_deref(),
            &[("single", Payload::Single), ("batch", Payload::Batch)],
        );
        PortConfig { ingest_url: self.ingest_url(dry_run), concurrency, payload, signing: self.signing() }
    }

    /// The URL contains a key, so no message shows it.
    fn ingest_url(&mut self, dry_run: bool) -> Option<SecretUrl> {
        const NAME: &str = "PORT_WEBHOOK_INGEST_URL";
        let value = self.variable(NAME);
        if value.is_none() && dry_run {
            return None;
        }
        let value =
            self.required(NAME, value.as_deref(), "set it to the URL of Port's webhook (Data sources > Webhook)");
        if value.is_empty() {
            return None;
        }
        match parse(&value) {
            Ok(url) if has_user_info(&url) => {
                self.wrong(NAME, "must not contain a user name or password; its value is not shown".into());
                None
            }
            Ok(url) if url.scheme() == "https" || (url.scheme() == "http" && is_loopback(&url)) => {
                Some(SecretUrl::new(&url))
            }
            Ok(_) => {
                self.wrong(
                    NAME,
                    "must be an https URL (http is allowed only for a loopback address); its value is not shown".into(),
                );
                None
            }
            Err(problem) => {
                self.wrong(NAME, format!("{problem}; its value is not shown"));
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::read;
    use super::*;
    use crate::cli::Settings;

    fn port(url: &str) -> Result<PortConfig, String> {
        let variables = [("PORT_WEBHOOK_INGEST_URL", url)];
        read(&Settings::default(), &variables, |reader| reader.port(false)).map_err(|error| error.to_string())
    }

    #[test]
    fn only_a_dry_run_needs_no_url() {
        let config = read(&Settings::default(), &[], |reader| reader.port(true)).unwrap();
        assert!(config.ingest_url.is_none() && config.signing.is_none());
        assert_eq!((config.concurrency.get(), config.payload), (25, Payload::Single));
        assert!(port(" ").unwrap_err().starts_with("PORT_WEBHOOK_INGEST_URL is not set"));
    }

    #[test]
    fn http_is_allowed_only_for_a_loopback_address() {
        for right in ["https://ingest.example/key", "http://localhost/key", "http://127.8.9.1/key", "http://[::1]/key"]
        {
            assert_eq!(port(right).unwrap().ingest_url.unwrap().expose(), right);
        }
        for wrong in ["http://ingest.example/marked", "http://10.0.0.1/marked", "ftp://127.0.0.1/marked", "marked"] {
            let error = port(wrong).unwrap_err();
            assert!(error.starts_with("PORT_WEBHOOK_INGEST_URL ") && !error.contains("marked"), "{error}");
        }
    }

    #[test]
    fn a_password_in_the_url_is_rejected_and_not_shown() {
        let error = port("https://user:marked@ingest.example/key").unwrap_err();
        assert!(
            error.starts_with("PORT_WEBHOOK_INGEST_URL must not contain a user") && !error.contains("marked"),
            "{error}"
        );
    }
}
