//! Each kind of credential and its errors: signing in without a secret, and that exactly one kind is tried.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use sandbox::faults::{Fault, Rule};
use sandbox::requests::Route;
use sandbox::settings::{CLIENT, GITHUB_TOKEN, IDENTITY_HEADER, PIPELINE_TOKEN, TENANT};
use sandbox::signin::{APP_SERVICE, GITHUB, PIPELINES};
use sandbox::{Host, Sandbox};

use crate::harness::{Program, Run, break_down, envelopes, passing, settled, start};

/// A program without the client secret.
fn secretless(sandbox: &Sandbox) -> Program {
    Program::new(sandbox).without("AZURE_CLIENT_SECRET")
}

/// A program without an application, too.
fn anonymous(sandbox: &Sandbox) -> Program {
    secretless(sandbox).without("AZURE_TENANT_ID").without("AZURE_CLIENT_ID")
}

fn in_github(sandbox: &Sandbox) -> Program {
    secretless(sandbox)
        .env("ACTIONS_ID_TOKEN_REQUEST_URL", format!("{}{GITHUB}?api-version=2.0", sandbox.origin(Host::SignIn)))
        .env("ACTIONS_ID_TOKEN_REQUEST_TOKEN", GITHUB_TOKEN)
}

fn in_pipelines(sandbox: &Sandbox) -> Program {
    anonymous(sandbox)
        .env("SYSTEM_OIDCREQUESTURI", format!("{}{PIPELINES}", sandbox.origin(Host::SignIn)))
        .env("SYSTEM_ACCESSTOKEN", PIPELINE_TOKEN)
        .env("AZURESUBSCRIPTION_SERVICE_CONNECTION_ID", "sandbox")
        .env("AZURESUBSCRIPTION_TENANT_ID", TENANT)
        .env("AZURESUBSCRIPTION_CLIENT_ID", CLIENT)
}

fn in_app_service(sandbox: &Sandbox) -> Program {
    anonymous(sandbox)
        .env("IDENTITY_ENDPOINT", format!("{}{APP_SERVICE}", sandbox.origin(Host::SignIn)))
        .env("IDENTITY_HEADER", IDENTITY_HEADER)
}

fn on_a_machine(sandbox: &Sandbox) -> Program {
    anonymous(sandbox)
        .env("AZURE_CREDENTIAL", "managed-identity")
        .env("AZURE_POD_IDENTITY_AUTHORITY_HOST", sandbox.origin(Host::SignIn))
}

/// With a fake `az` on the path: a shell script.
fn with_az(sandbox: &Sandbox, script: &str) -> Program {
    let directory = sandbox.directory().join("bin");
    fs::create_dir_all(&directory).unwrap();
    let az = directory.join("az");
    fs::write(&az, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&az, fs::Permissions::from_mode(0o755)).unwrap();
    anonymous(sandbox)
        .env("AZURE_CREDENTIAL", "azure-cli")
        .env("PATH", format!("{}:/usr/bin:/bin", directory.display()))
}

/// The run read the estate, and logged how it signed in.
async fn delivered(sandbox: &Sandbox, run: Run, kind: &str) -> Run {
    let run = run.exits(0).says(&[&format!("signing in with {kind}, as ")]);
    assert!(run.count("subscriptions") > 0, "{run}");
    assert!(!envelopes(sandbox).await.is_empty() || run.count("rows") == 0, "{run}");
    run
}

#[tokio::test]
async fn a_job_of_github_signs_in_with_an_id_token() {
    let sandbox = start(settled()).await;
    let run = in_github(&sandbox).env("SYNC_MODE", "full").run().await;
    delivered(&sandbox, run, "github-oidc").await;
    assert_eq!(sandbox.sign_in().tokens_given(), 1);
}

#[tokio::test]
async fn the_id_token_is_for_the_audience_of_the_cloud_or_for_the_one_that_is_set() {
    let sandbox = start(settled()).await;
    for (cloud, audience) in
        [("AzureUSGovernment", "api://AzureADTokenExchangeUSGov"), ("AzureChina", "api://AzureADTokenExchangeChina")]
    {
        sandbox.sign_in().accept_audience(audience);
        in_github(&sandbox).env("AZURE_CLOUD", cloud).run().await.exits(0);
        in_github(&sandbox).run().await.exits(3);
        in_github(&sandbox).env("AZURE_OIDC_AUDIENCE", audience).run().await.exits(0);
    }
}

