//! How posts are signed, so that Port can verify their sender.

use reqwest::header::HeaderName;
use secrecy::SecretString;

use super::reader::Reader;
use super::value::Form;
use crate::text::printable;

const SECRET: &str = "PORT_WEBHOOK_SECRET";
const HEADER: &str = "PORT_WEBHOOK_SIGNATURE_HEADER";
const PREFIX: &str = "PORT_WEBHOOK_SIGNATURE_PREFIX";

/// The defaults in Port's documentation.
const DEFAULT_HEADER: HeaderName = HeaderName::from_static("x-port-signature");
const DEFAULT_PREFIX: &str = "sha256=";

/// Headers that every request already has, or that proxies interpret.
const RESERVED: [&str; 9] = [
    "accept",
    "accept-encoding",
    "authorization",
    "connection",
    "content-length",
    "content-type",
    "host",
    "user-agent",
    "x-delivery-id",
];

/// Every body is signed with HMAC-SHA256. Port also accepts SHA-1 and the plain secret; both are too weak to offer here.
#[derive(Clone, Debug)]
pub struct SigningConfig {
    /// The secret configured in Port.
    pub secret: SecretString,
    /// The header that carries the signature. Never a reserved one.
    pub header: HeaderName,
    /// Printable ASCII that precedes the hexadecimal digits.
    pub prefix: String,
}

impl Reader<'_> {
    pub(super) fn signing(&mut self) -> Option<SigningConfig> {
        let header = self.set(HEADER, self.settings.port_webhook_signature_header.as_deref(), Form::Plain);
        let header = match header.map(|text| (text, text.parse::<HeaderName>())) {
            None => DEFAULT_HEADER,
            Some((_, Ok(name))) if !RESERVED.contains(&name.as_str()) => name,
            Some((text, Ok(_))) => {
                self.wrong(HEADER, format!("is \"{}\": that header is reserved", printable(text)));
                DEFAULT_HEADER
            }
            Some((text, Err(_))) => {
                self.wrong(
                    HEADER,
                    format!("is \"{}\": expected a header name such as {DEFAULT_HEADER}", printable(text)),
                );
                DEFAULT_HEADER
            }
        };
        let prefix = self.set(PREFIX, self.settings.port_webhook_signature_prefix.as_deref(), Form::Plain);
        let prefix = prefix.unwrap_or(DEFAULT_PREFIX);
        if !prefix.bytes().all(|byte| byte.is_ascii_graphic()) {
            self.wrong(
                PREFIX,
                format!("is \"{}\": expected printable ASCII characters such as {DEFAULT_PREFIX}", printable(prefix)),
            );
        }
        let secret = self.variable(SECRET)?;
        Some(SigningConfig { secret: secret.trim().into(), header, prefix: prefix.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Settings;

    fn signing(settings: &Settings, secret: Option<&'static str>) -> Result<Option<SigningConfig>, String> {
        let environment = |name: &str| secret.filter(|_| name == SECRET).map(Into::into);
        let mut reader = Reader::new(settings, &environment);
        let signing = reader.signing();
        reader.finish(signing).map_err(|error| error.to_string())
    }

    #[test]
    fn without_a_secret_nothing_is_signed() {
        assert!(signing(&Settings::default(), None).unwrap().is_none());
        assert!(signing(&Settings::default(), Some(" ")).unwrap().is_none());
    }

    #[test]
    fn header_and_prefix_default_to_those_of_port() {
        let default = signing(&Settings::default(), Some("s")).unwrap().unwrap();
        assert_eq!((default.header.as_str(), default.prefix.as_str()), ("x-port-signature", "sha256="));
        let settings = Settings {
            port_webhook_signature_header: Some("X-Hub-Signature-256".into()),
            port_webhook_signature_prefix: Some("v1=".into()),
            ..Settings::default()
        };
        let own = signing(&settings, Some("s")).unwrap().unwrap();
        assert_eq!((own.header.as_str(), own.prefix.as_str()), ("x-hub-signature-256", "v1="));
    }

    #[test]
    fn an_invalid_or_reserved_header_is_rejected_even_without_a_secret() {
        for (header, said) in [("x y", "expected a header name"), ("Content-Type", "is reserved")] {
            let settings = Settings { port_webhook_signature_header: Some(header.into()), ..Settings::default() };
            let error = signing(&settings, None).unwrap_err();
            assert!(error.starts_with(HEADER) && error.contains(said), "{error}");
        }
        let settings = Settings { port_webhook_signature_prefix: Some("a\nb".into()), ..Settings::default() };
        assert!(signing(&settings, None).unwrap_err().starts_with(PREFIX));
    }

    #[test]
    fn the_secret_does_not_show_in_debug() {
        let shown = format!("{:?}", signing(&Settings::default(), Some("marked-secret")));
        assert!(!shown.contains("marked"), "{shown}");
    }
}
