//! What must never happen: tokens sent to the wrong place, secrets shown, servers that harm the runner, outside text
//! that is executed.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::time::Duration;

use sandbox::faults::{Fault, Rule};
use sandbox::requests::Route;
use sandbox::settings::{GITHUB_TOKEN, IDENTITY_HEADER, PIPELINE_TOKEN, Security, Settings, WEBHOOK_KEY};
use sandbox::signin::{APP_SERVICE, GITHUB, PIPELINES};
use sandbox::{Host, Sandbox};
use serde_json::Value as Json;

use crate::harness::{Program, Run, Small, break_down, settled, start};

const WEBHOOK_SECRET: &str = "wbhk~Secret-That_Must-Not-Show";

/// Secrets that must never show: the configured ones, and the prefixes of all access tokens, ID tokens and signatures.
const MARKS: [&str; 5] = [
    // All other configured secrets end with this, however the rest is encoded.
    "Must-Not-Show",
    WEBHOOK_KEY,
    "eyJ0eXAi",
    "s4ndb0xIdToken",
    "sha256=",
];

fn secured() -> Settings {
    let mut settings = settled();
    let (header, prefix) = ("x-port-signature".to_owned(), "sha256=".to_owned());
    settings.port.security = Some(Security { secret: WEBHOOK_SECRET.into(), header, prefix });
    settings
}

/// A run that logs as much as possible, with all secrets set.
fn talkative(sandbox: &Sandbox, kind: &str) -> Program {
    let beside = |path: &str| format!("{}{path}", sandbox.origin(Host::SignIn));
    let at = |name: &str| sandbox.directory().join(name);
    fs::write(at("token"), "s4ndb0xIdToken").unwrap();
    Program::full(sandbox)
        .env("RUST_LOG", "trace,h2=trace,hyper=trace,reqwest=trace,rustls=trace,azure_core=trace,azure_identity=trace")
        .env("RUST_BACKTRACE", "full")
        .env("AZURE_CREDENTIAL", kind)
        .env("PORT_WEBHOOK_SECRET", WEBHOOK_SECRET)
        .env("ACTIONS_ID_TOKEN_REQUEST_URL", beside(GITHUB))
        .env("ACTIONS_ID_TOKEN_REQUEST_TOKEN", GITHUB_TOKEN)
        .env("SYSTEM_OIDCREQUESTURI", beside(PIPELINES))
        .env("SYSTEM_ACCESSTOKEN", PIPELINE_TOKEN)
        .env("AZURESUBSCRIPTION_SERVICE_CONNECTION_ID", "sandbox")
        .env("IDENTITY_ENDPOINT", beside(APP_SERVICE))
        .env("IDENTITY_HEADER", IDENTITY_HEADER)
        .env("AZURE_FEDERATED_TOKEN_FILE", at("token"))
        .env("DEAD_LETTER_FILE", at("dead.jsonl"))
        .env("CHECKPOINT_FILE", at("checkpoint.redb"))
        .env("RUN_TIMEOUT_SECONDS", "3")
        .in_a_job(&at("summary"), &at("output"))
}

/// Everything that the run wrote anywhere.
fn everything(run: &Run, directory: &Path) -> String {
    let mut all = format!("{}{}", run.out, run.err);
    for file in ["dead.jsonl", "checkpoint.redb", "summary", "output"] {
        all += &String::from_utf8_lossy(&fs::read(directory.join(file)).unwrap_or_default());
    }
    all
}

#[track_caller]
fn assert_discreet(run: &Run, sandbox: &Sandbox, what: &str) {
    let all = everything(run, sandbox.directory());
    for mark in MARKS {
        assert!(!all.contains(mark), "{what}: {mark} shows: {run}");
    }
    assert!(!all.contains("panicked"), "{what}: {run}");
}

