//! The settings of `init --apply`, which sets up Port.

use super::NetworkConfig;
use super::error::ConfigError;
use super::limits::Limits;
use super::port::{Need, Payload, PortApi};
use super::reader::{Environment, Reader};
use super::signing::SigningConfig;
use crate::cli::{InitArgs, Settings};

/// What is needed to set up Port. Loading it needs no Azure settings.
#[derive(Clone, Debug)]
pub struct SetUpConfig {
    /// How to reach Port.
    pub network: NetworkConfig,
    /// Port's API and its credentials.
    pub api: PortApi,
    /// `None` if entities are written over the API, without a webhook.
    pub webhook: Option<WebhookConfig>,
    /// What is synced.
    pub coverage: Coverage,
    /// Only shows what would change.
    pub dry_run: bool,
    /// Not configurable, as for a run.
    pub limits: Limits,
}

/// What the blueprints and the mapping cover.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coverage {
    /// Azure's resources alone.
    Resources,
    /// Azure's resources and Entra ID.
    ResourcesAndEntra,
}

/// What the webhook must support.
#[derive(Clone, Debug)]
pub struct WebhookConfig {
    /// What one post contains.
    pub payload: Payload,
    /// `None`: posts are not signed.
    pub signing: Option<SigningConfig>,
}

impl SetUpConfig {
    /// Loads all settings, or returns every invalid one.
    pub fn load(args: &InitArgs, settings: &Settings, environment: Environment<'_>) -> Result<Self, ConfigError> {
        let mut reader = Reader::new(settings, environment);
        let network = NetworkConfig { proxies: reader.proxies(), certificates: reader.certificates() };
        let webhook = WebhookConfig { payload: reader.payload(), signing: reader.signing() };
        let has_webhook = reader.mapping_file().is_none();
        if args.gh_secret && !has_webhook {
            reader.wrong("--gh-secret", "has nothing to hand over: with MAPPING_FILE there is no webhook".into());
        }
        let coverage = if reader.entra().kinds.is_empty() { Coverage::Resources } else { Coverage::ResourcesAndEntra };
        let dry_run = reader.flag("DRY_RUN", settings.dry_run.as_deref());
        let api = reader.port_api(Need::Required);
        let webhook = has_webhook.then_some(webhook);
        let config = |api| Self { network, api, webhook, coverage, dry_run, limits: Limits::default() };
        // A missing API is reported as a problem.
        reader.finish(api)?.map(config).ok_or(ConfigError(Vec::new()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const APPLY: InitArgs =
        InitArgs { files: Vec::new(), write: None, force: false, apply: true, yes: false, gh_secret: false };

    fn load(args: &InitArgs, settings: &Settings) -> Result<SetUpConfig, String> {
        let environment = |name: &str| (name == "PORT_CLIENT_SECRET").then(|| "secret".into());
        SetUpConfig::load(args, settings, &environment).map_err(|error| error.to_string())
    }

    #[test]
    fn credentials_of_port_are_all_that_is_needed() {
        let settings = Settings { port_client_id: Some("id".into()), ..Settings::default() };
        let config = load(&InitArgs { gh_secret: true, ..APPLY }, &settings).unwrap();
        assert_eq!(config.api.base_url.as_str(), "https://api.port.io/");
        assert!(config.webhook.is_some_and(|webhook| webhook.signing.is_none()));
        assert!(load(&APPLY, &Settings::default()).unwrap_err().starts_with("PORT_CLIENT_ID is not set"));
        let wrong = Settings { port_base_url: Some("x".into()), ..settings };
        assert!(load(&APPLY, &wrong).unwrap_err().starts_with("PORT_BASE_URL"));
    }

    #[test]
    fn with_a_mapping_file_there_is_no_webhook_and_no_url_to_hand_over() {
        let settings =
            Settings { port_client_id: Some("id".into()), mapping_file: Some("m.yml".into()), ..Settings::default() };
        assert!(load(&APPLY, &settings).unwrap().webhook.is_none());
        assert!(
            load(&InitArgs { gh_secret: true, ..APPLY }, &settings)
                .unwrap_err()
                .starts_with("--gh-secret has nothing to hand over")
        );
    }
}
