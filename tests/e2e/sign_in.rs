//! Getting a token, and the messages if that fails.

use std::time::Duration;

use sandbox::Host;
use sandbox::faults::{Fault, Rule};
use sandbox::requests::Route;

use crate::harness::{Program, break_down, empty, passing, settled, start};

#[tokio::test]
async fn one_token_serves_a_run_and_never_travels_to_port() {
    let sandbox = start(settled()).await;
    Program::full(&sandbox).run().await.exits(0);
    assert_eq!(sandbox.sign_in().tokens_given(), 1);
    sandbox.port().settle().await;
    let deliveries = sandbox.port().deliveries();
    assert!(deliveries.len() > 100);
    assert!(deliveries.iter().all(|delivery| !delivery.headers.contains_key("authorization")));
}

#[tokio::test]
async fn credentials_that_are_refused_exit_3_with_the_code_and_what_to_do() {
    let mut expired = empty();
    expired.azure.secret_expired = true;
    let (sandbox, expired) = (start(empty()).await, start(expired).await);
    let stranger = "c11e47a0-0000-4000-8000-000000000000";
    let cases = [
        (Program::new(&sandbox).env("AZURE_CLIENT_SECRET", "wrong"), "AADSTS7000215", "AZURE_CLIENT_SECRET is wrong"),
        (Program::new(&expired), "AADSTS7000222", "expired"),
        (Program::new(&sandbox).env("AZURE_CLIENT_ID", stranger), "AADSTS700016", "AZURE_CLIENT_ID"),
        (Program::new(&sandbox).env("AZURE_TENANT_ID", stranger), "AADSTS90002", "AZURE_TENANT_ID"),
    ];
    for (program, code, advice) in cases {
        for sandbox in [&sandbox, &expired] {
            sandbox.requests().clear();
        }
        program.run().await.exits(3).tells(&[code, advice]);
        let asked = sandbox.requests().count(Route::Token) + expired.requests().count(Route::Token);
        let all = sandbox.requests().total() + expired.requests().total();
        assert_eq!((asked, all), (1, 1), "{code}: it is asked once, and nothing else is");
    }
}

#[tokio::test]
async fn a_token_that_resource_manager_refuses_is_replaced_once_and_then_exits_3() {
    let body = r#"{"error": {"code": "InvalidAuthenticationToken", "message": "The access token is invalid."}}"#;
    let cases = [(Route::Subscriptions, ""), (Route::Graph, "resourcecontainerchanges")];
    for (route, query) in cases {
        let refuse = || Rule::new(Fault::status(401).with_body(body)).containing(query);
        let sandbox = start(settled()).await;
        break_down(&sandbox, route, refuse().times(1));
        Program::new(&sandbox).run().await.exits(0);
        assert_eq!(sandbox.sign_in().tokens_given(), 2);

        sandbox.requests().clear();
        break_down(&sandbox, route, refuse());
        Program::new(&sandbox).run().await.exits(3).tells(&["InvalidAuthenticationToken"]);
        assert_eq!(sandbox.requests().statuses(route)[&401], 2);
        assert_eq!(sandbox.requests().count(Route::Webhook), 0);
    }
}

#[tokio::test]
async fn a_principal_that_can_read_no_subscription_exits_3() {
    let sandbox = start(empty()).await;
    let run = Program::new(&sandbox).run().await.exits(3).tells(&["cannot read any subscription", "Reader"]);
    assert_eq!(run.count("subscriptions"), 0);
    assert_eq!(sandbox.requests().count(Route::Graph), 0);
}

#[tokio::test]
async fn a_token_that_soon_expires_is_renewed_during_the_run() {
    let mut settings = settled();
    // The credential renews five minutes before expiry.
    settings.azure.token_lifetime = Duration::from_secs(60);
    let sandbox = start(settings).await;
    Program::full(&sandbox).run().await.exits(0);
    let asked = sandbox.requests().count(Route::Subscriptions) + sandbox.requests().count(Route::Graph);
    assert_eq!(sandbox.sign_in().tokens_given(), asked, "a fresh one for each request");
}

#[tokio::test]
async fn a_passing_failure_of_the_sign_in_host_is_tried_again() {
    let sandbox = start(settled()).await;
    for status in [408, 429, 500, 502, 503, 504] {
        break_down(&sandbox, Route::Token, Rule::new(passing(status)).times(1));
        let run = Program::new(&sandbox).run().await.exits(0).says(&["trying again"]);
        assert_eq!(run.count("retried"), 1, "{status}; {run}");
    }
}