#[tokio::test]
async fn no_secret_shows_whatever_goes_wrong() {
    let sandbox = start(secured()).await;
    let run = talkative(&sandbox, "client-secret").env("RUN_TIMEOUT_SECONDS", "60").run().await.exits(0);
    assert_discreet(&run, &sandbox, "nothing goes wrong");
    let echoes = [400, 401, 403, 404, 413, 429, 503].map(Fault::Echo);
    let others = [
        Fault::Garbage,
        Fault::Html,
        Fault::Empty,
        Fault::Deep,
        Fault::LyingGzip,
        Fault::Reset,
        Fault::ResetInBody,
        Fault::Redirect(format!("https://x.invalid/{WEBHOOK_KEY}")),
    ];
    let padding = "x".repeat(270);
    // In successful answers, truncated at various positions, in parsers' messages, and in a link.
    let quotes = [
        (200, r#"{"value": "SENT"}"#.to_owned()),
        (200, r#"{"totalRecords": "SENT", "access_token": "SENT"}"#.to_owned()),
        (200, r#"{"access_token": "t", "expires_in": "SENT"}"#.to_owned()),
        (200, r#"{"token_type": "Bearer", "expires_in": 3600, "access_token": ["SENT"]}"#.to_owned()),
        (200, format!(r#"{{"value": [], "nextLink": "{}/SENT"}}"#, sandbox.origin(Host::ResourceManager))),
        (200, r#"{"value": [{"subscriptionId": "SENT"}]}"#.to_owned()),
        (200, "SENT".into()),
        (400, format!("{padding}SENT")),
        (400, r#"{"unknown": "SENT"}"#.into()),
        (400, r#"{"error": {"code": "SENT", "message": "SENT", "details": [{"code": "SENT"}]}}"#.into()),
        (400, r#"{"error": "SENT"}"#.into()),
    ];
    let quotes: Vec<Fault> = quotes.into_iter().map(|(status, body)| Fault::Quote(status, body)).collect();
    for route in Route::ALL {
        for fault in echoes.iter().chain(&others).chain(&quotes) {
            sandbox.faults().clear();
            _ = fs::remove_file(sandbox.directory().join("checkpoint.redb"));
            // Twice, because the first 401 is not reported; and retries need not fail for long.
            break_down(&sandbox, route, Rule::new(fault.clone()).times(2));
            let run = talkative(&sandbox, "client-secret").run().await;
            assert_discreet(&run, &sandbox, &format!("{fault:?} of {route:?}"));
        }
    }
}

#[tokio::test]
async fn no_secret_shows_whichever_credential_fails() {
    let sandbox = start(settled()).await;
    for kind in ["github-oidc", "workload-identity", "azure-pipelines", "managed-identity", "azure-cli"] {
        let quotes = [
            r#"{"oidcToken": ["SENT"], "value": ["SENT"], "access_token": ["SENT"], "expires_on": "5"}"#,
            r#"{"expires_in": "SENT"}"#,
            "SENT",
        ];
        let quotes = quotes.map(|body| Fault::Quote(200, body.into()));
        let others = [Fault::Echo(400), Fault::Echo(401), Fault::Echo(503), Fault::Html, Fault::Empty];
        for fault in others.into_iter().chain(quotes) {
            sandbox.faults().clear();
            break_down(&sandbox, Route::Token, Rule::new(fault.clone()));
            let run = talkative(&sandbox, kind).run().await;
            assert_ne!(run.code, 0, "{run}");
            assert_discreet(&run, &sandbox, &format!("{fault:?} with {kind}"));
        }
    }
}

#[tokio::test]
async fn no_secret_shows_when_it_is_set_wrong() {
    let sandbox = start(settled()).await;
    let wrong = [
        ("PORT_WEBHOOK_INGEST_URL", format!("http://ingest.example/{WEBHOOK_KEY}")),
        ("PORT_WEBHOOK_INGEST_URL", format!("{WEBHOOK_KEY} is no URL")),
        ("PORT_WEBHOOK_INGEST_URL", format!("https://[{WEBHOOK_KEY}")),
        ("PORT_WEBHOOK_INGEST_URL", format!("https://user:{WEBHOOK_KEY}@ingest.example/")),
        ("AZURE_CLIENT_ID", GITHUB_TOKEN.into()),
        ("AZURE_TENANT_ID", GITHUB_TOKEN.into()),
        ("AZURE_AUTHORITY_HOST", format!("https://{WEBHOOK_KEY}@sign-in.example")),
        ("AZURE_RESOURCE_MANAGER_ENDPOINT", format!("https://:{WEBHOOK_KEY}@manager.example")),
        ("HTTPS_PROXY", format!("http://user:{WEBHOOK_KEY}@no proxy")),
        ("ACTIONS_ID_TOKEN_REQUEST_URL", format!("http://{GITHUB_TOKEN}/")),
        ("ACTIONS_ID_TOKEN_REQUEST_TOKEN", format!("{GITHUB_TOKEN}\n{GITHUB_TOKEN}")),
    ];
    for (variable, value) in wrong {
        let run = talkative(&sandbox, "github-oidc").env(variable, value).run().await;
        assert_ne!(run.code, 0, "{variable}: {run}");
        assert_discreet(&run, &sandbox, variable);
    }
}

#[tokio::test]
async fn no_secret_is_an_argument_of_a_process() {
    let sandbox = start(settled()).await;
    break_down(&sandbox, Route::Token, Rule::new(Fault::Hang));
    let mut child = talkative(&sandbox, "client-secret").into_command().spawn().unwrap();
    while sandbox.requests().count(Route::Token) == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let arguments = fs::read(format!("/proc/{}/cmdline", child.id().unwrap())).unwrap();
    child.kill().await.unwrap();
    let arguments = String::from_utf8_lossy(&arguments);
    assert!(arguments.contains("azure-incremental"), "{arguments}");
    assert!(MARKS.iter().all(|mark| !arguments.contains(mark)), "{arguments}");
}

#[tokio::test]
async fn no_redirect_of_azure_takes_the_token_elsewhere() {
    let (sandbox, elsewhere) = (start(settled()).await, start(settled()).await);
    for route in [Route::Token, Route::Subscriptions, Route::Graph] {
        sandbox.faults().clear();
        let to = format!("{}/subscriptions?api-version=2022-12-01", elsewhere.origin(Host::ResourceManager));
        break_down(&sandbox, route, Rule::new(Fault::Redirect(to)));
        Program::full(&sandbox).run().await.exits(1).tells(&["status 307", "redirects are never followed"]);
    }
    let reached = [Host::SignIn, Host::ResourceManager, Host::Port].map(|host| elsewhere.connections(host));
    assert_eq!(reached, [0; 3]);
}

#[tokio::test]
async fn a_link_to_the_same_host_without_tls_is_not_followed() {
    let mut settings = settled();
    settings.azure.listing_page = 1;
    let sandbox = start(settings).await;
    let plain = Fault::edit(|page| page.replace(r#""nextLink":"https:"#, r#""nextLink":"http:"#));
    break_down(&sandbox, Route::Subscriptions, Rule::new(plain));
    Program::full(&sandbox).run().await.exits(1).tells(&["GET http://127.0.0.1", "must not be sent to"]);
    assert_eq!(sandbox.requests().count(Route::Subscriptions), 1);
}

#[tokio::test]
async fn rows_and_lists_that_are_nested_too_deep_are_refused() {
    let sandbox = start(settled()).await;
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let row = format!(r#""data":[{{"deep":{deep}}},"#);
    break_down(&sandbox, Route::Graph, Rule::new(Fault::edit(move |page| page.replace(r#""data":["#, &row))));
    let said = ["/providers/Microsoft.ResourceGraph/resources failed", "nested more than 128 levels deep"];
    Program::full(&sandbox).run().await.exits(1).tells(&said);
    assert_eq!(sandbox.requests().count(Route::Webhook), 0);
}

#[tokio::test]
async fn a_skip_token_that_repeats_is_an_error_and_no_endless_loop() {
    let sandbox = start(settled()).await;
    let again = r#""$skipToken":"again","totalRecords":"#;
    break_down(&sandbox, Route::Graph, Rule::new(Fault::edit(|page| page.replacen(r#""totalRecords":"#, again, 1))));
    let run = Program::full(&sandbox).run().await.exits(1);
    assert!(sandbox.requests().count(Route::Graph) < 500, "{run}");
}

#[tokio::test]
async fn a_long_retry_after_is_capped_and_said() {
    let waits = [
        (Route::Graph, "999999", "asks to wait"),
        (Route::Webhook, "4294967295", "not the 4294967295 s it asks for"),
        (Route::Subscriptions, "Thu, 31 Dec 2099 23:59:59 GMT", "asks to wait"),
    ];
    let runs = waits.map(|(route, after, said)| async move {
        let sandbox = start(settled()).await;
        break_down(&sandbox, route, Rule::new(Fault::retry_after(429, after)));
        let run = Program::full(&sandbox).env("RUN_TIMEOUT_SECONDS", "5").run().await;
        run.exits(1).says(&[said, "waiting 120 s"]);
    });
    futures::future::join_all(runs).await;
}

#[tokio::test]
async fn texts_from_outside_are_shown_and_never_obeyed() {
    let small = Small::start().await;
    let evil = "\u{1b}]0;title\u{7}\u{1b}[2J\n::error::owned\r::set-output name=a::b ##[error]owned ##vso[task.complete result=Succeeded]owned \u{202e}\u{9b}31m\u{7f}";
    let vault = {
        let mut estate = small.sandbox.estate();
        estate.create_resource(&small.group, "microsoft.keyvault/vaults", evil, evil, None).unwrap()
    };
    assert!(vault.contains("owned"));
    let message = serde_json::json!({"message": evil}).to_string();
    for format in ["text", "json"] {
        for route in [Route::Webhook, Route::Graph, Route::Subscriptions, Route::Token] {
            small.sandbox.faults().clear();
            let rule = Rule::new(Fault::status(400).with_body(&message));
            let rule = if route == Route::Webhook { rule.containing("owned") } else { rule };
            break_down(&small.sandbox, route, rule);
            let run = Program::full(&small.sandbox).env("LOG_FORMAT", format).env("RUST_LOG", "trace").run().await;
            assert_ne!(run.code, 0, "{route:?}: {run}");
            for c in ['\u{1b}', '\u{7}', '\u{9b}', '\u{202e}', '\u{7f}', '\r'] {
                assert!(!run.err.contains(c) && !run.out.contains(c), "{c:?} of {route:?}: {run}");
            }
            let lines = run.err.lines().chain(run.out.lines());
            assert!(!lines.into_iter().any(|line| line.trim_start().starts_with("::") || line.contains("##")), "{run}");
        }
    }
}

#[tokio::test]
async fn texts_from_outside_take_no_effect_in_a_job_of_githubs() {
    let small = Small::start().await;
    let evil = "x\n::error::owned\n::set-output name=a::b ##[error]owned ##vso[task.complete result=Succeeded]</code></pre><img src=x> `owned` [x](https://x) | \u{1b}[2J";
    let vault = {
        let mut estate = small.sandbox.estate();
        estate.create_resource(&small.group, "microsoft.keyvault/vaults", evil, evil, None).unwrap()
    };
    assert!(vault.contains("owned"));
    let message = serde_json::json!({"message": evil, "error": {"code": evil, "message": evil}}).to_string();
    for route in [Route::Webhook, Route::Graph, Route::Subscriptions, Route::Token] {
        small.sandbox.faults().clear();
        let rule = Rule::new(Fault::status(400).with_body(&message));
        let rule = if route == Route::Webhook { rule.containing("owned") } else { rule };
        break_down(&small.sandbox, route, rule);
        let at = |name: &str| small.sandbox.directory().join(name);
        _ = fs::remove_file(at("summary"));
        let job = |program: Program| program.in_a_job(&at("summary"), &at("output"));
        let run = job(Program::full(&small.sandbox)).run().await;
        assert_ne!(run.code, 0, "{route:?}: {run}");
        let check = job(Program::new(&small.sandbox)).without("LOG_FORMAT").args(["check"]).run().await;
        for run in [&run, &check] {
            let ours = [
                "::group::",
                "::endgroup::",
                "::error title=azure-incremental::",
                "::warning title=azure-incremental::",
            ];
            for line in run.err.lines().chain(run.out.lines()) {
                let command = line.trim_start().starts_with("::");
                assert!(!command || ours.iter().any(|own| line.starts_with(own)), "{route:?}: {line}");
                assert!(!line.contains("##") && !line.contains('\u{1b}'), "{route:?}: {line}");
            }
        }
        let summary = fs::read_to_string(at("summary")).unwrap();
        // For rejected envelopes it only shows numbers, and the sign-in host words errors differently.
        let told = matches!(route, Route::Graph | Route::Subscriptions);
        assert_eq!(summary.contains("owned"), told, "{route:?}: {summary}");
        assert!(!summary.contains("<img") && !summary.contains('\u{1b}'), "{route:?}: {summary}");
        // Nothing in an HTML block is Markdown.
        let in_html = |line: &str| line.starts_with('<');
        assert!(summary.lines().filter(|line| line.contains("owned")).all(in_html), "{route:?}: {summary}");
        let output = fs::read_to_string(at("output")).unwrap();
        assert!(!output.contains("owned") && !output.contains("a::b"), "{route:?}: {output}");
    }
}

/// Rows with raw line breaks between tokens, and with characters in strings that JSON allows and terminals execute.
#[tokio::test]
async fn each_line_of_json_is_one_and_holds_no_character_that_a_terminal_obeys() {
    let small = Small::start().await;
    let evil = "a\u{7f}\u{9b}31m\u{202e}\u{2066} ##vso[task.complete result=Succeeded] é";
    small
        .sandbox
        .estate()
        .create_resource(
            &small.group,
            "microsoft.keyvault/vaults",
            "evil",
            "eastus",
            Some(serde_json::json!({"x": evil}).into()),
        )
        .unwrap();
    let broken = Fault::edit(|page| page.replace(r#""resourceId":"#, "\n\"resourceId\" :\r\n"));
    let at = |name: &str| small.sandbox.directory().join(name);
    let tags = |lines: &str, row: fn(&Json) -> &Json| -> Vec<Json> {
        assert!(!lines.contains(|c: char| c != '\n' && c.is_control()), "{lines:?}");
        assert!(!lines.contains(['\u{202e}', '\u{2066}']) && !lines.contains("##"), "{lines:?}");
        let lines = lines.lines().map(|line| serde_json::from_str::<Json>(line).expect(line));
        lines.map(|line| row(&line)["tags"]["x"].clone()).filter(|tag| !tag.is_null()).collect()
    };
    break_down(&small.sandbox, Route::Graph, Rule::new(broken));
    let run = Program::full(&small.sandbox).args(["--dry-run"]).run().await.exits(0);
    assert_eq!(tags(&run.out, |line| &line["data"]), [evil]);

    break_down(&small.sandbox, Route::Webhook, Rule::new(Fault::status(400)).containing("vaults/evil"));
    let program = || Program::full(&small.sandbox).env("DEAD_LETTER_FILE", at("dead.jsonl"));
    program().run().await.exits(4);
    let letters = fs::read_to_string(at("dead.jsonl")).unwrap();
    assert_eq!(tags(&letters, |line| &line["envelope"]["data"]), [evil]);
    small.sandbox.faults().clear();
    let again = at("dead.jsonl").display().to_string();
    Program::new(&small.sandbox).args(["resend", "--from", &again]).run().await.exits(0);
}

#[tokio::test]
async fn what_is_no_regular_file_is_refused_at_once_and_what_others_could_read_is_taken_from_them() {
    let small = Small::start().await;
    let at = |name: &str| small.sandbox.directory().join(name);
    let program = || {
        Program::full(&small.sandbox)
            .env("CHECKPOINT_FILE", at("checkpoint.redb"))
            .env("DEAD_LETTER_FILE", at("dead.jsonl"))
    };
    for file in ["checkpoint.redb", "dead.jsonl"] {
        _ = fs::remove_file(at(file));
        let made = std::process::Command::new("mkfifo").arg(at(file)).status().unwrap();
        assert!(made.success());
        let run = program().run().await.exits(2).says(&["it is not a regular file", file]);
        assert!(run.took < Duration::from_secs(10), "{run}");
        fs::remove_file(at(file)).unwrap();
    }
    program().run().await.exits(0);
    for file in ["checkpoint.redb", "dead.jsonl"] {
        fs::set_permissions(at(file), fs::Permissions::from_mode(0o644)).unwrap();
    }
    program().run().await.exits(0);
    for file in ["checkpoint.redb", "dead.jsonl"] {
        assert_eq!(fs::metadata(at(file)).unwrap().permissions().mode() & 0o777, 0o600, "{file}");
    }
}

#[tokio::test]
async fn each_service_may_answer_so_much_and_no_more() {
    let small = Small::start().await;
    for (route, said) in [
        (Route::Token, "larger than 1 MB"),
        (Route::Subscriptions, "larger than 20 MB"),
        (Route::Graph, "larger than 20 MB"),
        (Route::Webhook, "larger than 64 KB"),
    ] {
        small.sandbox.faults().clear();
        break_down(&small.sandbox, route, Rule::new(Fault::Endless));
        let run = Program::full(&small.sandbox).run().await.exits(1);
        assert!(run.err.contains(said), "{route:?}: {run}");
    }
}

#[tokio::test]
async fn files_are_for_their_owner_alone_and_nothing_is_lost_through_a_link() {
    let small = Small::start().await;
    let at = |name: &str| small.sandbox.directory().join(name);
    break_down(&small.sandbox, Route::Webhook, Rule::new(Fault::status(400)).containing("vaults"));
    let program = || {
        Program::full(&small.sandbox)
            .env("CHECKPOINT_FILE", at("checkpoint.redb"))
            .env("DEAD_LETTER_FILE", at("dead.jsonl"))
    };
    program().run().await.exits(4);
    for file in ["checkpoint.redb", "dead.jsonl"] {
        assert_eq!(fs::metadata(at(file)).unwrap().permissions().mode() & 0o777, 0o600, "{file}");
    }
    fs::write(at("precious"), "untouched").unwrap();
    fs::remove_file(at("dead.jsonl")).unwrap();
    symlink(at("precious"), at("dead.jsonl")).unwrap();
    program().run().await.exits(2).says(&["symbolic link"]);
    assert_eq!(fs::read(at("precious")).unwrap(), b"untouched");
    fs::remove_file(at("dead.jsonl")).unwrap();
    // The checkpoint may be a link; a target that is not a checkpoint is set aside unchanged.
    fs::remove_file(at("checkpoint.redb")).unwrap();
    symlink(at("precious"), at("checkpoint.redb")).unwrap();
    program().run().await.exits(4).says(&["precious.corrupt-"]);
    assert!(fs::symlink_metadata(at("checkpoint.redb")).unwrap().is_symlink());
    let names = fs::read_dir(small.sandbox.directory()).unwrap().map(|entry| entry.unwrap().path());
    let aside = names.into_iter().find(|path| path.display().to_string().contains("precious.corrupt-")).unwrap();
    assert_eq!(fs::read(aside).unwrap(), b"untouched");
}

/// Invalid pages of Resource Graph, and their messages.
#[tokio::test]
async fn odd_pages_end_the_run_with_an_error_that_names_the_request() {
    let sandbox = start(settled()).await;
    let edit = |from: &'static str, to: &'static str| Fault::edit(move |page| page.replacen(from, to, 1));
    let odd = [
        (Fault::Empty, "it is empty"),
        (Fault::Html, "it is not JSON, but begins with <!DOCTYPE html>"),
        (Fault::Garbage, "cannot be understood"),
        (Fault::Truncated, "EOF while parsing"),
        (Fault::LyingGzip, "cannot be understood"),
        (Fault::Endless, "larger than 20 MB"),
        (Fault::Bomb, "larger than 20 MB"),
        (Fault::edit(|page| format!("\u{feff}{page}")), "byte order mark"),
        (Fault::status(200).with_body("null"), "it is not JSON, but begins with null"),
        (Fault::status(200).with_body("[]"), "cannot be understood"),
        (edit(r#""data":["#, r#""data":[null,"#), "null"),
        (edit(r#""data":["#, r#""data":[5,"#), "integer"),
        (edit(r#""data":["#, r#""data":[[],"#), "cannot be understood"),
        (edit(r#""data":["#, r#""data":{"rows":["#), "cannot be understood"),
        (edit(r#""totalRecords":"#, r#""totalRecords":"many","x":"#), "many"),
        (edit(r#""totalRecords":"#, r#""totalRecords":1,"totalRecords":"#), "duplicate field"),
        (edit(r#""resourceId":"#, r#""resourceId":"/subscriptions/s/x","resourceId":"#), "duplicate field"),
        (edit(r#""resourceId":"#, r#""resourceId":7,"x":"#), "integer"),
    ];
    for (fault, said) in odd {
        sandbox.faults().clear();
        break_down(&sandbox, Route::Graph, Rule::new(fault.clone()));
        let run = Program::full(&sandbox).run().await;
        let errors = run.errors();
        assert_eq!(run.code, 1, "{fault:?}: {run}");
        assert!(
            errors.contains("the query for") && errors.contains("/providers/Microsoft.ResourceGraph/resources"),
            "{run}"
        );
        assert!(errors.contains(said), "{said:?} of {fault:?}: {run}");
        assert!(!run.has_said("panicked"), "{run}");
    }
    sandbox.faults().clear();
    break_down(&sandbox, Route::Graph, Rule::new(edit("{", r#"{"unknown":{"to":["us"]},"#)));
    Program::full(&sandbox).run().await.exits(0);
}
