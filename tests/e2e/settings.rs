//! What people pass instead of a value: placeholders, quotes, invisible characters, misspelt names, files of variables.

use std::collections::BTreeMap;
use std::process::Command;

use sandbox::Sandbox;
use sandbox::settings::{SECRET, Security, WEBHOOK_KEY};
use serde_json::Value as Json;

use crate::harness::{Program, Run, Small, empty, envelopes, settled, start};

fn full(sandbox: &Sandbox) -> Program {
    Program::full(sandbox).without("LOG_FORMAT")
}

/// With a webhook that drops posts not signed with this secret.
async fn secured(secret: &str) -> Small {
    let mut settings = empty();
    let (header, prefix) = ("x-port-signature".into(), "sha256=".into());
    settings.port.security = Some(Security { secret: secret.into(), header, prefix });
    Small::with(settings).await
}

/// The log messages with this level.
fn logged(run: &Run, level: &str) -> Vec<String> {
    let lines = run.err.lines().map(|line| serde_json::from_str::<Json>(line).expect("each line is JSON"));
    let of_level = lines.filter(|line| line["level"] == level);
    of_level.filter_map(|line| Some(line["message"].as_str()?.to_owned())).collect()
}

/// Invalid values, and how the message describes them.
const NO_VALUES: [(&str, &str); 14] = [
    ("$(PORT_MARKED)", "a placeholder of the form $(…)"),
    ("${{ secrets.MARKED }}", "a placeholder of the form ${{…}}"),
    ("${MARKED}", "a placeholder of the form ${…}"),
    ("$MARKED", "a placeholder of the form $…"),
    ("%MARKED%", "a placeholder of the form %…%"),
    ("<your-MARKED>", "a placeholder of the form <…>"),
    ("***", "a mask"),
    ("\"MARKED\"", "is wrapped in quotes"),
    ("'MARKED'", "is wrapped in quotes"),
    ("“MARKED”", "is wrapped in quotes"),
    ("\u{feff}MARKED", "a byte order mark (U+FEFF), as character 1 of its 7"),
    ("MARK\u{200b}ED", "one of no width (U+200B), as character 5 of its 7"),
    ("MARKED\u{a0}", "a non-breaking space (U+00A0), as character 7 of its 7"),
    ("MARK\nED", "a line break (U+000A)"),
];

#[tokio::test]
async fn a_secret_that_is_no_value_is_refused_by_its_kind_and_not_shown() {
    let small = Small::start().await;
    for (value, kind) in NO_VALUES {
        for variable in ["PORT_WEBHOOK_SECRET", "AZURE_CLIENT_SECRET", "PORT_WEBHOOK_INGEST_URL", "HTTPS_PROXY"] {
            let run = full(&small.sandbox).env(variable, value).run().await.exits(2);
            let line = run.err.lines().find(|line| line.starts_with(&format!("error: {variable} ")));
            assert!(line.is_some_and(|line| line.contains(kind)), "{variable}={value:?}: {run}");
            assert_eq!(run.err.matches("error: ").count(), 1, "{run}");
            run.does_not_say(&["MARK", "not set"]);
        }
    }
    let check = full(&small.sandbox).env("PORT_WEBHOOK_SECRET", "$(X)").args(["check", "--probe"]);
    check.run().await.exits(2).says(&["PORT_WEBHOOK_SECRET is or holds a placeholder"]);
    assert_eq!(small.sandbox.requests().total(), 0, "no request is sent");
}

#[tokio::test]
async fn every_setting_with_a_flag_that_is_no_value_is_refused_and_the_flag_is_named() {
    let sandbox = start(empty()).await;
    let help = crate::documentation::help().await;
    for (variable, flag) in crate::documentation::flags(&help) {
        for (value, kind) in NO_VALUES {
            // JSON and lists may have several lines.
            if value.contains('\n') && variable.starts_with("RESOURCE_") {
                continue;
            }
            let mut program = full(&sandbox).env(&variable, value);
            let mut named = variable.as_str();
            if value == "$MARKED" {
                program = full(&sandbox).args([&format!("{flag}={value}")]);
                named = &flag;
            }
            let run = program.run().await.exits(2);
            let line = run.err.lines().find(|line| line.starts_with(&format!("error: {named} ")));
            assert!(line.is_some_and(|line| line.contains(kind)), "{named}={value:?}: {run}");
        }
    }
    assert_eq!(sandbox.requests().total(), 0, "no request is sent");
}

