//! Which credential signs in. Exactly one is named or inferred, and it is checked for what it needs; none is tried in turn,
//! so that a mistake shows as itself and not as the failure of the last of seven.

use std::io::IsTerminal;

use reqwest::Url;
use secrecy::SecretString;

use super::cloud::Cloud;
use super::credential::{Application, CredentialConfig, CredentialKind, Identity};
use super::reader::{Reader, set};
use super::url::{ipv4, is_link_local, is_loopback, quoted};
use crate::id::is_guid;
use crate::text::printable;

const CREDENTIAL: &str = "AZURE_CREDENTIAL";
const TENANT_ID: &str = "AZURE_TENANT_ID";
const CLIENT_ID: &str = "AZURE_CLIENT_ID";
const SECRET: &str = "AZURE_CLIENT_SECRET";
const ID_TOKEN_URL: &str = "ACTIONS_ID_TOKEN_REQUEST_URL";
const ID_TOKEN_TOKEN: &str = "ACTIONS_ID_TOKEN_REQUEST_TOKEN";
const TOKEN_FILE: &str = "AZURE_FEDERATED_TOKEN_FILE";
const OIDC_URI: &str = "SYSTEM_OIDCREQUESTURI";
const CONNECTION: &str = "AZURESUBSCRIPTION_SERVICE_CONNECTION_ID";
const PIPELINE_TOKEN: &str = "SYSTEM_ACCESSTOKEN";
const CERTIFICATE: &str = "AZURE_CLIENT_CERTIFICATE_PATH";
const CERTIFICATE_PASSWORD: &str = "AZURE_CLIENT_CERTIFICATE_PASSWORD";
const IDENTITY_ENDPOINT: &str = "IDENTITY_ENDPOINT";
/// Secrets are easily put in the place of ids.
const NOT_SHOWN: &str = "; its value is not shown, as it may be a secret";
/// As Microsoft's other libraries name it, to point them at another metadata service.
const METADATA_HOST: &str = "AZURE_POD_IDENTITY_AUTHORITY_HOST";

/// Variables that hold a secret, or lead to one; no child process needs them.
pub(crate) const SECRET_VARIABLES: [&str; 7] = [
    SECRET,
    CERTIFICATE_PASSWORD,
    ID_TOKEN_TOKEN,
    PIPELINE_TOKEN,
    "IDENTITY_HEADER",
    "PORT_WEBHOOK_INGEST_URL",
    "PORT_WEBHOOK_SECRET",
];

