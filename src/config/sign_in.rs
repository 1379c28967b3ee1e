//! Chooses the credential and checks that it has what it needs. Exactly one is named or inferred. Others are not tried
//! in turn, because every mistake would then surface as a failure of the last one.

use std::io::IsTerminal;

use reqwest::Url;

use super::cloud::Cloud;
use super::credential::{Application, CredentialConfig, CredentialKind, Identity};
use super::reader::Reader;
use super::url::{ipv4, is_link_local, is_loopback, parse, quoted};
use super::value::Form;
use super::variables::is_blank;
use super::workflow::is_job;
use crate::id::is_guid;
use crate::text::printable;

const CREDENTIAL: &str = "AZURE_CREDENTIAL";
const TENANT_ID: &str = "AZURE_TENANT_ID";
const CLIENT_ID: &str = "AZURE_CLIENT_ID";
const SECRET: &str = "AZURE_CLIENT_SECRET";
const ID_TOKEN_URL: &str = "ACTIONS_ID_TOKEN_REQUEST_URL";
const ID_TOKEN_TOKEN: &str = "ACTIONS_ID_TOKEN_REQUEST_TOKEN";
const TOKEN_FILE: &str = "AZURE_FEDERATED_TOKEN_FILE";
const AUDIENCE: &str = "AZURE_OIDC_AUDIENCE";
const OIDC_URI: &str = "SYSTEM_OIDCREQUESTURI";
const CONNECTION: &str = "AZURESUBSCRIPTION_SERVICE_CONNECTION_ID";
const PIPELINE_TOKEN: &str = "SYSTEM_ACCESSTOKEN";
const CERTIFICATE: &str = "AZURE_CLIENT_CERTIFICATE_PATH";
const CERTIFICATE_PASSWORD: &str = "AZURE_CLIENT_CERTIFICATE_PASSWORD";
const IDENTITY_ENDPOINT: &str = "IDENTITY_ENDPOINT";
/// A secret is easily pasted where an id belongs.
const NOT_SHOWN: &str = "; its value is not shown because it may be a secret";
/// Points to another metadata service, as in Microsoft's other libraries.
const METADATA_HOST: &str = "AZURE_POD_IDENTITY_AUTHORITY_HOST";

/// Variables that contain a secret or lead to one. Child processes do not inherit them, and no message shows their
/// values.
pub(crate) const SECRET_VARIABLES: [&str; 8] = [
    SECRET,
    CERTIFICATE_PASSWORD,
    ID_TOKEN_TOKEN,
    PIPELINE_TOKEN,
    "IDENTITY_HEADER",
    "PORT_WEBHOOK_INGEST_URL",
    "PORT_WEBHOOK_SECRET",
    "PORT_CLIENT_SECRET",
];

/// Whether a person may be there to sign in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Session {
    Interactive,
    Unattended,
}