#[tokio::test]
async fn every_new_token_is_asked_for_with_a_fresh_id_token() {
    let mut settings = settled();
    // So short that each request needs a new one. An ID token is valid for one sign-in.
    settings.azure.token_lifetime = Duration::from_secs(60);
    let sandbox = start(settings).await;
    let run = in_github(&sandbox).env("SYNC_MODE", "full").run().await;
    delivered(&sandbox, run, "github-oidc").await;
    assert!(sandbox.sign_in().tokens_given() > 2);
}

#[tokio::test]
async fn github_that_refuses_an_id_token_is_told_with_what_to_do() {
    let sandbox = start(settled()).await;
    let run = in_github(&sandbox).env("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "wrong").run().await;
    run.exits(3).tells(&["github-oidc", "GitHub for an ID token", "status 401", "id-token: write"]);
    assert_eq!(sandbox.sign_in().tokens_given(), 0);
    let run = secretless(&sandbox).env("AZURE_CREDENTIAL", "github-oidc").run().await;
    run.exits(2).says(&["ACTIONS_ID_TOKEN_REQUEST_URL is not set: give the job the permission id-token: write"]);
    // Without any credential, a job most likely lacks the permission.
    let first = "AZURE_CLIENT_SECRET is not set: to sign in without it, give the job the permission id-token: write";
    secretless(&sandbox).env("GITHUB_ACTIONS", "true").run().await.exits(2).says(&[first]);
    secretless(&sandbox).run().await.exits(2).does_not_say(&["id-token"]);
}

#[tokio::test]
async fn a_passing_failure_of_github_is_tried_again_and_nonsense_is_named() {
    let sandbox = start(settled()).await;
    break_down(&sandbox, Route::Token, Rule::new(passing(503)).times(2).when(<[u8]>::is_empty));
    let run = in_github(&sandbox).run().await.exits(0);
    assert_eq!(run.count("retried"), 2, "{run}");
    for fault in [Fault::Empty, Fault::Html, Fault::Garbage, Fault::status(200).with_body(r#"{"value": 5}"#)] {
        sandbox.faults().clear();
        break_down(&sandbox, Route::Token, Rule::new(fault));
        in_github(&sandbox).run().await.exits(1).tells(&["GitHub for an ID token", "contains no ID token"]);
    }
}

#[tokio::test]
async fn a_pod_signs_in_with_its_service_account_token() {
    let sandbox = start(settled()).await;
    let file = sandbox.directory().join("token");
    fs::write(&file, "the pod's token\n").unwrap();
    sandbox.sign_in().accept_assertion(Some("the pod's token".into()));
    let run = secretless(&sandbox).env("AZURE_FEDERATED_TOKEN_FILE", &file).run().await;
    delivered(&sandbox, run, "workload-identity").await;

    fs::write(&file, "another's token").unwrap();
    let run = secretless(&sandbox).env("AZURE_FEDERATED_TOKEN_FILE", &file).run().await;
    run.exits(3).tells(&["AADSTS700213", "federated credential"]);
    let run = secretless(&sandbox).env("AZURE_FEDERATED_TOKEN_FILE", "/nonexistent/token").run().await;
    run.exits(3).tells(&["workload-identity", "/nonexistent/token", "AZURE_FEDERATED_TOKEN_FILE"]);
}

#[tokio::test]
async fn a_pipeline_signs_in_through_its_service_connection() {
    let sandbox = start(settled()).await;
    let run = in_pipelines(&sandbox).run().await;
    delivered(&sandbox, run, "azure-pipelines").await;
    let run = in_pipelines(&sandbox).env("SYSTEM_ACCESSTOKEN", "wrong").run().await;
    run.exits(3).tells(&["401", "SYSTEM_ACCESSTOKEN"]);
    let run = in_pipelines(&sandbox).without("SYSTEM_ACCESSTOKEN").without("AZURESUBSCRIPTION_TENANT_ID").run().await;
    run.exits(2).says(&["SYSTEM_ACCESSTOKEN is not set", "AZURE_TENANT_ID is not set"]);
}

#[tokio::test]
async fn an_app_in_app_service_signs_in_as_itself() {
    let sandbox = start(settled()).await;
    let run = in_app_service(&sandbox).run().await;
    delivered(&sandbox, run, "managed-identity").await;
    in_app_service(&sandbox).env("IDENTITY_HEADER", "wrong").run().await.exits(3).tells(&["managed-identity"]);
}

#[tokio::test]
async fn a_machine_signs_in_as_itself_or_as_the_identity_that_is_named() {
    let sandbox = start(settled()).await;
    let run = on_a_machine(&sandbox).run().await;
    delivered(&sandbox, run, "managed-identity").await;
    let run = on_a_machine(&sandbox).env("AZURE_CLIENT_ID", CLIENT).run().await;
    delivered(&sandbox, run, "managed-identity").await;
    let run = on_a_machine(&sandbox).env("AZURE_CLIENT_ID", "11111111-0000-4000-8000-000000000000").run().await;
    run.exits(3).tells(&["not been assigned", "AZURE_CLIENT_ID"]);
}

#[tokio::test]
async fn the_metadata_service_is_never_asked_through_a_proxy() {
    let sandbox = start(settled()).await;
    // If the proxy were used, the token would be requested there.
    let proxy = "http://127.0.0.1:9";
    let run = on_a_machine(&sandbox)
        .env("HTTP_PROXY", proxy)
        .env("http_proxy", proxy)
        .env("HTTPS_PROXY", proxy)
        .env("RUN_TIMEOUT_SECONDS", "2")
        .run()
        .await;
    let run = run.exits(1);
    assert_eq!(sandbox.sign_in().tokens_given(), 1, "{run}");
}

#[tokio::test]
async fn a_metadata_service_that_is_being_updated_is_asked_again() {
    let sandbox = start(settled()).await;
    for status in [404, 410, 429, 500] {
        sandbox.faults().clear();
        break_down(&sandbox, Route::Token, Rule::new(passing(status)).times(2));
        let run = on_a_machine(&sandbox).run().await.exits(0);
        assert_eq!(run.count("retried"), 2, "{status}: {run}");
        assert!(run.took < Duration::from_secs(5), "{status}: nobody else tries again beneath: {run}");
    }
}

#[tokio::test]
async fn a_person_signs_in_as_az_does_once_a_run() {
    let sandbox = start(settled()).await;
    let at = |name: &str| sandbox.directory().join(name).display().to_string();
    fs::write(at("token.json"), sandbox.sign_in().of_az()).unwrap();
    let script =
        format!("echo \"$@\" >> {0}; env > {1}; cat {2}", at("arguments"), at("environment"), at("token.json"));
    let run = with_az(&sandbox, &script)
        .env("AZURE_TENANT_ID", TENANT)
        .env("AZURE_CLIENT_SECRET", "marked-secret")
        .env("SYNC_MODE", "full")
        .run()
        .await;
    delivered(&sandbox, run, "azure-cli").await;
    let arguments = fs::read_to_string(at("arguments")).unwrap();
    let scope = format!("{}/.default", sandbox.origin(Host::ResourceManager));
    assert_eq!(arguments, format!("account get-access-token -o json --scope {scope} --tenant {TENANT}\n"));
    let environment = fs::read_to_string(at("environment")).unwrap();
    assert!(!environment.contains("marked-secret") && !environment.contains("PORT_WEBHOOK"), "{environment}");
}

#[tokio::test]
async fn mistakes_of_az_are_told_as_it_tells_them() {
    let sandbox = start(settled()).await;
    let cases = [
        ("echo \"ERROR: Please run 'az login' to setup account.\" >&2; exit 1", "Please run 'az login'"),
        ("echo 'not json'", "it is not valid JSON, at line 1 column 2"),
        ("echo '{}'", "its JSON has an unexpected structure"),
        ("echo '{\"accessToken\": [\"marked-token\"]}'", "its JSON has an unexpected structure"),
        (
            "echo '{\"accessToken\": \"t\", \"tokenType\": \"Bearer\", \"expires_on\": \"marked-token\"}'",
            "an unexpected structure",
        ),
    ];
    for (script, said) in cases {
        let run = with_az(&sandbox, script).run().await.exits(3).tells(&["azure-cli", said, "az login"]);
        run.does_not_say(&["marked-token"]);
    }
    let run = anonymous(&sandbox).env("AZURE_CREDENTIAL", "azure-cli").env("PATH", "/nonexistent").run().await;
    run.exits(3).tells(&["az not found on PATH"]);
}

#[tokio::test]
async fn one_kind_is_tried_and_no_other_however_much_is_set() {
    let sandbox = start(settled()).await;
    let run = in_github(&sandbox)
        .env("AZURE_CLIENT_SECRET", "wrong")
        .env("IDENTITY_ENDPOINT", "https://x.invalid")
        .run()
        .await;
    run.exits(3).tells(&["AADSTS7000215"]).says(&["signing in with client-secret, as AZURE_CLIENT_SECRET is set"]);
    assert_eq!((sandbox.sign_in().tokens_given(), sandbox.requests().total()), (0, 1));
    let run = in_github(&sandbox).env("AZURE_CLIENT_SECRET", "wrong").args(["--credential", "GitHub-OIDC"]).run().await;
    run.exits(0).says(&["signing in with github-oidc, as AZURE_CREDENTIAL names it"]);
}

#[tokio::test]
async fn a_token_that_is_refused_in_the_middle_is_replaced_once() {
    let sandbox = start(settled()).await;
    let body = r#"{"error": {"code": "ExpiredAuthenticationToken", "message": "The access token has expired."}}"#;
    break_down(&sandbox, Route::Graph, Rule::new(Fault::status(401).with_body(body)).times(1).after(1));
    Program::full(&sandbox).run().await.exits(0).says(&["signing in again"]);
    assert_eq!(sandbox.sign_in().tokens_given(), 2);

    sandbox.faults().clear();
    sandbox.requests().clear();
    break_down(&sandbox, Route::Subscriptions, Rule::new(Fault::status(401).with_body(body)));
    Program::full(&sandbox)
        .run()
        .await
        .exits(3)
        .tells(&["ExpiredAuthenticationToken", "a new access token was refused as well"]);
    assert_eq!(sandbox.sign_in().tokens_given(), 4);
    assert_eq!(sandbox.requests().count(Route::Subscriptions), 2);
}

#[tokio::test]
async fn a_renewal_that_fails_does_not_end_a_run_whose_token_is_still_good() {
    let mut settings = settled();
    settings.azure.token_lifetime = Duration::from_secs(200);
    let sandbox = start(settings).await;
    break_down(&sandbox, Route::Token, Rule::new(Fault::Html).after(1));
    let run = Program::full(&sandbox).run().await.exits(0).says(&["cannot be renewed yet"]);
    assert_eq!(sandbox.sign_in().tokens_given(), 1, "{run}");
    assert_eq!(sandbox.requests().count(Route::Token), 2, "it is not tried again at once; {run}");
}

#[cfg(feature = "client-certificate")]
mod certificate {
    use super::*;

    /// Creates a certificate with its key in a PKCS#12 file, using the `openssl` on the path.
    fn pfx(directory: &Path, password: &str) -> std::path::PathBuf {
        let script = format!(
            "openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -subj /CN=sandbox -days 2 && \
             cat key.pem cert.pem > both.pem && \
             openssl pkcs12 -export -in both.pem -out both.pfx -passout pass:{password}"
        );
        let made = std::process::Command::new("sh").args(["-c", &script]).current_dir(directory).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        directory.join("both.pfx")
    }

    #[tokio::test]
    async fn an_application_signs_in_with_its_certificate() {
        let sandbox = start(settled()).await;
        let pfx = pfx(sandbox.directory(), "marked-password");
        sandbox.sign_in().accept_assertion(None);
        let program = || {
            secretless(&sandbox)
                .env("AZURE_CLIENT_CERTIFICATE_PATH", &pfx)
                .env("AZURE_CLIENT_CERTIFICATE_PASSWORD", "marked-password")
        };
        program().run().await.exits(3).tells(&["AADSTS700213"]).says(&["signing in with client-certificate"]);
        sandbox.sign_in().accept_signed_assertions();
        let run = program().run().await;
        delivered(&sandbox, run, "client-certificate").await;

        let run = program().env("AZURE_CLIENT_CERTIFICATE_PASSWORD", "wrong").run().await;
        run.exits(3).tells(&["both.pfx", "AZURE_CLIENT_CERTIFICATE_PASSWORD"]);
        let pem = sandbox.directory().join("both.pem");
        let run = program().env("AZURE_CLIENT_CERTIFICATE_PATH", pem).run().await;
        run.exits(3).tells(&["both.pem", "openssl pkcs12 -export"]);
    }
}

#[cfg(not(feature = "client-certificate"))]
#[tokio::test]
async fn a_build_without_certificates_says_so() {
    let sandbox = start(settled()).await;
    let run = secretless(&sandbox).env("AZURE_CLIENT_CERTIFICATE_PATH", Path::new("/some.pfx")).run().await;
    run.exits(2).says(&["--features client-certificate"]);
}