/// The first in this order of what is there.
fn infer(is_set: impl Fn(&'static str) -> bool, terminal: bool) -> Option<(CredentialKind, &'static str)> {
    if is_set(SECRET) {
        Some((CredentialKind::ClientSecret, "AZURE_CLIENT_SECRET is set"))
    } else if is_set(ID_TOKEN_URL) && is_set(ID_TOKEN_TOKEN) {
        Some((
            CredentialKind::GithubOidc,
            "GitHub Actions offers ID tokens (ACTIONS_ID_TOKEN_REQUEST_URL) and there is no AZURE_CLIENT_SECRET",
        ))
    } else if is_set(TOKEN_FILE) {
        Some((CredentialKind::WorkloadIdentity, "AZURE_FEDERATED_TOKEN_FILE is set"))
    } else if is_set(OIDC_URI) && is_set(CONNECTION) {
        Some((
            CredentialKind::AzurePipelines,
            "SYSTEM_OIDCREQUESTURI and AZURESUBSCRIPTION_SERVICE_CONNECTION_ID are set",
        ))
    } else if is_set(CERTIFICATE) {
        Some((CredentialKind::ClientCertificate, "AZURE_CLIENT_CERTIFICATE_PATH is set"))
    } else if is_set(IDENTITY_ENDPOINT) {
        Some((CredentialKind::ManagedIdentity, "IDENTITY_ENDPOINT is set"))
    } else if terminal && !is_set(CLIENT_ID) {
        Some((CredentialKind::AzureCli, "nothing else is set, and a person is at the terminal"))
    } else {
        None
    }
}

impl Reader<'_> {
    pub(super) fn credential(&mut self) -> CredentialConfig {
        let (kind, because) = self.credential_kind();
        let identity = match kind {
            CredentialKind::ClientSecret => {
                let application = self.application();
                let value = self.variable(SECRET);
                let secret = self
                    .required(
                        SECRET,
                        value.as_deref(),
                        "the application's secret; for signing in without one, see AZURE_CREDENTIAL in --help",
                    )
                    .into();
                Identity::ClientSecret { application, secret }
            }
            CredentialKind::GithubOidc => {
                const MEANING: &str = "set by GitHub Actions where the job has the permission id-token: write";
                let application = self.application();
                let url = self.secret_destination(ID_TOKEN_URL, MEANING);
                let token = self.variable(ID_TOKEN_TOKEN);
                let token = self.required(ID_TOKEN_TOKEN, token.as_deref(), MEANING).into();
                Identity::GithubOidc { application, url, token }
            }
            CredentialKind::WorkloadIdentity => {
                let application = self.application();
                let file = self.variable(TOKEN_FILE);
                let token_file =
                    self.required(TOKEN_FILE, file.as_deref(), "the path of the pod's service account token").into();
                Identity::WorkloadIdentity { application, token_file }
            }
            CredentialKind::AzurePipelines => {
                let application = self.application();
                let connection = self.variable(CONNECTION);
                let service_connection = self.required(
                    CONNECTION,
                    connection.as_deref(),
                    "the id of the service connection; tasks such as AzureCLI@2 set it",
                );
                let token = self.variable(PIPELINE_TOKEN);
                let access_token = self
                    .required(PIPELINE_TOKEN, token.as_deref(), "the job's $(System.AccessToken), mapped in its env")
                    .into();
                self.secret_destination(OIDC_URI, "set by Azure Pipelines");
                Identity::AzurePipelines { application, service_connection, access_token }
            }
            CredentialKind::ClientCertificate => {
                if !cfg!(feature = "client-certificate") {
                    self.wrong(
                        CREDENTIAL,
                        "means client-certificate, which this build was made without: build it with \
                         --features client-certificate"
                            .into(),
                    );
                }
                let application = self.application();
                let path = self.variable(CERTIFICATE);
                let path = self
                    .required(
                        CERTIFICATE,
                        path.as_deref(),
                        "the path of a PKCS#12 file (.pfx) with the certificate and its key",
                    )
                    .into();
                let password = self.variable(CERTIFICATE_PASSWORD).map(SecretString::from);
                Identity::ClientCertificate { application, path, password }
            }
            CredentialKind::ManagedIdentity => {
                self.identity_endpoint();
                Identity::ManagedIdentity {
                    client_id: set(self.settings.azure_client_id.as_deref()).map(|id| self.checked_client(id)),
                    metadata_host: self.metadata_host(),
                }
            }
            CredentialKind::AzureCli => {
                let tenant_id = set(self.settings.azure_tenant_id.as_deref()).map(|id| self.checked_tenant(id));
                Identity::AzureCli { tenant_id }
            }
        };
        CredentialConfig { identity, because }
    }

    fn credential_kind(&mut self) -> (CredentialKind, &'static str) {
        if let Some(text) = set(self.settings.credential.as_deref()) {
            let named = CredentialKind::ALL.into_iter().find(|kind| kind.name().eq_ignore_ascii_case(text));
            if let Some(kind) = named {
                return (kind, "AZURE_CREDENTIAL names it");
            }
            let names = CredentialKind::ALL.map(CredentialKind::name).join(", ");
            self.wrong(CREDENTIAL, format!("is \"{}\": expected one of {names}", printable(text)));
        }
        let client_id = set(self.settings.azure_client_id.as_deref()).is_some();
        let is_set = |name: &'static str| match name {
            CLIENT_ID => client_id,
            name => (self.environment)(name).is_some_and(|value| !value.to_string_lossy().trim().is_empty()),
        };
        let terminal = std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
        // Where nothing is set, what a service principal lacks is told.
        infer(is_set, terminal).unwrap_or((CredentialKind::ClientSecret, "nothing else is set"))
    }

    fn application(&mut self) -> Application {
        // Tasks of Azure Pipelines name the service connection's own in these.
        let tenant = self.variable("AZURESUBSCRIPTION_TENANT_ID");
        let client = self.variable("AZURESUBSCRIPTION_CLIENT_ID");
        let tenant = set(self.settings.azure_tenant_id.as_deref()).or(tenant.as_deref());
        let client = set(self.settings.azure_client_id.as_deref()).or(client.as_deref());
        let tenant_id = self.required(TENANT_ID, tenant, "the directory (tenant) id, as the app registration shows it");
        let client_id =
            self.required(CLIENT_ID, client, "the application (client) id, as the app registration shows it");
        Application { tenant_id: self.checked_tenant(&tenant_id), client_id: self.checked_client(&client_id) }
    }

    fn checked_tenant(&mut self, id: &str) -> String {
        let is_domain = id.contains('.') && id.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-'));
        if !id.is_empty() && !is_domain && !is_guid(id) {
            self.wrong(TENANT_ID, format!("is not one: expected a directory id (a GUID) or a domain{NOT_SHOWN}"));
        }
        id.to_owned()
    }

    fn checked_client(&mut self, id: &str) -> String {
        if !id.is_empty() && !is_guid(id) {
            self.wrong(CLIENT_ID, format!("is not one: expected an application (client) id, a GUID{NOT_SHOWN}"));
        }
        id.to_owned()
    }

    /// A URL that a token of the build system is sent to, so https. It may name the job: it is not shown.
    fn secret_destination(&mut self, variable: &'static str, meaning: &str) -> Url {
        let value = self.variable(variable);
        let value = self.required(variable, value.as_deref(), meaning);
        if !value.is_empty() {
            match Url::parse(&value) {
                Ok(url) if url.scheme() == "https" => return url,
                Ok(_) => self.wrong(variable, "must be an https URL: a token is sent there".into()),
                Err(error) => self.wrong(variable, format!("is not a URL: {error}")),
            }
        }
        Cloud::default().authority_host()
    }

    /// The real one is at a link-local address, without TLS; elsewhere there must be TLS.
    fn metadata_host(&mut self) -> Option<Url> {
        let text = self.variable(METADATA_HOST)?;
        match Url::parse(text.trim()) {
            Ok(url)
                if url.scheme() == "https"
                    || (url.scheme() == "http" && (is_loopback(&url) || is_link_local(&url))) =>
            {
                return Some(url);
            }
            Ok(_) => self.wrong(
                METADATA_HOST,
                format!("{}: must be https, or http to a loopback or link-local address", quoted(&text)),
            ),
            Err(error) => self.wrong(METADATA_HOST, format!("{}: not a URL: {error}", quoted(&text))),
        }
        None
    }

    /// `IDENTITY_HEADER` goes there, and a token comes back: without TLS only where the platform that sets it answers, on the
    /// machine or within its network.
    fn identity_endpoint(&mut self) {
        let Some(text) = self.variable(IDENTITY_ENDPOINT) else { return };
        let is_near = |url: &Url| is_loopback(url) || ipv4(url).is_some_and(|ip| ip.is_link_local() || ip.is_private());
        match Url::parse(text.trim()) {
            Ok(url) if url.scheme() == "https" || (url.scheme() == "http" && is_near(&url)) => {}
            Ok(_) => self.wrong(
                IDENTITY_ENDPOINT,
                format!("{}: must be https, or http to a loopback, link-local or private address", quoted(&text)),
            ),
            Err(error) => self.wrong(IDENTITY_ENDPOINT, format!("{}: not a URL: {error}", quoted(&text))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Settings;
    use crate::config::{Config, ConfigError};

    fn load(settings: &Settings, variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let environment = |name: &str| match name {
            "PORT_WEBHOOK_INGEST_URL" => Some("https://ingest.getport.io/key".into()),
            name => variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).into()),
        };
        Config::load(settings, &environment)
    }

    fn named(kind: CredentialKind) -> Settings {
        Settings { credential: Some(kind.name().into()), ..Settings::default() }
    }

    fn application() -> Settings {
        Settings { azure_tenant_id: Some(TENANT.into()), azure_client_id: Some(CLIENT.into()), ..Settings::default() }
    }

    fn inferred(variables: &[&str], terminal: bool) -> Option<&'static str> {
        infer(|name| variables.contains(&name), terminal).map(|(kind, _)| kind.name())
    }

    const TENANT: &str = "00000000-0000-4000-8000-000000000001";
    const CLIENT: &str = "00000000-0000-4000-8000-000000000002";

    #[test]
    fn an_application_is_named_by_guids_and_a_tenant_by_a_domain_too() {
        let complaints = |tenant: &str, client: &str| {
            let settings = Settings {
                azure_tenant_id: Some(tenant.into()),
                azure_client_id: Some(client.into()),
                ..Settings::default()
            };
            load(&settings, &[(SECRET, "s")]).err().map(|error| error.to_string()).unwrap_or_default()
        };
        assert_eq!(complaints(TENANT, CLIENT), "");
        assert_eq!(complaints("contoso.onmicrosoft.com", &CLIENT.to_uppercase()), "");
        assert!(complaints("1234", CLIENT).starts_with("AZURE_TENANT_ID is not one: expected a directory id"));
        assert!(complaints("../elsewhere.com", CLIENT).contains("AZURE_TENANT_ID"));
        assert!(complaints(TENANT, "azure-incremental").starts_with("AZURE_CLIENT_ID is not one: expected"));
        let misplaced = complaints("marked-secret.x/", "marked-secret");
        assert!(misplaced.contains("not shown") && !misplaced.contains("marked"), "{misplaced}");
    }

    #[test]
    fn each_kind_is_inferred_from_what_is_its_own() {
        assert_eq!(inferred(&[SECRET], false), Some("client-secret"));
        assert_eq!(inferred(&[ID_TOKEN_URL, ID_TOKEN_TOKEN], false), Some("github-oidc"));
        assert_eq!(inferred(&[TOKEN_FILE], false), Some("workload-identity"));
        assert_eq!(inferred(&[OIDC_URI, CONNECTION], false), Some("azure-pipelines"));
        assert_eq!(inferred(&[CERTIFICATE], false), Some("client-certificate"));
        assert_eq!(inferred(&[IDENTITY_ENDPOINT], false), Some("managed-identity"));
        assert_eq!(inferred(&[], true), Some("azure-cli"));
    }

    #[test]
    fn a_secret_that_is_set_is_what_signs_in() {
        let all = [SECRET, ID_TOKEN_URL, ID_TOKEN_TOKEN, TOKEN_FILE, OIDC_URI, CONNECTION, CERTIFICATE];
        assert_eq!(inferred(&all, true), Some("client-secret"));
    }

    #[test]
    fn half_of_what_a_kind_needs_means_nothing() {
        assert_eq!(inferred(&[ID_TOKEN_URL], false), None);
        assert_eq!(inferred(&[OIDC_URI], false), None);
        assert_eq!(inferred(&[CLIENT_ID], true), None, "an application lacks its secret");
        assert_eq!(inferred(&[], false), None);
    }

    #[test]
    fn every_kind_that_is_named_says_all_that_it_lacks() {
        let lacks = |kind| {
            let problems = match load(&named(kind), &[]) {
                Ok(config) => {
                    assert_eq!(config.azure.credential.kind(), kind);
                    Vec::new()
                }
                Err(error) => error.0.into_iter().map(|problem| problem.variable).collect(),
            };
            problems.into_iter().filter(|name| *name != CREDENTIAL).collect::<Vec<_>>()
        };
        assert_eq!(lacks(CredentialKind::ClientSecret), [TENANT_ID, CLIENT_ID, SECRET]);
        assert_eq!(lacks(CredentialKind::GithubOidc), [TENANT_ID, CLIENT_ID, ID_TOKEN_URL, ID_TOKEN_TOKEN]);
        assert_eq!(lacks(CredentialKind::WorkloadIdentity), [TENANT_ID, CLIENT_ID, TOKEN_FILE]);
        assert_eq!(lacks(CredentialKind::AzurePipelines), [TENANT_ID, CLIENT_ID, CONNECTION, PIPELINE_TOKEN, OIDC_URI]);
        assert_eq!(lacks(CredentialKind::ClientCertificate), [TENANT_ID, CLIENT_ID, CERTIFICATE]);
        assert_eq!(lacks(CredentialKind::ManagedIdentity), [""; 0]);
        assert_eq!(lacks(CredentialKind::AzureCli), [""; 0]);
    }

    #[test]
    fn an_unknown_kind_is_answered_with_the_known_ones() {
        let settings = Settings { credential: Some("password".into()), ..application() };
        let error = load(&settings, &[(SECRET, "s")]).unwrap_err().to_string();
        assert!(
            error.starts_with("AZURE_CREDENTIAL is \"password\": expected one of client-secret, github-oidc"),
            "{error}"
        );
    }

    #[test]
    fn a_pipeline_names_the_application_in_variables_of_its_own() {
        let variables = [
            (OIDC_URI, "https://dev.azure.com/oidc"),
            (CONNECTION, "connection"),
            (PIPELINE_TOKEN, "token"),
            ("AZURESUBSCRIPTION_TENANT_ID", TENANT),
            ("AZURESUBSCRIPTION_CLIENT_ID", CLIENT),
        ];
        let config = load(&Settings::default(), &variables).unwrap();
        let Identity::AzurePipelines { application, .. } = config.azure.credential.identity else { panic!("inferred") };
        assert_eq!((application.tenant_id.as_str(), application.client_id.as_str()), (TENANT, CLIENT));
    }

    #[test]
    fn a_token_is_not_sent_without_tls() {
        let variables = [(ID_TOKEN_URL, "http://127.0.0.1/token"), (ID_TOKEN_TOKEN, "t")];
        let error = load(&application(), &variables).unwrap_err().to_string();
        assert_eq!(error, "ACTIONS_ID_TOKEN_REQUEST_URL must be an https URL: a token is sent there");
        let error = load(&named(CredentialKind::ManagedIdentity), &[(METADATA_HOST, "http://10.0.0.1")]).unwrap_err();
        assert!(error.to_string().contains("link-local"), "{error}");
    }

    #[test]
    fn an_apps_identity_is_asked_for_over_tls_or_nearby() {
        let complaint = |endpoint: &str| {
            let loaded = load(&named(CredentialKind::ManagedIdentity), &[(IDENTITY_ENDPOINT, endpoint)]);
            loaded.err().map(|error| error.to_string()).unwrap_or_default()
        };
        for right in ["https://x.example/msi", "http://localhost:42356/msi", "http://127.0.0.1:41/", "http://[::1]:1/"]
        {
            assert_eq!(complaint(right), "");
        }
        for right in
            ["http://169.254.130.2:8081/msi/token", "http://10.0.0.4/", "http://172.16.0.1/", "http://192.168.0.1/"]
        {
            assert_eq!(complaint(right), "");
        }
        for wrong in ["http://x.example/msi", "http://8.8.8.8/", "http://172.32.0.1/", "ftp://127.0.0.1/", "127.0.0.1"]
        {
            let said = complaint(wrong);
            assert!(said.starts_with("IDENTITY_ENDPOINT is \"") && said.contains(wrong), "{wrong}: {said}");
        }
        assert!(!complaint("http://user:marked@x.example/").contains("marked"));
    }

    #[test]
    fn no_secret_shows_in_debug() {
        let variables = [
            ("AZURE_CLIENT_SECRET", "marked-secret"),
            ("AZURE_CLIENT_CERTIFICATE_PASSWORD", "marked-password"),
            (ID_TOKEN_URL, "https://example.com/"),
            (ID_TOKEN_TOKEN, "marked-token"),
            (OIDC_URI, "https://example.com/"),
            (CONNECTION, "connection"),
            (PIPELINE_TOKEN, "marked-access"),
            (TOKEN_FILE, "/file"),
            (CERTIFICATE, "/file"),
        ];
        for kind in CredentialKind::ALL {
            let settings = Settings { credential: Some(kind.name().into()), ..application() };
            let shown = format!("{:?}", load(&settings, &variables));
            assert!(!shown.contains("marked-"), "{shown}");
        }
    }
}
