//! Settings: their flags, their bounds, and the messages for invalid values.

use std::collections::BTreeSet;

use sandbox::faults::{Fault, Rule};
use sandbox::requests::Route;
use sandbox::settings::{CLIENT, SECRET, TENANT, WEBHOOK_KEY};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::documentation;
use crate::harness::{MINUTE, Program, Run, empty, queries, settled, start};
use crate::remembered::{file, remembering};

/// Every setting with a flag: the variable, the flag, an invalid value and a valid one.
const FLAGS: [(&str, &str, &str, &str); 42] = [
    ("PORT_WEBHOOK_SIGNATURE_HEADER", "--port-webhook-signature-header", "content-type", "x-hub-signature-256"),
    ("PORT_WEBHOOK_SIGNATURE_PREFIX", "--port-webhook-signature-prefix", "größe", "v1="),
    ("DRY_RUN", "--dry-run", "perhaps", "true"),
    ("RESEND_ALL", "--resend-all", "perhaps", "true"),
    ("INCLUDE_CHANGE_ACTOR", "--include-change-actor", "perhaps", "true"),
    ("AZURE_CREDENTIAL", "--credential", "password", "client-secret"),
    ("PORT_WEBHOOK_PAYLOAD", "--port-webhook-payload", "many", "batch"),
    ("SYNC_MODE", "--mode", "sideways", "full"),
    ("AZURE_TENANT_ID", "--azure-tenant-id", "../elsewhere", "contoso.onmicrosoft.com"),
    ("AZURE_CLIENT_ID", "--azure-client-id", " ", CLIENT),
    ("AZURE_CLOUD", "--azure-cloud", "AzureMoon", "AzureChina"),
    ("AZURE_OIDC_AUDIENCE", "--azure-oidc-audience", "two words", "api://own"),
    ("AZURE_AUTHORITY_HOST", "--azure-authority-host", "http://sign-in.example", "https://sign-in.example"),
    (
        "AZURE_RESOURCE_MANAGER_ENDPOINT",
        "--azure-resource-manager-endpoint",
        "http://manager.example",
        "https://manager.example",
    ),
    ("SUBSCRIPTION_BATCH_SIZE", "--subscription-batch-size", "1001", "1000"),
    ("CHANGE_WINDOW_MINUTES", "--change-window-minutes", "8641", "8640"),
    ("RESOURCE_TYPES", "--resource-types", "vaults", "Microsoft.KeyVault/vaults"),
    ("RESOURCE_GROUP_TAG_FILTERS", "--resource-group-tag-filters", "{", r#"{"include": {"a": "b"}}"#),
    ("OUT_OF_SCOPE", "--out-of-scope", "drop", "keep"),
    ("CHECKPOINT_FILE", "--checkpoint-file", "", "checkpoint.redb"),
    ("CHANGE_OVERLAP_MINUTES", "--change-overlap-minutes", "1441", "0"),
    ("FULL_SYNC_EVERY_HOURS", "--full-sync-every-hours", "0", "8760"),
    ("DEAD_LETTER_FILE", "--dead-letter-file", "", "dead.jsonl"),
    ("RUN_TIMEOUT_SECONDS", "--run-timeout-seconds", "0", "86400"),
    ("PORT_WEBHOOK_CONCURRENCY", "--port-webhook-concurrency", "201", "200"),
    ("LOG_FORMAT", "--log-format", "xml", "text"),
    ("MAPPING_FILE", "--mapping-file", "", ""),
    ("PORT_CLIENT_ID", "--port-client-id", "", "an-id"),
    ("PORT_BASE_URL", "--port-base-url", "mars", "us"),
    ("RESOURCE_COLUMNS", "--resource-columns", "price", "sku"),
    ("PRUNE", "--prune", "perhaps", "false"),
    ("PRUNE_LIMIT_PERCENT", "--prune-limit-percent", "101", "100"),
    ("VERIFY", "--verify", "perhaps", "false"),
    ("VERIFY_TIMEOUT_SECONDS", "--verify-timeout-seconds", "3601", "3600"),
    ("AZURE_SOURCES", "--azure-sources", "planets", "resources"),
    ("ENTRA_KINDS", "--entra-kinds", "devices", ""),
    ("ENTRA_MEMBERSHIP", "--entra-membership", "device", "none"),
    ("ENTRA_USERS", "--entra-users", "guests", "members,enabled"),
    ("ENTRA_SERVICE_PRINCIPALS", "--entra-service-principals", "microsoft", "own"),
    ("ENTRA_SIGN_IN_ACTIVITY", "--entra-sign-in-activity", "sometimes", "false"),
    ("ALLOW_MASS_DELETE", "--allow-mass-delete", "perhaps", "true"),
    ("MICROSOFT_GRAPH_ENDPOINT", "--microsoft-graph-endpoint", "http://graph.example", "https://graph.example"),
];

/// Invalid values: the variable, the value, and what the message must contain besides these two.
#[rustfmt::skip]
const WRONG: [(&str, &str, &[&str]); 94] = [
    ("PORT_WEBHOOK_SIGNATURE_HEADER", "x y", &["header name"]),
    ("PORT_WEBHOOK_SIGNATURE_HEADER", "Authorization", &["reserved"]),
    ("PORT_WEBHOOK_SIGNATURE_PREFIX", "größe", &["ASCII"]),
    ("DRY_RUN", "perhaps", &["true", "false"]),
    ("RESEND_ALL", "perhaps", &["true", "false"]),
    ("RESEND_ALL", "all", &["true", "false"]),
    ("INCLUDE_CHANGE_ACTOR", "perhaps", &["true", "false"]),
    ("AZURE_CREDENTIAL", "password", &["client-secret", "managed-identity"]),
    ("AZURE_CREDENTIAL", "client-secret,azure-cli", &["client-secret", "managed-identity"]),
    ("PORT_WEBHOOK_PAYLOAD", "many", &["single", "batch"]),
    ("PORT_WEBHOOK_PAYLOAD", "100", &["single", "batch"]),
    ("SYNC_MODE", "sideways", &["incremental", "full"]),
    ("SYNC_MODE", "full,incremental", &["incremental", "full"]),
    ("CHANGE_WINDOW_MINUTES", "0", &["1 to 8640"]),
    ("CHANGE_WINDOW_MINUTES", "8641", &["1 to 8640"]),
    ("CHANGE_WINDOW_MINUTES", "-1", &["1 to 8640"]),
    ("CHANGE_WINDOW_MINUTES", "1.5", &["1 to 8640"]),
    ("CHANGE_WINDOW_MINUTES", "15m", &["1 to 8640"]),
    ("CHANGE_WINDOW_MINUTES", "fifteen", &["1 to 8640"]),
    ("CHANGE_WINDOW_MINUTES", "99999999999999999999", &["1 to 8640"]),
    ("SUBSCRIPTION_BATCH_SIZE", "0", &["1 to 1000"]),
    ("SUBSCRIPTION_BATCH_SIZE", "1001", &["1 to 1000"]),
    ("SUBSCRIPTION_BATCH_SIZE", "all", &["1 to 1000"]),
    ("PORT_WEBHOOK_CONCURRENCY", "0", &["1 to 200"]),
    ("PORT_WEBHOOK_CONCURRENCY", "201", &["1 to 200"]),
    ("PORT_WEBHOOK_CONCURRENCY", "0x10", &["1 to 200"]),
    ("CHANGE_OVERLAP_MINUTES", "1441", &["0 to 1440"]),
    ("CHANGE_OVERLAP_MINUTES", "-5", &["0 to 1440"]),
    ("FULL_SYNC_EVERY_HOURS", "0", &["1 to 8760"]),
    ("FULL_SYNC_EVERY_HOURS", "8761", &["1 to 8760"]),
    ("FULL_SYNC_EVERY_HOURS", "never", &["1 to 8760"]),
    ("PRUNE_LIMIT_PERCENT", "101", &["0 to 100"]),
    ("VERIFY_TIMEOUT_SECONDS", "0", &["1 to 3600"]),
    ("RUN_TIMEOUT_SECONDS", "0", &["1 to 86400"]),
    ("RUN_TIMEOUT_SECONDS", "86401", &["1 to 86400"]),
    ("OUT_OF_SCOPE", "drop", &["delete", "keep"]),
    ("RESOURCE_TYPES", "vaults", &["namespace/type"]),
    ("RESOURCE_TYPES", "microsoft.keyvault/", &["namespace/type"]),
    ("RESOURCE_TYPES", "/vaults", &["namespace/type"]),
    ("RESOURCE_TYPES", "microsoft.keyvault//vaults", &["namespace/type"]),
    ("RESOURCE_TYPES", "microsoft.keyvault/vaults;microsoft.web/sites", &["namespace/type"]),
    ("RESOURCE_TYPES", "microsoft.keyvault/vaults microsoft.web/sites", &["namespace/type"]),
    ("RESOURCE_TYPES", "microsoft.keyvault/vaults,,microsoft.web/sites", &["namespace/type"]),
    ("RESOURCE_TYPES", "microsoft.keyvault/*", &["namespace/type"]),
    ("RESOURCE_TYPES", "microsoft.keyvault/vau'lts", &["namespace/type"]),
    ("RESOURCE_TYPES", r#"["vaults"]"#, &["namespace/type"]),
    ("RESOURCE_TYPES", r#"["microsoft.keyvault/vaults""#, &["JSON array", "\n                               ^"]),
    ("RESOURCE_TYPES", "[1]", &["JSON array"]),
    ("RESOURCE_TYPES", r#"{"types": []}"#, &["namespace/type"]),
    ("RESOURCE_GROUP_TAG_FILTERS", "{", &["include", "exclude"]),
    ("RESOURCE_GROUP_TAG_FILTERS", "[]", &["include", "exclude"]),
    ("RESOURCE_GROUP_TAG_FILTERS", r#"[{"Environment": "Production"}]"#, &["include", "exclude"]),
    ("RESOURCE_GROUP_TAG_FILTERS", "Environment=Production", &["include", "exclude"]),
    ("RESOURCE_GROUP_TAG_FILTERS", r#"["Environment"]"#, &["include", "exclude"]),
    ("RESOURCE_GROUP_TAG_FILTERS", "null", &["include", "exclude"]),
    ("RESOURCE_GROUP_TAG_FILTERS", r#"{"includes": {"a": "b"}}"#, &["includes", "exclude"]),
    ("RESOURCE_GROUP_TAG_FILTERS", r#"{"Environment": "Production"}"#, &["Environment", "include"]),
    ("RESOURCE_GROUP_TAG_FILTERS", r#"{"include": {"a": 1}}"#, &["string", "exclude"]),
    ("RESOURCE_GROUP_TAG_FILTERS", r#"{"include": {"a": null}}"#, &["string", "exclude"]),
    ("RESOURCE_GROUP_TAG_FILTERS", r#"{"include": {"a": ["b", "c"]}}"#, &["string", "exclude"]),
    ("RESOURCE_GROUP_TAG_FILTERS", r#"{"include": null}"#, &["include", "exclude"]),
    ("RESOURCE_GROUP_TAG_FILTERS", r#"{"include": {"a": "b"}, "include": {"c": "d"}}"#, &["include", "exclude"]),
    ("RESOURCE_GROUP_TAG_FILTERS", r#"{"include": {"Env": "b", "env": "c"}}"#, &["twice"]),
    ("RESOURCE_GROUP_TAG_FILTERS", r#"{"exclude": {"": "b"}}"#, &["empty"]),
    ("RESOURCE_GROUP_TAG_FILTERS", r#"{"include": {"a": "b"}} {}"#, &["include", "exclude"]),
    ("AZURE_OIDC_AUDIENCE", "two words", &["without spaces", "api://AzureADTokenExchange"]),
    ("AZURE_CLOUD", "AzureMoon", &["AzurePublic", "AzureUSGovernment", "AzureChina"]),
    ("AZURE_CLOUD", "AzurePublic,AzureChina", &["AzurePublic", "AzureUSGovernment", "AzureChina"]),
    ("AZURE_AUTHORITY_HOST", "http://sign-in.example", &["https"]),
    ("AZURE_AUTHORITY_HOST", "https://sign-in.example/tenant", &["host only"]),
    ("AZURE_AUTHORITY_HOST", "https://", &["not a URL"]),
    ("AZURE_RESOURCE_MANAGER_ENDPOINT", "http://127.0.0.1:1", &["https"]),
    ("AZURE_RESOURCE_MANAGER_ENDPOINT", "ftp://manager.example", &["https"]),
    ("AZURE_RESOURCE_MANAGER_ENDPOINT", "https://manager.example/?a=b", &["host only"]),
    ("RESOURCE_COLUMNS", "sku price", &["properties", "zones"]),
    ("RESOURCE_COLUMNS", "[1]", &["JSON array"]),
    ("PORT_BASE_URL", "asia", &["eu, us or a URL"]),
    ("PORT_BASE_URL", "http://api.example", &["https"]),
    ("PORT_BASE_URL", "https://api.example/?a=b", &["host only"]),
    ("AZURE_SOURCES", "planets", &["resources, entra or both"]),
    ("AZURE_SOURCES", "entra", &["ENTRA_KINDS is not set"]),
    ("ENTRA_KINDS", "devices", &["users, applications, servicePrincipals, groups, or all"]),
    ("ENTRA_MEMBERSHIP", "device", &["group", "user", "both", "none"]),
    ("ENTRA_USERS", "guests", &["members, enabled, both or all"]),
    ("ENTRA_SERVICE_PRINCIPALS", "microsoft", &["all", "own"]),
    ("ENTRA_SIGN_IN_ACTIVITY", "sometimes", &["true", "false"]),
    ("ALLOW_MASS_DELETE", "perhaps", &["true", "false"]),
    ("MICROSOFT_GRAPH_ENDPOINT", "http://graph.example", &["https"]),
    ("LOG_FORMAT", "xml", &["text", "json"]),
    ("RUST_LOG", "azure_incremental=loud", &["debug", "trace"]),
    ("RUST_LOG", "info=debug=trace", &["debug", "trace"]),
    ("RUST_LOG", "warning", &["nothing of this program would be logged", "warn", "off"]),
    ("RUST_LOG", ",", &["nothing of this program would be logged"]),
    ("RUST_LOG", "hyper=debug", &["nothing of this program would be logged"]),
];

/// Invalid values that may be or contain a secret, and what the message must contain besides the variable.
const WRONG_AND_HIDDEN: [(&str, &str, &[&str]); 9] = [
    ("AZURE_TENANT_ID", "../elsewhere", &["directory id", "not shown"]),
    ("AZURE_TENANT_ID", "contoso onmicrosoft", &["directory id", "not shown"]),
    ("AZURE_CLIENT_ID", "azure-incremental~client", &["application (client) id", "not shown"]),
    ("AZURE_AUTHORITY_HOST", "https://me:pass@sign-in.example", &["host only", "not shown"]),
    ("AZURE_AUTHORITY_HOST", "https://:pass@sign-in.example", &["host only", "not shown"]),
    ("AZURE_RESOURCE_MANAGER_ENDPOINT", "https://pass@manager.example", &["host only", "not shown"]),
    ("PORT_WEBHOOK_INGEST_URL", "https://me:pass@ingest.example/key", &["a user name or password", "not shown"]),
    ("HTTPS_PROXY", "http://me:pa ss@proxy.example:8080", &["http://proxy.example:8080", "not shown"]),
    ("all_proxy", "socks5://me:pass@proxy.example", &["proxy address", "not shown"]),
];

/// A program with human-readable messages, which these tests read.
fn telling(sandbox: &sandbox::Sandbox) -> Program {
    Program::new(sandbox).without("LOG_FORMAT")
}

/// How many lines report this variable.
fn complaints(run: &Run, variable: &str) -> usize {
    run.err.lines().filter(|line| line.starts_with(&format!("error: {variable} "))).count()
}

#[tokio::test]
async fn every_setting_with_a_flag_is_among_those_tested_here() {
    let tested = FLAGS.iter().map(|(variable, flag, ..)| ((*variable).to_owned(), (*flag).to_owned())).collect();
    assert_eq!(documentation::flags(&documentation::help().await), tested);
}

#[tokio::test]
async fn each_wrong_value_is_named_shown_and_explained_before_any_request() {
    let sandbox = start(empty()).await;
    for (variable, value, words) in WRONG {
        let run = telling(&sandbox).env(variable, value).run().await.exits(2);
        assert!(run.err.contains(variable), "{variable}={value:?} is not named; {run}");
        assert!(run.err.contains(value), "{variable}={value:?} is not shown; {run}");
        for word in words {
            assert!(run.err.contains(word), "{variable}={value:?} is not explained with {word:?}; {run}");
        }
        assert!(run.out.is_empty(), "{run}");
    }
    assert_eq!(sandbox.requests().total(), 0, "no request is sent");
}

#[tokio::test]
async fn each_wrong_value_that_may_hold_a_secret_is_named_and_explained_and_not_shown() {
    let sandbox = start(empty()).await;
    for (variable, value, words) in WRONG_AND_HIDDEN {
        let run = telling(&sandbox).env(variable, value).run().await.exits(2);
        assert_eq!(complaints(&run, variable), 1, "{variable}={value:?} is not named; {run}");
        for word in words {
            assert!(run.err.contains(word), "{variable}={value:?} is not explained with {word:?}; {run}");
        }
        run.does_not_say(&[value, "pass@", "pa ss", "me:"]);
    }
    assert_eq!(sandbox.requests().total(), 0, "no request is sent");
}

#[tokio::test]
async fn a_wrong_value_with_odd_characters_cannot_forge_a_line_of_the_message() {
    let sandbox = start(empty()).await;
    let run = telling(&sandbox).env("SYNC_MODE", "x\nerror: forged\u{1b}[31m").run().await.exits(2);
    assert!(!run.err.lines().any(|line| line.starts_with("error: forged")), "{run}");
    assert!(!run.err.contains('\u{1b}'), "{run}");
    let filters = r#"{"\n::error::forged ##vso[task.complete]\u001b[31m": {}}"#;
    let run = telling(&sandbox).env("RESOURCE_GROUP_TAG_FILTERS", filters).run().await.exits(2);
    assert!(!run.err.lines().any(|line| line.starts_with("::")), "{run}");
    assert!(!run.err.contains('\u{1b}') && !run.err.contains("##"), "{run}");
}

#[tokio::test]
async fn all_wrong_values_are_reported_at_once() {
    let sandbox = start(empty()).await;
    let mut program = telling(&sandbox).without("AZURE_CLIENT_SECRET").env("PORT_WEBHOOK_INGEST_URL", "nowhere");
    let mut expected = vec!["AZURE_CLIENT_SECRET", "PORT_WEBHOOK_INGEST_URL", "RUST_LOG"];
    for (variable, _, wrong, _) in FLAGS.iter().filter(|(_, _, wrong, _)| !wrong.is_empty()) {
        program = program.env(variable, wrong);
        expected.push(variable);
    }
    let run = program.env("RUST_LOG", "azure_incremental=loud").run().await.exits(2);
    for variable in expected {
        assert_eq!(complaints(&run, variable), 1, "{variable} is reported once; {run}");
    }
    assert_eq!(sandbox.requests().total(), 0, "no request is sent");
}

#[tokio::test]
async fn each_required_setting_that_is_missing_or_empty_is_named() {
    let sandbox = start(empty()).await;
    for variable in ["AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET", "PORT_WEBHOOK_INGEST_URL"] {
        let missing = Program::new(&sandbox).without(variable);
        let empty = Program::new(&sandbox).env(variable, "");
        let blank = Program::new(&sandbox).env(variable, " \t");
        for program in [missing, empty, blank] {
            let run = program.run().await.exits(2);
            assert!(run.err.lines().any(|line| line.contains(variable) && line.contains("not set")), "{run}");
        }
    }
    let run = Program::bare().run().await.exits(2);
    for variable in ["AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET", "PORT_WEBHOOK_INGEST_URL"] {
        assert!(run.err.contains(variable), "{run}");
    }
    assert_eq!(sandbox.requests().total(), 0, "no request is sent");
}

#[tokio::test]
async fn a_webhook_url_is_https_or_http_to_a_loopback_address_and_never_shown() {
    let sandbox = start(empty()).await;
    let wrong = [
        "http://ingest.example/KEY",
        "http://10.0.0.1/KEY",
        "http://127.0.0.1.example/KEY",
        "http://localhost.example/KEY",
        "http://[::2]/KEY",
        "http://127.0.0.1@ingest.example/KEY",
        "ftp://127.0.0.1/KEY",
        "file:///KEY",
        "ingest.example/KEY",
        "https://:KEY",
        "KEY",
    ];
    for url in wrong {
        let run = Program::new(&sandbox).env("PORT_WEBHOOK_INGEST_URL", url).run().await.exits(2);
        assert!(run.err.contains("PORT_WEBHOOK_INGEST_URL"), "{url}: {run}");
        assert!(!run.has_said("KEY") && !run.has_said("ingest.example"), "{url} is shown; {run}");
    }
    assert_eq!(sandbox.requests().total(), 0, "no request is sent");

    let right = [
        "https://ingest.example/KEY",
        "http://127.0.0.1:1/KEY",
        "http://127.8.9.1:1/KEY",
        "http://[::1]:1/KEY",
        "http://localhost:1/KEY",
    ];
    for url in right {
        // The run fails only at sign-in, so the URL was accepted.
        let program = Program::new(&sandbox).env("PORT_WEBHOOK_INGEST_URL", url).env("AZURE_CLIENT_SECRET", "wrong");
        let run = program.run().await.exits(3);
        assert!(!run.has_said("KEY"), "{url} is shown; {run}");
    }
}

#[tokio::test]
async fn each_setting_but_a_secret_has_a_flag_and_the_flag_wins() {
    let sandbox = start(empty()).await;
    for (variable, flag, wrong, right) in FLAGS {
        // Keeps the run from starting if everything else is valid.
        let program = || telling(&sandbox).without("AZURE_CLIENT_SECRET");
        if !wrong.trim().is_empty() {
            let run = program().env(variable, right).args([&format!("{flag}={wrong}")]).run().await.exits(2);
            let shown = run.err.contains(wrong) || variable == "AZURE_TENANT_ID";
            assert!(complaints(&run, flag) == 1 && shown, "{flag} does not win, or is not named; {run}");
        }
        let run = program().env(variable, wrong).args([&format!("{flag}={right}")]).run().await.exits(2);
        assert_eq!(complaints(&run, variable) + complaints(&run, flag), 0, "{flag} does not win; {run}");
        assert_eq!(complaints(&run, "AZURE_CLIENT_SECRET"), 1, "{run}");
    }
    assert_eq!(sandbox.requests().total(), 0, "no request is sent");
}

#[tokio::test]
async fn a_flag_wins_over_its_variable_in_what_a_run_does() {
    let sandbox = start(settled()).await;
    let run = Program::full(&sandbox).args(["--mode", "incremental"]).run().await.exits(0);
    assert_eq!(run.report()["mode"], "incremental", "{run}");
    let run = Program::new(&sandbox).env("SYNC_MODE", "incremental").args(["--mode", "full"]).run().await.exits(0);
    assert_eq!(run.report()["mode"], "full", "{run}");
}

#[tokio::test]
async fn resending_everything_makes_the_run_a_full_one() {
    let sandbox = start(settled()).await;
    for program in [
        Program::new(&sandbox).args(["--resend-all"]),
        Program::new(&sandbox).env("RESEND_ALL", "true").args(["--mode", "incremental"]),
    ] {
        let run = program.run().await.exits(0);
        assert_eq!(run.report()["mode"], "full", "{run}");
    }
    let run = Program::new(&sandbox).env("RESEND_ALL", "true").args(["--resend-all=false"]).run().await.exits(0);
    assert_eq!(run.report()["mode"], "incremental", "{run}");
    let queries = Program::bare().args(["queries", "--resend-all"]).run().await.exits(0);
    assert_eq!(queries.out.matches("// ").count(), 5, "{queries}");
}

#[tokio::test]
async fn no_flag_takes_a_secret() {
    for flag in ["--azure-client-secret", "--port-webhook-ingest-url"] {
        let run = Program::bare().args([flag, "value"]).run().await.exits(2);
        assert!(run.err.contains("unexpected argument"), "{run}");
    }
}

#[tokio::test]
async fn what_the_command_line_does_not_know_is_a_usage_error() {
    for arguments in [["--sideways", "full"], ["sideways", "full"], ["resend", "--mode"]] {
        let run = Program::bare().args(arguments).run().await.exits(2);
        assert!(run.err.contains("--help"), "{run}");
    }
    Program::bare().args(["--help"]).run().await.exits(0).says(&["Exit codes", "--mode"]);
    Program::bare().args(["--version"]).run().await.exits(0).says(&[env!("CARGO_PKG_VERSION")]);
}

#[tokio::test]
async fn what_is_set_in_the_environment_is_no_part_of_the_usage() {
    let sandbox = start(empty()).await;
    for args in [["resend"].as_slice(), &["init", "--force"], &["completions"]] {
        let mut command = Program::new(&sandbox).into_command();
        let output = command.args(args).output().await.unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{said}");
        let usage = format!("Usage: azure-incremental {}", args[0]);
        assert!(said.contains(&usage) && !said.contains("azure-tenant-id"), "{said}");
    }
}

#[tokio::test]
async fn an_empty_variable_counts_as_unset() {
    let sandbox = start(settled()).await;
    let unset = Program::new(&sandbox).run().await.exits(0);
    let mut program = Program::new(&sandbox).env("RUST_LOG", "");
    for (variable, ..) in FLAGS {
        if !["AZURE_TENANT_ID", "AZURE_CLIENT_ID", "LOG_FORMAT"].contains(&variable) && !variable.ends_with("HOST") {
            program = program.env(variable, if variable.len() % 2 == 0 { "" } else { "  " });
        }
    }
    let run = program
        .env("AZURE_RESOURCE_MANAGER_ENDPOINT", sandbox.origin(sandbox::Host::ResourceManager))
        .run()
        .await
        .exits(0);
    for field in ["mode", "subscriptions", "rows"] {
        assert_eq!(run.report()[field], unset.report()[field], "{field}; {run}");
    }
    assert!(run.err.contains("INFO"), "RUST_LOG is info; {run}");
    // LOG_FORMAT defaults to text.
    let run = Program::new(&sandbox).env("LOG_FORMAT", "").run().await.exits(0);
    assert!(run.out.starts_with("mode"), "{run}");
}

#[tokio::test]
async fn no_secret_shows_in_any_log_or_report() {
    let sandbox = start(settled()).await;
    let secrets = [SECRET, WEBHOOK_KEY, "eyJ0eXAi"];
    let loud = |program: Program| program.env("RUST_LOG", "trace");
    loud(Program::full(&sandbox)).run().await.exits(0).does_not_say(&secrets);
    loud(Program::full(&sandbox)).without("LOG_FORMAT").run().await.exits(0).does_not_say(&secrets);

    // Each kind of failure has its own messages.
    for route in [Route::Token, Route::Subscriptions, Route::Graph, Route::Webhook] {
        for fault in [Fault::status(400), Fault::status(403), Fault::Html, Fault::Redirect("https://elsewhere".into())]
        {
            sandbox.faults().clear();
            sandbox.faults().add(route, Rule::new(fault.clone()));
            let run = loud(Program::full(&sandbox)).run().await;
            assert!(route == Route::Webhook || run.code != 0, "{route:?} {fault:?}: {run}");
            run.does_not_say(&secrets);
        }
    }
    let url = sandbox.webhook_url().replace(WEBHOOK_KEY, "another-key");
    loud(Program::full(&sandbox)).env("PORT_WEBHOOK_INGEST_URL", url).run().await.does_not_say(&["another-key"]);
    let program = Program::new(&sandbox).args(["--help"]);
    program.run().await.exits(0).does_not_say(&[SECRET, WEBHOOK_KEY, TENANT, CLIENT]);
}

#[tokio::test]
async fn the_queries_command_prints_what_a_run_sends_and_needs_no_credentials() {
    let sandbox = start(settled()).await;
    // Times in a query, and the groups that it names, depend on when it is built.
    let moments = regex::Regex::new(r"datetime\([^)]*\)").unwrap();
    let groups = regex::Regex::new("'/subscriptions/[^']*/resourcegroups/[^']*'").unwrap();
    let plain = |text: &str| groups.replace_all(&moments.replace_all(text, "datetime()"), "group").into_owned();
    {
        let mut estate = sandbox.estate();
        let group = estate.groups().keys().next().unwrap().clone();
        estate.retag_group(&group, sandbox::names::tags(&[("environment", "o'brien \\ \"x\"")]));
    }
    sandbox.clock().advance(crate::harness::DAY);
    let scope = [
        ("RESOURCE_TYPES", "Microsoft.KeyVault/vaults,microsoft.web/sites"),
        (
            "RESOURCE_GROUP_TAG_FILTERS",
            r#"{"include": {"Environment": "O'Brien \\ \"x\""}, "exclude": {"größe": "日本"}}"#,
        ),
    ];
    for mode in ["incremental", "full"] {
        for scope in [&scope[..0], &scope] {
            let with = |mut program: Program| {
                for (name, value) in scope {
                    program = program.env(name, value);
                }
                program.args(["--mode", mode])
            };
            let printed = with(Program::bare().args(["queries"])).run().await.exits(0);
            let texts: Vec<&str> = printed.out.split("// ").skip(1).collect();
            assert_eq!(texts.len(), if mode == "full" { 5 } else { 3 }, "{printed}");
            sandbox.requests().clear();
            let run = with(Program::new(&sandbox)).run().await.exits(0);
            // Coverage is queried again for subscriptions without rows; the set ignores repeats.
            let sent: BTreeSet<String> =
                queries(&sandbox).iter().map(|query| plain(query["query"].as_str().unwrap())).collect();
            assert_eq!(sent.len(), texts.len(), "{run}");
            for text in texts {
                let (name, text) = text.split_once('\n').unwrap();
                assert!(["containers", "resources", "subscriptions"].iter().any(|of| name.contains(of)), "{printed}");
                let text = plain(text.trim_end());
                assert!(sent.contains(&text), "a run does not send {text}, but {sent:#?}");
            }
        }
    }
}

#[tokio::test]
async fn with_a_checkpoint_the_queries_command_prints_what_its_next_run_sends() {
    let sandbox = start(settled()).await;
    let now = regex::Regex::new(r"azureTime = [^\n]*").unwrap();
    let plain = |text: &str| now.replace_all(text.trim_end(), "").into_owned();
    let explorer = || Program::bare().checkpoint(&file(&sandbox)).args(["queries"]).run();
    let cases = [
        ("nothing is known yet", "there is no checkpoint yet", 5),
        ("one full reading is to be confirmed", "to be confirmed", 5),
        ("changes are enough", "from the checkpoint's marks less CHANGE_OVERLAP_MINUTES", 3),
    ];
    for (what, why, count) in cases {
        let printed = explorer().await.exits(0).says(&[why]);
        let shown: Vec<(&str, &str)> =
            printed.out.split("// ").skip(1).filter_map(|query| query.split_once('\n')).collect();
        assert_eq!(shown.len(), count, "{what}; {printed}");
        sandbox.requests().clear();
        remembering(&sandbox).run().await.exits(0);
        let sent: BTreeSet<String> =
            queries(&sandbox).iter().map(|query| plain(query["query"].as_str().unwrap())).collect();
        for (title, text) in shown {
            // Without a mark, the records are read for as long as they are kept, by the clock.
            let is_sent = sent.contains(&plain(text)) || (what == "nothing is known yet" && title.contains(", since "));
            assert!(is_sent, "{what}: a run does not send {title}: {text}, but {sent:#?}");
            assert_eq!(title.contains(", since 20"), text.contains("datetime("), "{title}");
        }
        sandbox.clock().advance(MINUTE);
    }
    let printed = Program::bare().args(["queries"]).run().await.exits(0).says(&["CHANGE_WINDOW_MINUTES"]);
    assert!(printed.out.contains("// changed resources, since 20"), "{printed}");
    std::fs::write(file(&sandbox), "not a checkpoint").unwrap();
    explorer().await.exits(1).says(&["is damaged", "the next run sets it aside and reads everything in full"]);
}

#[tokio::test]
async fn the_queries_command_refuses_a_wrong_filter_too() {
    let program = Program::bare().args(["queries"]).env("RESOURCE_GROUP_TAG_FILTERS", "{").env("RESOURCE_TYPES", "x");
    program.run().await.exits(2).says(&["RESOURCE_GROUP_TAG_FILTERS", "RESOURCE_TYPES"]);
}

/// Reads the first line that a client sends to a proxy. Until the connection is dropped the client waits for an answer.
async fn first_line(proxy: &TcpListener) -> (String, BufReader<TcpStream>) {
    let (stream, _) = proxy.accept().await.unwrap();
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    stream.read_line(&mut line).await.unwrap();
    (line, stream)
}

/// A proxy that answers each CONNECT with this status.
async fn refusing_proxy(status: u16) -> String {
    let proxy = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://user:marked-password@{}", proxy.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (_, mut stream) = first_line(&proxy).await;
            _ = stream.write_all(format!("HTTP/1.1 {status} No\r\ncontent-length: 0\r\n\r\n").as_bytes()).await;
        }
    });
    address
}

#[tokio::test]
async fn a_proxy_that_refuses_to_connect_is_told_at_once() {
    let sandbox = start(empty()).await;
    for (status, word) in [(403, "403"), (407, "407"), (400, "400"), (302, "302")] {
        let program = Program::new(&sandbox).env("HTTPS_PROXY", refusing_proxy(status).await);
        let run = program.run().await.exits(1).tells(&["the proxy answered CONNECT with status", word, "HTTPS_PROXY"]);
        assert_eq!(run.count("retried"), 0, "{run}");
        run.does_not_say(&["marked"]);
    }
    assert_eq!(sandbox.requests().total(), 0);
}

#[tokio::test]
async fn a_proxy_that_cannot_connect_for_now_is_asked_again() {
    let sandbox = start(empty()).await;
    let program = Program::new(&sandbox).env("HTTPS_PROXY", refusing_proxy(502).await);
    let run = program.env("RUN_TIMEOUT_SECONDS", "3").run().await.exits(1);
    run.says(&["the proxy answered CONNECT with status 502", "trying again"]);
}

#[tokio::test]
async fn no_proxy_with_a_star_reaches_every_host_without_the_proxy() {
    let sandbox = start(settled()).await;
    let proxy = refusing_proxy(403).await;
    for (name, hosts) in [("NO_PROXY", "*"), ("no_proxy", "x.example, *")] {
        // The sandbox's hosts are IP addresses.
        Program::new(&sandbox).env("HTTPS_PROXY", &proxy).env(name, hosts).run().await.exits(0);
    }
}

#[tokio::test]
async fn what_names_a_proxy_is_what_requests_go_through() {
    let sandbox = start(settled()).await;
    let proxy = refusing_proxy(403).await;
    let bare = proxy.trim_start_matches("http://").to_owned();
    let refused: [&[(&str, &str)]; 7] = [
        &[("HTTPS_PROXY", &format!("{proxy}\n"))],
        &[("HTTPS_PROXY", &format!(" {bare} \r\n"))],
        &[("HTTPS_PROXY", ""), ("https_proxy", &proxy)],
        &[("HTTPS_PROXY", " "), ("ALL_PROXY", ""), ("all_proxy", &proxy)],
        &[("HTTPS_PROXY", &proxy), ("REQUEST_METHOD", "GET")],
        &[("HTTPS_PROXY", &proxy), ("NO_PROXY", "127.0.0.1:1,localhost 127.0.0.0/33")],
        &[("HTTPS_PROXY", &proxy), ("NO_PROXY", ""), ("no_proxy", "x.example")],
    ];
    for variables in refused {
        let program = variables.iter().fold(Program::new(&sandbox), |program, (name, value)| program.env(name, value));
        program.run().await.exits(1).tells(&["the proxy answered CONNECT with status 403"]).does_not_say(&["marked"]);
    }
    assert_eq!(sandbox.requests().total(), 0, "nothing goes past the proxy");
    for hosts in ["x.example 127.0.0.1", "x.example,127.0.0.0/8", "*"] {
        let program = Program::new(&sandbox).env("HTTPS_PROXY", &proxy).env("NO_PROXY", "").env("no_proxy", hosts);
        program.run().await.exits(0);
    }
    // Two of the three hosts, by port: the run gets as far as the third.
    let ports = [sandbox::Host::SignIn, sandbox::Host::ResourceManager]
        .map(|host| sandbox.origin(host).replace("https://", ""));
    let program = Program::full(&sandbox).env("HTTPS_PROXY", &proxy).env("NO_PROXY", ports.join(" "));
    let run = program.run().await.exits(1).tells(&["the proxy answered CONNECT with status 403"]);
    assert!(run.count("queries") > 0, "{run}");
}

#[tokio::test]
async fn each_cloud_has_its_endpoints_and_its_scope() {
    let clouds = [
        ("", "login.microsoftonline.com", "management.azure.com"),
        ("AzurePublic", "login.microsoftonline.com", "management.azure.com"),
        ("azureusgovernment", "login.microsoftonline.us", "management.usgovcloudapi.net"),
        ("AzureChina", "login.chinacloudapi.cn", "management.chinacloudapi.cn"),
    ];
    let sandbox = start(empty()).await;
    let token = r#"{"token_type": "Bearer", "expires_in": 3600, "access_token": "any"}"#;
    sandbox.faults().add(Route::Token, Rule::new(Fault::status(200).with_body(token)));
    let proxy = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", proxy.local_addr().unwrap());
    for (cloud, sign_in, manager) in clouds {
        let program = || {
            let program = Program::new(&sandbox).env("AZURE_CLOUD", cloud).without("AZURE_RESOURCE_MANAGER_ENDPOINT");
            program.env("HTTPS_PROXY", &address)
        };
        let run = program().without("AZURE_AUTHORITY_HOST").into_command().spawn().unwrap();
        let (line, connection) = first_line(&proxy).await;
        assert_eq!(line, format!("CONNECT {sign_in}:443 HTTP/1.1\r\n"));
        drop((run, connection));

        sandbox.requests().clear();
        let _run = program().env("NO_PROXY", "127.0.0.1").into_command().spawn().unwrap();
        let (line, _connection) = first_line(&proxy).await;
        assert_eq!(line, format!("CONNECT {manager}:443 HTTP/1.1\r\n"));
        let request = &sandbox.requests().entries()[0];
        let form: Vec<(String, String)> = url::form_urlencoded::parse(&request.body).into_owned().collect();
        let scope = ("scope".to_owned(), format!("https://{manager}/.default"));
        assert!(form.contains(&scope), "{form:?}");
    }
}
