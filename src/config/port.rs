//! How a run reaches Port.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use reqwest::Url;
use secrecy::SecretString;

use super::reader::Reader;
use super::secret_url::SecretUrl;
use super::signing::SigningConfig;
use super::url::{has_user_info, is_loopback, parse, quoted};
use super::value::Form;

const MAPPING_FILE: &str = "MAPPING_FILE";
const CLIENT_ID: &str = "PORT_CLIENT_ID";
const CLIENT_SECRET: &str = "PORT_CLIENT_SECRET";
const BASE_URL: &str = "PORT_BASE_URL";

/// Port's regions ("Port API", servers).
const REGIONS: [(&str, &str); 2] = [("eu", "https://api.port.io"), ("us", "https://api.us.port.io")];

/// Where changes are sent.
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
    /// Port's API; `None` if nothing needs it.
    pub api: Option<PortApi>,
    /// The mapping that makes entities from rows, to be written over the API. `None` to send envelopes to the webhook,
    /// whose own mapping does so.
    pub mapping_file: Option<PathBuf>,
    /// Reads posts to the webhook back. `None` to count them as delivered once Port accepts them.
    pub verify: Option<Verify>,
}

/// How posts are read back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verify {
    /// How long an envelope may take to show in the catalog, 1 second to an hour.
    pub limit: Duration,
}

/// How to reach Port's API.
#[derive(Clone, Debug)]
pub struct PortApi {
    /// The client id of an organization's credentials.
    pub client_id: String,
    /// The secret to sign in with.
    pub client_secret: SecretString,
    /// The API's URL in this region, with a trailing slash.
    pub base_url: Url,
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

/// Whether a setting is required.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    Required,
    Optional,
}

impl Reader<'_> {
    /// `need`: whether Port must be reachable, which it need not be in a dry run.
    pub(super) fn port(&mut self, need: Need) -> PortConfig {
        let concurrency =
            self.count("PORT_WEBHOOK_CONCURRENCY", self.settings.port_webhook_concurrency.as_deref(), 200, 25);
        let payload = self.payload();
        let mapping_file = self.mapping_file();
        let ingest_url = self.ingest_url(if mapping_file.is_some() { Need::Optional } else { need });
        if mapping_file.is_some() && ingest_url.is_some() {
            let problem = "is set, and PORT_WEBHOOK_INGEST_URL as well: entities are written over Port's API, or envelopes are \
                           posted to its webhook; unset one of them";
            self.wrong(MAPPING_FILE, problem.into());
        }
        let verify = self.verify().filter(|_| need == Need::Required);
        let api = self.port_api(if mapping_file.is_some() || verify.is_some() { need } else { Need::Optional });
        PortConfig { ingest_url, concurrency, payload, signing: self.signing(), api, mapping_file, verify }
    }

    fn verify(&mut self) -> Option<Verify> {
        const NAME: &str = "VERIFY";
        let limit = self.settings.verify_timeout_seconds.as_deref();
        let limit = self.optional_count("VERIFY_TIMEOUT_SECONDS", limit, 1, 3600).unwrap_or(120);
        if !self.flag(NAME, self.settings.verify.as_deref()) {
            return None;
        }
        if self.settings.mapping_file.as_deref().is_some_and(|text| !text.trim().is_empty()) {
            self.wrong(
                NAME,
                "is for a webhook: with MAPPING_FILE, Port's API reports what became of each entity".into(),
            );
        }
        Some(Verify { limit: Duration::from_secs(limit) })
    }

    pub(super) fn payload(&mut self) -> Payload {
        self.choice(
            "PORT_WEBHOOK_PAYLOAD",
            self.settings.port_webhook_payload.as_deref(),
            &[("single", Payload::Single), ("batch", Payload::Batch)],
        )
    }

    pub(super) fn mapping_file(&mut self) -> Option<PathBuf> {
        self.set(MAPPING_FILE, self.settings.mapping_file.as_deref(), Form::Plain).map(PathBuf::from)
    }

    /// The credentials of Port's API: both or neither.
    pub(super) fn port_api(&mut self, need: Need) -> Option<PortApi> {
        let client_id = self.settings.port_client_id.as_deref();
        let client_id = self.set(CLIENT_ID, client_id, Form::Plain).map(str::to_owned);
        let client_secret = self.variable(CLIENT_SECRET);
        let base_url = self.base_url();
        if need == Need::Optional && client_id.is_none() && client_secret.is_none() {
            return None;
        }
        let hint = "set it to what Port shows under … > Credentials";
        let client_id = self.required(CLIENT_ID, client_id.as_deref(), hint);
        let client_secret = self.required(CLIENT_SECRET, client_secret.as_deref(), hint);
        Some(PortApi { client_id, client_secret: client_secret.into(), base_url: base_url? })
    }

    /// A region by name, or an https URL. It must be https, because the credentials are sent there.
    fn base_url(&mut self) -> Option<Url> {
        let text = self.set(BASE_URL, self.settings.port_base_url.as_deref(), Form::Plain).unwrap_or("eu");
        let region = REGIONS.iter().find(|(name, _)| name.eq_ignore_ascii_case(text));
        let problem = match parse(region.map_or(text, |(_, url)| url)) {
            Ok(url) if has_user_info(&url) || url.query().is_some() || url.fragment().is_some() => {
                "must be a host only".into()
            }
            Ok(url) if url.scheme() == "https" || (url.scheme() == "http" && is_loopback(&url)) => return Some(url),
            Ok(_) => "must be an https URL, because credentials are sent there".into(),
            Err(problem) => problem,
        };
        self.wrong(BASE_URL, format!("{}: {problem}; expected eu, us or a URL", quoted(text)));
        None
    }

    /// No message shows the URL, because it contains a key.
    fn ingest_url(&mut self, need: Need) -> Option<SecretUrl> {
        const NAME: &str = "PORT_WEBHOOK_INGEST_URL";
        let value = self.variable(NAME);
        if value.is_none() && need == Need::Optional {
            return None;
        }
        let value =
            self.required(NAME, value.as_deref(), "set it to the URL of Port's webhook (Data sources > Webhook), or MAPPING_FILE to write entities over Port's API");
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
        read(&Settings::default(), &variables, |reader| reader.port(Need::Required)).map_err(|error| error.to_string())
    }

    #[test]
    fn only_a_dry_run_needs_no_url() {
        let config = read(&Settings::default(), &[], |reader| reader.port(Need::Optional)).unwrap();
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