/// Infers the kind from the variables that are set. The first match wins.
fn infer(is_set: impl Fn(&'static str) -> bool, session: Session) -> Option<(CredentialKind, &'static str)> {
    if is_set(SECRET) {
        Some((CredentialKind::ClientSecret, "AZURE_CLIENT_SECRET is set"))
    } else if is_set(ID_TOKEN_URL) && is_set(ID_TOKEN_TOKEN) {
        Some((
            CredentialKind::GithubOidc,
            "GitHub Actions offers ID tokens (ACTIONS_ID_TOKEN_REQUEST_URL) and AZURE_CLIENT_SECRET is not set",
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
    } else if session == Session::Interactive && !is_set(CLIENT_ID) {
        Some((CredentialKind::AzureCli, "nothing else is set and the terminal is interactive"))
    } else {
        None
    }
}

impl<'a> Reader<'a> {
    pub(super) fn credential(&mut self, audience: String) -> CredentialConfig {
        let (kind, because) = self.credential_kind();
        let identity = match kind {
            CredentialKind::ClientSecret => {
                const HINT: &str = "set it to the application's client secret, or see AZURE_CREDENTIAL in --help to sign in without one";
                const JOB: &str = "to sign in without it, give the job the permission id-token: write; otherwise set it to the \
                                   application's client secret";
                let application = self.application();
                let value = self.variable(SECRET);
                let hint = if is_job(self.environment) { JOB } else { HINT };
                let secret = self.required(SECRET, value.as_deref(), hint).into();
                Identity::ClientSecret { application, secret }
            }
            CredentialKind::GithubOidc => {
                const HINT: &str = "give the job the permission id-token: write; GitHub Actions sets it then";
                let application = self.application();
                let url = self.secret_destination(ID_TOKEN_URL, HINT);
                let token = self.variable(ID_TOKEN_TOKEN);
                let token = self.required(ID_TOKEN_TOKEN, token.as_deref(), HINT).into();
                Identity::GithubOidc { application, url, token, audience }
            }
            CredentialKind::WorkloadIdentity => {
                let application = self.application();
                let file = self.variable(TOKEN_FILE);
                let token_file = self
                    .required(TOKEN_FILE, file.as_deref(), "set it to the path of the pod's service account token")
                    .into();
                Identity::WorkloadIdentity { application, token_file }
            }
            CredentialKind::AzurePipelines => {
                let application = self.application();
                let connection = self.variable(CONNECTION);
                let service_connection = self.required(
                    CONNECTION,
                    connection.as_deref(),
                    "tasks such as AzureCLI@2 set it to the id of the service connection",
                );
                let token = self.variable(PIPELINE_TOKEN);
                let access_token = self
                    .required(
                        PIPELINE_TOKEN,
                        token.as_deref(),
                        "map $(System.AccessToken) to it in the env of the step",
                    )
                    .into();
                self.secret_destination(OIDC_URI, "Azure Pipelines sets it");
                Identity::AzurePipelines { application, service_connection, access_token }
            }
            CredentialKind::ClientCertificate => {
                if !cfg!(feature = "client-certificate") {
                    self.wrong(
                        CREDENTIAL,
                        "resolves to client-certificate, which this build does not support: rebuild with \
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
                        "set it to the path of a PKCS#12 file (.pfx) with the certificate and its key",
                    )
                    .into();
                // A password from a file may end in a newline, but a space may belong to it.
                let password = self.variable(CERTIFICATE_PASSWORD);
                let password = password.map(|password| password.trim_end_matches(['\r', '\n']).into());
                Identity::ClientCertificate { application, path, password }
            }
            CredentialKind::ManagedIdentity => {
                self.identity_endpoint();
                Identity::ManagedIdentity {
                    client_id: self.client_id().map(|id| self.checked_client(id)),
                    metadata_host: self.metadata_host(),
                }
            }
            CredentialKind::AzureCli => {
                let tenant_id = self.tenant_id().map(|id| self.checked_tenant(id));
                Identity::AzureCli { tenant_id }
            }
        };
        CredentialConfig { identity, because }
    }

    fn credential_kind(&mut self) -> (CredentialKind, &'static str) {
        if let Some(text) = self.set(CREDENTIAL, self.settings.credential.as_deref(), Form::Plain) {
            let named = CredentialKind::ALL.into_iter().find(|kind| kind.name().eq_ignore_ascii_case(text));
            if let Some(kind) = named {
                return (kind, "AZURE_CREDENTIAL names it");
            }
            let names = CredentialKind::ALL.map(CredentialKind::name).join(", ");
            self.wrong(CREDENTIAL, format!("is \"{}\": expected one of {names}", printable(text)));
        }
        let client_id = self.client_id().is_some();
        let is_set = |name: &'static str| match name {
            CLIENT_ID => client_id,
            name => (self.environment)(name).is_some_and(|value| !is_blank(&value)),
        };
        let is_terminal = std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
        let session = if is_terminal { Session::Interactive } else { Session::Unattended };
        // If nothing is set, the messages say what a service principal needs.
        infer(is_set, session).unwrap_or((CredentialKind::ClientSecret, "nothing else is set"))
    }

    fn tenant_id(&mut self) -> Option<&'a str> {
        self.set(TENANT_ID, self.settings.azure_tenant_id.as_deref(), Form::Plain)
    }

    fn client_id(&mut self) -> Option<&'a str> {
        self.set(CLIENT_ID, self.settings.azure_client_id.as_deref(), Form::Plain)
    }

    fn application(&mut self) -> Application {
        // Azure Pipelines tasks set these to the ids of the service connection.
        let tenant = self.variable("AZURESUBSCRIPTION_TENANT_ID");
        let client = self.variable("AZURESUBSCRIPTION_CLIENT_ID");
        let tenant = self.tenant_id().or(tenant.as_deref());
        let client = self.client_id().or(client.as_deref());
        let tenant_id = self.required(TENANT_ID, tenant, "copy the directory (tenant) id from the app registration");
        let client_id = self.required(CLIENT_ID, client, "copy the application (client) id from the app registration");
        Application { tenant_id: self.checked_tenant(&tenant_id), client_id: self.checked_client(&client_id) }
    }

    /// Entra ID compares it case-sensitively with the federated credential's.
    pub(super) fn audience(&mut self, cloud: Cloud) -> String {
        let audience = self.set(AUDIENCE, self.settings.azure_oidc_audience.as_deref(), Form::Plain);
        let audience = audience.unwrap_or(cloud.audience());
        if !audience.bytes().all(|byte| byte.is_ascii_graphic()) {
            self.wrong(
                AUDIENCE,
                format!("is {}: expected a value without spaces, such as {}", quoted(audience), cloud.audience()),
            );
        }
        audience.to_owned()
    }

    fn checked_tenant(&mut self, id: &str) -> String {
        let is_domain = id.contains('.') && id.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-'));
        if !id.is_empty() && !is_domain && !is_guid(id) {
            self.wrong(TENANT_ID, format!("is invalid: expected a directory id (a GUID) or a domain{NOT_SHOWN}"));
        }
        id.to_owned()
    }

    fn checked_client(&mut self, id: &str) -> String {
        if !id.is_empty() && !is_guid(id) {
            self.wrong(CLIENT_ID, format!("is invalid: expected an application (client) id (a GUID){NOT_SHOWN}"));
        }
        id.to_owned()
    }

    /// Reads a URL that a build-system token is sent to, so it must be https. It is not shown, because it may identify
    /// the job.
    fn secret_destination(&mut self, variable: &'static str, hint: &str) -> Url {
        let value = self.variable(variable);
        let value = self.required(variable, value.as_deref(), hint);
        if !value.is_empty() {
            match parse(&value) {
                Ok(url) if url.scheme() == "https" => return url,
                Ok(_) => self.wrong(variable, "must be an https URL because a token is sent there".into()),
                Err(problem) => self.wrong(variable, problem),
            }
        }
        Cloud::default().authority_host()
    }

    /// The real metadata service has a link-local address and no TLS. Any other address needs TLS.
    fn metadata_host(&mut self) -> Option<Url> {
        let text = self.variable(METADATA_HOST)?;
        match parse(text.trim()) {
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
            Err(problem) => self.wrong(METADATA_HOST, format!("{}: it {problem}", quoted(&text))),
        }
        None
    }

    /// `IDENTITY_HEADER` is sent there, and a token comes back. Without TLS, only an address on this machine or its
    /// network is allowed; hosting platforms serve it there.
    fn identity_endpoint(&mut self) {
        let Some(text) = self.variable(IDENTITY_ENDPOINT) else { return };
        let is_near = |url: &Url| is_loopback(url) || ipv4(url).is_some_and(|ip| ip.is_link_local() || ip.is_private());
        match parse(text.trim()) {
            Ok(url) if url.scheme() == "https" || (url.scheme() == "http" && is_near(&url)) => {}
            Ok(_) => self.wrong(
                IDENTITY_ENDPOINT,
                format!("{}: must be https, or http to a loopback, link-local or private address", quoted(&text)),
            ),
            Err(problem) => self.wrong(IDENTITY_ENDPOINT, format!("{}: it {problem}", quoted(&text))),
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

    fn inferred(variables: &[&str], session: Session) -> Option<&'static str> {
        infer(|name| variables.contains(&name), session).map(|(kind, _)| kind.name())
    }

    const TENANT: &str = "00000000-0000-4000-8000-000000000001";
    const CLIENT: &str = "00000000-0000-4000-8000-000000000002";

    #[test]
    fn ids_are_guids_and_a_tenant_may_be_a_domain() {
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
        assert!(complaints("1234", CLIENT).starts_with("AZURE_TENANT_ID is invalid: expected a directory id"));
        assert!(complaints("../elsewhere.com", CLIENT).contains("AZURE_TENANT_ID"));
        assert!(complaints(TENANT, "azure-incremental").starts_with("AZURE_CLIENT_ID is invalid: expected"));
        let misplaced = complaints("marked-secret.x/", "marked-secret");
        assert!(misplaced.contains("not shown") && !misplaced.contains("marked"), "{misplaced}");
    }

    #[test]
    fn each_kind_is_inferred_from_its_own_variables() {
        assert_eq!(inferred(&[SECRET], Session::Unattended), Some("client-secret"));
        assert_eq!(inferred(&[ID_TOKEN_URL, ID_TOKEN_TOKEN], Session::Unattended), Some("github-oidc"));
        assert_eq!(inferred(&[TOKEN_FILE], Session::Unattended), Some("workload-identity"));
        assert_eq!(inferred(&[OIDC_URI, CONNECTION], Session::Unattended), Some("azure-pipelines"));
        assert_eq!(inferred(&[CERTIFICATE], Session::Unattended), Some("client-certificate"));
        assert_eq!(inferred(&[IDENTITY_ENDPOINT], Session::Unattended), Some("managed-identity"));
        assert_eq!(inferred(&[], Session::Interactive), Some("azure-cli"));
    }

    #[test]
    fn a_client_secret_takes_precedence() {
        let all = [SECRET, ID_TOKEN_URL, ID_TOKEN_TOKEN, TOKEN_FILE, OIDC_URI, CONNECTION, CERTIFICATE];
        assert_eq!(inferred(&all, Session::Interactive), Some("client-secret"));
    }

    #[test]
    fn a_kind_is_not_inferred_from_half_of_its_variables() {
        assert_eq!(inferred(&[ID_TOKEN_URL], Session::Unattended), None);
        assert_eq!(inferred(&[OIDC_URI], Session::Unattended), None);
        assert_eq!(inferred(&[CLIENT_ID], Session::Interactive), None, "the application has no secret");
        assert_eq!(inferred(&[], Session::Unattended), None);
    }

    #[test]
    fn every_kind_reports_everything_it_lacks() {
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
    fn the_message_for_an_unknown_kind_lists_the_known_ones() {
        let settings = Settings { credential: Some("password".into()), ..application() };
        let error = load(&settings, &[(SECRET, "s")]).unwrap_err().to_string();
        assert!(
            error.starts_with("AZURE_CREDENTIAL is \"password\": expected one of client-secret, github-oidc"),
            "{error}"
        );
    }

    #[test]
    fn the_audience_is_the_one_of_the_cloud_that_signs_in_unless_another_is_set() {
        let audience = |settings: Settings| {
            let config = load(&settings, &[(ID_TOKEN_URL, "https://x.example/"), (ID_TOKEN_TOKEN, "t")]);
            match config.map(|config| config.azure.credential.identity) {
                Ok(Identity::GithubOidc { audience, .. }) => audience,
                other => panic!("{other:?}"),
            }
        };
        for (cloud, expected) in [
            (None, "api://AzureADTokenExchange"),
            (Some("AzurePublic"), "api://AzureADTokenExchange"),
            (Some("AzureUSGovernment"), "api://AzureADTokenExchangeUSGov"),
            (Some("azurechina"), "api://AzureADTokenExchangeChina"),
        ] {
            assert_eq!(audience(Settings { azure_cloud: cloud.map(Into::into), ..application() }), expected);
        }
        let host = |host: &str| Settings { azure_authority_host: Some(host.into()), ..application() };
        assert_eq!(audience(host("login.microsoftonline.us")), "api://AzureADTokenExchangeUSGov");
        assert_eq!(audience(host("https://login.chinacloudapi.cn/")), "api://AzureADTokenExchangeChina");
        let own = Settings { azure_oidc_audience: Some(" api://own ".into()), ..host("login.microsoftonline.us") };
        assert_eq!(audience(own), "api://own");
    }

    #[test]
    fn a_password_from_a_file_loses_its_line_break_and_no_space() {
        let settings = application();
        let environment = |name: &str| match name {
            CERTIFICATE => Some("/file".into()),
            CERTIFICATE_PASSWORD => Some(" a b \r\n".into()),
            _ => None,
        };
        let credential = Reader::new(&settings, &environment).credential(String::new());
        let Identity::ClientCertificate { password, .. } = credential.identity else { panic!("inferred") };
        assert_eq!(secrecy::ExposeSecret::expose_secret(&password.unwrap()), " a b ");
    }

    #[test]
    fn a_pipeline_has_its_own_variables_for_the_ids() {
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
        assert_eq!(error, "ACTIONS_ID_TOKEN_REQUEST_URL must be an https URL because a token is sent there");
        let error = load(&named(CredentialKind::ManagedIdentity), &[(METADATA_HOST, "http://10.0.0.1")]).unwrap_err();
        assert!(error.to_string().contains("link-local"), "{error}");
    }

    #[test]
    fn an_identity_endpoint_needs_tls_unless_it_is_nearby() {
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