#[tokio::test]
async fn a_secret_that_only_looks_odd_signs_posts() {
    for secret in ["$ecret", "a\"b", "\"a", "$(a)b", "größe", "a b"] {
        let small = secured(secret).await;
        full(&small.sandbox).env("PORT_WEBHOOK_SECRET", format!(" {secret}\r\n")).run().await.exits(0);
        assert_eq!(envelopes(&small.sandbox).await.len(), 3);
        assert_eq!(small.sandbox.port().audit(), [""; 0], "{secret}");
    }
}

#[tokio::test]
async fn a_wrong_value_of_a_flag_is_told_by_the_flag() {
    let sandbox = start(empty()).await;
    let run = full(&sandbox).args(["--mode=ful"]).run().await.exits(2);
    assert!(run.err.starts_with("error: --mode is \"ful\": expected incremental or full\n"), "{run}");
    let run = full(&sandbox).env("SYNC_MODE", "ful").run().await.exits(2);
    assert!(run.err.starts_with("error: SYNC_MODE is \"ful\": expected incremental or full\n"), "{run}");
}

#[tokio::test]
async fn wrong_json_is_shown_with_a_caret_where_it_goes_wrong() {
    let sandbox = start(empty()).await;
    let filters = r#"{"include": {"Environment": Production}}"#;
    let run = full(&sandbox).env("RESOURCE_GROUP_TAG_FILTERS", filters).run().await.exits(2);
    let shown: Vec<&str> = run.err.lines().skip(1).take(2).collect();
    assert_eq!(shown[0].trim(), filters, "{run}");
    assert_eq!(shown[1].trim(), "^");
    assert_eq!(&shown[0][shown[1].len() - 1..], "Production}}", "{run}");
    // For a long text, only its surroundings are shown.
    let long = format!(r#"{{"include": {{"{}": 1, "{}": "c"}}}}"#, "a".repeat(300), "b".repeat(300));
    let run = full(&sandbox).env("RESOURCE_GROUP_TAG_FILTERS", long).run().await.exits(2);
    let shown: Vec<&str> = run.err.lines().skip(1).take(2).collect();
    let before: String = shown[0].chars().take(shown[1].chars().count()).collect();
    assert!(before.ends_with(": 1") && shown[0].chars().count() < 220, "{run}");
}

#[tokio::test]
async fn a_url_without_its_scheme_is_told_so() {
    let sandbox = start(empty()).await;
    for url in ["ingest.getport.io/MARKED", "localhost:8080/MARKED", "//x.example/MARKED", "https:x.example/MARKED"] {
        let run = full(&sandbox).env("PORT_WEBHOOK_INGEST_URL", url).run().await.exits(2);
        run.says(&["PORT_WEBHOOK_INGEST_URL does not begin with https://"]).does_not_say(&["MARKED"]);
    }
}

#[tokio::test]
async fn for_a_machine_what_is_wrong_with_the_settings_is_json_and_so_is_the_report() {
    let sandbox = start(empty()).await;
    let wrong = || Program::new(&sandbox).env("SYNC_MODE", "full").env("OUT_OF_SCOPE", "x").env("DRY_RUN", "false");
    let run = wrong().env("PORT_WEBHOOK_CONCURRENCY", "0").run().await.exits(2);
    let errors = logged(&run, "ERROR");
    assert_eq!(errors.len(), 2, "{run}");
    assert!(errors.iter().any(|error| error.starts_with("OUT_OF_SCOPE is \"x\": expected delete or keep")), "{run}");
    let report = run.report();
    assert_eq!((&report["mode"], &report["exit"]), (&"full".into(), &2.into()), "{run}");
    assert_eq!(run.errors().lines().count(), 2, "{run}");
    // In a dry run, standard output is reserved for envelopes.
    let run = wrong().args(["--dry-run"]).run().await.exits(2);
    assert!(run.out.is_empty() && run.err.lines().any(|line| line.contains("\"dryRun\":true")), "{run}");
    let run = wrong().args(["check"]).run().await.exits(2);
    assert!(run.out.is_empty() && logged(&run, "ERROR").len() == 1, "{run}");
    let run = wrong().args(["--env-file", "/nowhere/.env"]).run().await.exits(2);
    assert!(logged(&run, "ERROR")[0].starts_with("--env-file /nowhere/.env cannot be read"), "{run}");
}

#[tokio::test]
async fn a_misspelt_name_is_told_in_runs_checks_and_refusals() {
    let sandbox = start(settled()).await;
    let said =
        "RESOURCE_GROUP_TAG_FILTER is set, and there is no such setting; did you mean RESOURCE_GROUP_TAG_FILTERS?";
    let program = || Program::new(&sandbox).env("RESOURCE_GROUP_TAG_FILTER", "{}");
    let run = program().run().await.exits(0);
    assert_eq!(logged(&run, "WARN"), [said], "{run}");
    let check = program().without("LOG_FORMAT").args(["check"]).run().await.exits(0);
    assert!(check.out.lines().any(|line| line.starts_with("note   configuration") && line.ends_with(said)), "{check}");
    let refused = program().without("LOG_FORMAT").without("AZURE_CLIENT_SECRET").env("AZURE_CLIENT_SECERT", "x");
    refused.run().await.exits(2).says(&[
        said,
        "warning: AZURE_CLIENT_SECERT is set",
        "did you mean AZURE_CLIENT_SECRET?",
    ]);
    let queries = program().args(["queries"]).run().await.exits(0);
    assert!(queries.err.contains(said) && !queries.out.contains("did you mean"), "{queries}");

    let mut neighbours = Program::new(&sandbox);
    for name in ["AZURE_CONFIG_DIR", "AZURE_SUBSCRIPTION_ID", "PORT_443_TCP", "PORT_SERVICE_HOST", "CHECKPOINT_DISABLE"]
    {
        neighbours = neighbours.env(name, "x");
    }
    let run = neighbours.env("RESOURCE_TYPE", " ").run().await.exits(0);
    assert_eq!(logged(&run, "WARN"), [""; 0], "{run}");
}

#[tokio::test]
async fn a_full_run_warns_of_a_filter_and_of_a_type_that_match_nothing() {
    let small = Small::start().await;
    let warnings = async |name: &str, value: &str, mode: &str| {
        let run = Program::new(&small.sandbox).env("SYNC_MODE", mode).env(name, value).run().await.exits(0);
        logged(&run, "WARN")
    };
    let filter = r#"{"include": {"Environment": "Producton"}}"#;
    let told = warnings("RESOURCE_GROUP_TAG_FILTERS", filter, "full").await;
    assert!(told.len() == 1 && told[0].starts_with("no group matches RESOURCE_GROUP_TAG_FILTERS: "), "{told:?}");
    let types = "microsoft.keyvault/vaults,microsoft.keyvault/vault";
    let told = warnings("RESOURCE_TYPES", types, "full").await;
    assert_eq!(
        told,
        ["no resource in scope has the type microsoft.keyvault/vault; check the spelling in RESOURCE_TYPES"]
    );
    assert_eq!(warnings("RESOURCE_TYPES", "Microsoft.KeyVault/vaults", "full").await, [""; 0]);
    assert_eq!(warnings("RESOURCE_GROUP_TAG_FILTERS", r#"{"exclude": {"a": "b"}}"#, "full").await, [""; 0]);
    assert_eq!(warnings("RESOURCE_TYPES", types, "incremental").await, [""; 0], "it reads what changed alone");
}

#[tokio::test]
async fn a_file_of_variables_is_read_in_one_dialect_and_what_is_set_goes_before_it() {
    let small = secured("a$b\"c#d").await;
    let variables: BTreeMap<String, String> = small.sandbox.env().into_iter().collect();
    let file = small.sandbox.directory().join("settings.env");
    let mut text =
        String::from("\u{feff}# settings\r\n\r\nexport SYNC_MODE = 'full' # everything\r\nLOG_FORMAT=\"json\"\r\n");
    for (name, value) in &variables {
        text += &format!("{name}={value}\r\n");
    }
    text += "PORT_WEBHOOK_SECRET=a$b\"c#d\r\nRESOURCE_GROUP_TAG_FILTERS={\"exclude\": {\"a\": \"b c\"}}\r\nRUST_LOG=off\r\n";
    std::fs::write(&file, text).unwrap();
    let program = || Program::bare().env("PORT_WEBHOOK_CONCURRENCY", "").args(["--env-file", file.to_str().unwrap()]);
    let run = program().run().await.exits(0);
    assert_eq!((&run.report()["mode"], run.err.as_str()), (&"full".into(), ""), "{run}");
    assert_eq!(run.count("upserts"), 3, "{run}");
    assert_eq!(small.sandbox.port().audit(), [""; 0], "the secret is the one in the file");

    let run = program().env("SYNC_MODE", "incremental").run().await.exits(0);
    assert_eq!(run.report()["mode"], "incremental", "what is set goes before the file; {run}");
    let run = program().env("SYNC_MODE", "").run().await.exits(0);
    assert_eq!(run.report()["mode"], "full", "an empty variable counts as unset; {run}");
    run.does_not_say(&[SECRET, WEBHOOK_KEY]);

    std::fs::write(&file, "SYNC_MODE=full\nAZURE_CLIENT_SECRET='MARKED\n").unwrap();
    let run = Program::bare().args(["--env-file", file.to_str().unwrap()]).run().await.exits(2);
    run.says(&["--env-file ", ", line 2: expected NAME=value"]).does_not_say(&["MARKED"]);
    std::fs::write(&file, "AZURE_CLIENT_SECRET=$(MARKED)\nCHECKPOINT_PATH=x\n").unwrap();
    let run = Program::bare().args(["check", "--env-file", file.to_str().unwrap()]).run().await.exits(2);
    run.says(&["AZURE_CLIENT_SECRET is or holds a placeholder", "did you mean CHECKPOINT_FILE?"])
        .does_not_say(&["MARKED"]);
}

#[test]
fn no_example_has_a_line_to_uncomment_that_would_be_refused() {
    let commented =
        regex::Regex::new(r"(?m)^\s*#\s*([A-Z][A-Z0-9_]+)(?:=|: )(\$\(|\$\[|\$[A-Z]|%|<|\*\*\*|['\x22]).*$").unwrap();
    let mut files = vec![std::path::PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/examples"))];
    let mut read = 0;
    while let Some(path) = files.pop() {
        if path.is_dir() {
            files.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else {
            let text = std::fs::read_to_string(&path).unwrap();
            let refused: Vec<&str> = commented.find_iter(&text).map(|found| found.as_str()).collect();
            assert_eq!(refused, [""; 0], "{}", path.display());
            read += 1;
        }
    }
    assert!(read >= 12, "{read} files");
}

/// The lines of the example that are settings, including commented-out ones.
fn example() -> Vec<(String, String)> {
    let assignment = regex::Regex::new(r"^#?([A-Z][A-Z_]+)=(.*)$").unwrap();
    let lines = include_str!("../../.env.example").lines();
    lines.filter_map(|line| assignment.captures(line)).map(|found| (found[1].to_owned(), found[2].to_owned())).collect()
}

#[tokio::test]
async fn the_example_of_a_file_says_the_same_to_docker_to_make_and_to_the_program() {
    let example = example();
    assert!(example.len() >= 25, "{example:?}");
    // Docker takes values literally, including quotes and comments.
    for (name, value) in &example {
        let is_plain = !value.starts_with(['"', '\'']) && !value.contains(" #") && value.trim() == value;
        assert!(is_plain, "{name}={value}");
    }
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join(".env");
    let with = |values: &[(&str, &str)]| {
        let lines = example.iter().map(|(name, value)| {
            let own = values.iter().find(|(own, _)| own == name).map_or(value.as_str(), |(_, own)| own);
            format!("{name}={own}\n")
        });
        lines.collect::<String>()
    };
    const GUID: &str = "00000000-0000-4000-8000-000000000001";
    let ids = [
        ("AZURE_TENANT_ID", GUID),
        ("AZURE_CLIENT_ID", GUID),
        ("AZURE_CLIENT_SECRET", "s$x"),
        ("PORT_WEBHOOK_INGEST_URL", "https://127.0.0.1:9/key"),
    ];
    std::fs::write(&file, with(&ids)).unwrap();
    let by_file = Program::bare().args(["queries", "--env-file", file.to_str().unwrap()]).run().await.exits(0);
    let mut program = Program::bare().args(["queries"]);
    for (name, value) in &example {
        program = program.env(name, ids.iter().find(|(own, _)| own == name).map_or(value.as_str(), |(_, own)| own));
    }
    let as_docker = program.run().await.exits(0);
    let moments = regex::Regex::new(r"datetime\([^)]*\)|since [0-9T:-]+Z").unwrap();
    assert_eq!(moments.replace_all(&by_file.out, ""), moments.replace_all(&as_docker.out, ""));
    assert!(by_file.out.contains("microsoft.keyvault/vaults") && by_file.out.contains("'production'"), "{by_file}");
    // Everything is valid; only the hosts are unreachable.
    let run = Program::bare().args(["--env-file", file.to_str().unwrap()]).env("RUN_TIMEOUT_SECONDS", "1");
    let run = run
        .env("HTTPS_PROXY", "http://127.0.0.1:9")
        .env("CHECKPOINT_FILE", directory.path().join("c"))
        .env("DEAD_LETTER_FILE", directory.path().join("d"));
    assert!([1, 3].contains(&run.run().await.code), "the settings are accepted");

    let make = || {
        let makefile = concat!(env!("CARGO_MANIFEST_DIR"), "/Makefile");
        let arguments = ["-n", "-f", makefile, "run", "ARGS=check"];
        let output = Command::new("make").args(arguments).current_dir(directory.path()).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    // The file sets its own checkpoint.
    assert!(make().replace("  ", " ").contains("azure-incremental --env-file .env check"));
    std::fs::remove_file(&file).unwrap();
    assert!(!make().contains("--env-file"));
}