/// A token that is valid for this many seconds.
fn of_life(seconds: &str) -> Fault {
    let body = format!(r#"{{"access_token": "t", "expires_in": {seconds}, "token_type": "Bearer"}}"#);
    Fault::status(200).with_body(&body)
}

#[tokio::test]
async fn a_refusal_is_told_in_the_words_of_entra_id_without_its_line_breaks() {
    let sandbox = start(empty()).await;
    let run = Program::new(&sandbox).env("AZURE_CLIENT_SECRET", "wrong").run().await.exits(3);
    run.tells(&["AADSTS7000215: Invalid client", "the application's page.  Trace ID: ", "Timestamp: 2026"]);
    let unescaped = r#"{"error":"unauthorized_client","error_description":"AADSTS700016: \"x\" \\ \u001b[2J"}"#;
    break_down(&sandbox, Route::Token, Rule::new(Fault::status(400).with_body(unescaped)));
    Program::new(&sandbox)
        .run()
        .await
        .exits(3)
        .tells(&["AADSTS700016: 'x' / ", "AZURE_CLIENT_ID names no application"]);
}

#[tokio::test]
async fn a_sign_in_host_that_answers_nonsense_is_named_and_nothing_else_is_asked() {
    let sandbox = start(settled()).await;
    let nonsense = [
        Fault::Html,
        Fault::Garbage,
        Fault::Empty,
        Fault::Deep,
        Fault::Truncated,
        Fault::Endless,
        Fault::Bomb,
        Fault::status(200).with_body("{}"),
        Fault::status(200).with_body("null"),
        Fault::status(200).with_body(r#"{"access_token": "line\nbreak", "expires_in": 3600, "token_type": "Bearer"}"#),
        Fault::status(200).with_body(r#"{"access_token": 5, "expires_in": 3600, "token_type": "Bearer"}"#),
        of_life("9223372036854775807"),
        of_life("1000000000000"),
        of_life("-1"),
        of_life("1e300"),
        of_life("\"soon\""),
        Fault::Redirect("https://login.example/".into()),
    ];
    let origin = sandbox.origin(Host::SignIn);
    for fault in nonsense {
        sandbox.faults().clear();
        sandbox.requests().clear();
        break_down(&sandbox, Route::Token, Rule::new(fault.clone()));
        let run = Program::new(&sandbox).run().await;
        assert_eq!(run.code, 1, "{fault:?}: {run}");
        assert!(run.errors().contains("sign") || run.errors().contains("token"), "{fault:?}: {run}");
        assert!(run.took < Duration::from_secs(20) && !run.has_said("panicked"), "{fault:?}: {run}");
        let asked = sandbox.requests().total() - sandbox.requests().count(Route::Token);
        assert_eq!(asked, 0, "{fault:?} at {origin}: {run}");
    }
}

/// Slow, because each attempt waits for its timeout, so all run in parallel.
#[tokio::test]
async fn a_host_that_cannot_be_reached_is_named_with_the_cause_to_its_root_in_time() {
    let [refused, hanging, dripping, unknown, manager] = [(); 5].map(|()| start(settled()));
    let (refused, hanging, dripping, unknown, manager) = tokio::join!(refused, hanging, dripping, unknown, manager);
    refused.set_up(Host::SignIn, false).await;
    manager.set_up(Host::ResourceManager, false).await;
    break_down(&hanging, Route::Token, Rule::new(Fault::Hang));
    // An answer that keeps trickling in has not arrived.
    break_down(&dripping, Route::Token, Rule::new(Fault::Drip(Duration::from_millis(100))));
    let (refused_run, hanging_run, dripping_run, unknown_run, manager_run) = tokio::join!(
        Program::new(&refused).run(),
        Program::new(&hanging).run(),
        Program::new(&dripping).run(),
        Program::new(&unknown).env("AZURE_AUTHORITY_HOST", "https://sign-in.invalid").run(),
        Program::new(&manager).run(),
    );
    let limit = Duration::from_secs(30);
    let origin = refused.origin(Host::SignIn);
    let run = refused_run.exits(1).tells(&["sign", &origin, "refused", "AZURE_AUTHORITY_HOST"]);
    assert!(run.took < limit, "{run}");
    let run = hanging_run.exits(1).tells(&["sign", &hanging.origin(Host::SignIn), "no answer within"]);
    assert!(run.took < limit, "{run}");
    let run = dripping_run.exits(1).tells(&["sign", &dripping.origin(Host::SignIn), "no answer within"]);
    assert!(run.took < limit, "{run}");
    let run = unknown_run.exits(1).tells(&["sign", "https://sign-in.invalid", "dns error"]);
    assert!(run.took < limit, "{run}");
    let origin = manager.origin(Host::ResourceManager);
    let run = manager_run.exits(1).tells(&["listing the subscriptions", &origin, "refused"]);
    assert_eq!(run.count("retried"), 5, "{run}");
    for sandbox in [refused, hanging, dripping, unknown, manager] {
        assert_eq!(sandbox.requests().count(Route::Webhook), 0);
    }
}

#[tokio::test]
async fn a_certificate_that_nobody_vouches_for_is_told_at_once_with_what_to_do() {
    let (sandbox, stranger) = (start(settled()).await, start(settled()).await);
    let program = Program::new(&sandbox).env("SSL_CERT_FILE", stranger.authority_file());
    let run = program.run().await.exits(1).tells(&["invalid peer certificate", "SSL_CERT_FILE"]);
    assert!(run.took < Duration::from_secs(10), "{run}");
    assert_eq!(run.count("retried"), 0, "{run}");
    assert_eq!(sandbox.requests().total(), 0);
}

#[tokio::test]
async fn a_certificate_out_of_its_time_points_to_the_clock_at_once() {
    for (years, said) in [(1990..2000, "certificate expired"), (3990..4000, "certificate not valid yet")] {
        let mut settings = settled();
        settings.net.certificate_years = years;
        let sandbox = start(settings).await;
        let run = Program::new(&sandbox).run().await.exits(1).tells(&[said, "this machine's clock"]);
        assert_eq!(run.count("retried"), 0, "{run}");
    }
}

#[tokio::test]
async fn a_claims_challenge_is_told_as_a_policy_of_the_tenant() {
    let sandbox = start(settled()).await;
    let challenge =
        r#"Bearer authorization_uri="https://x.example/", error="insufficient_claims", claims="eyJhIjoxfQ==""#;
    let body = r#"{"error": {"code": "AuthenticationFailed", "message": "Continuous access evaluation resulted in claims challenge."}}"#;
    for route in [Route::Subscriptions, Route::Graph] {
        sandbox.faults().clear();
        let fault = Fault::status(401).with_header("www-authenticate", challenge).with_body(body);
        break_down(&sandbox, route, Rule::new(fault));
        Program::new(&sandbox).run().await.exits(3).tells(&["insufficient_claims", "a policy of the tenant"]);
    }
}

#[tokio::test]
async fn a_certificate_file_that_gives_no_certificate_is_named() {
    let sandbox = start(settled()).await;
    let pem = std::fs::read_to_string(sandbox.authority_file()).unwrap();
    let file = |name: &str, content: &str| {
        let path = sandbox.directory().join(name);
        std::fs::write(&path, content).unwrap();
        path.display().to_string()
    };
    let trusted = pem.replace("CERTIFICATE", "TRUSTED CERTIFICATE");
    for (path, said) in [
        ("/nonexistent/authority.pem".to_owned(), "which cannot be read"),
        (sandbox.directory().display().to_string(), "which cannot be read"),
        (file("empty.pem", ""), "which is empty"),
        (file("bom.pem", &format!("\u{feff}{pem}")), "a byte order mark"),
        (file("trusted.pem", &trusted), "a TRUSTED CERTIFICATE"),
        (file("page.pem", "<html>"), "there is no certificate"),
    ] {
        let run = Program::new(&sandbox).env("SSL_CERT_FILE", &path).run().await.exits(2);
        run.tells(&[&format!("SSL_CERT_FILE names {path}, "), said]);
    }
    assert_eq!(sandbox.requests().total(), 0);
}

#[tokio::test]
async fn an_empty_name_of_a_certificate_file_is_none_and_white_space_around_one_is_no_part_of_it() {
    let sandbox = start(settled()).await;
    let certificates = tempfile::tempdir().unwrap();
    std::fs::copy(sandbox.authority_file(), certificates.path().join("ca.pem")).unwrap();
    for empty in ["", " "] {
        let program = Program::new(&sandbox).env("SSL_CERT_FILE", empty).env("SSL_CERT_DIR", certificates.path());
        program.run().await.exits(0);
    }
    let path = format!("{}\n", sandbox.authority_file().display());
    Program::new(&sandbox).env("SSL_CERT_FILE", path).run().await.exits(0);
    // Without either, the system's certificates are used, and those do not include the sandbox's.
    let run = Program::new(&sandbox).env("SSL_CERT_FILE", "").run().await.exits(1);
    assert!(run.errors().contains("invalid peer certificate"), "{run}");
}
