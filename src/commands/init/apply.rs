//! Sets up Port: shows what would change, asks, and applies it. Nothing that a user added is removed or changed.

use std::io::{self, Write};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use reqwest::Url;
use secrecy::ExposeSecret;
use serde_json::Value as Json;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::super::Printed;
use super::super::ask::{ask, can_ask};
use super::{blueprint, webhook};
use crate::cli::InitArgs;
use crate::config::{SECRET_VARIABLES, SetUpConfig};
use crate::error::{Cause, Exit, Problem};
use crate::http::{Http, RequestError};
use crate::port::{Object, Port, PortError};
use crate::secrets;
use crate::text::{Neutralized, printable};

/// The timeout of `gh`.
const PATIENCE: Duration = Duration::from_secs(60);

/// Why Port was not set up.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error(transparent)]
    Request(#[from] RequestError),
    #[error(transparent)]
    Port(#[from] PortError),
    #[error("init --apply asks before it changes anything, and there is no terminal to ask on")]
    NoTerminal,
    #[error("what would change cannot be shown: {0}")]
    Output(#[from] io::Error),
    #[error("nothing was changed, as the answer was not yes")]
    Declined,
}

impl Problem for Refusal {
    fn exit(&self) -> Exit {
        match self {
            Self::Request(error) => error.exit(),
            Self::Port(error) => error.exit(),
            Self::NoTerminal => Exit::Configuration,
            Self::Output(_) | Self::Declined => Exit::Failed,
        }
    }

    fn advice(&self) -> Option<&'static str> {
        match self {
            Self::Request(error) => error.advice(),
            Self::Port(error) => error.advice(),
            Self::NoTerminal => {
                Some("add --yes to go ahead without being asked, or --dry-run to see what would change")
            }
            Self::Output(_) | Self::Declined => None,
        }
    }
}

/// Why the URL of the webhook was not handed over.
#[derive(Debug, thiserror::Error)]
enum NotHandedOver {
    #[error("{}", .0.told())]
    Port(#[from] PortError),
    #[error("Port does not show the URL of the webhook")]
    Unshown,
    #[error("gh secret set PORT_WEBHOOK_INGEST_URL failed: {}", printable(&.0.to_string()))]
    Gh(#[source] Cause),
}

impl Problem for NotHandedOver {
    fn advice(&self) -> Option<&'static str> {
        Some(
            "copy the URL of the webhook azure-incremental from Port (Data sources) to where PORT_WEBHOOK_INGEST_URL is kept, \
             or run this again with --gh-secret",
        )
    }
}

/// What to create and change, in this order.
#[derive(Default)]
struct Plan {
    /// Blueprints that do not exist.
    missing: Vec<Object>,
    /// Blueprints that lack something, including the missing ones once they are created.
    incomplete: Vec<Object>,
    webhook: Option<Object>,
    /// The changes to the webhook; `None` if it must be created.
    keys: Option<Object>,
    /// A description of all changes.
    told: Vec<String>,
    /// What does not meet the requirements and is left for the user to change.
    problems: Vec<String>,
}

/// Sets up Port, and prints the URL of a newly created webhook.
pub async fn run(config: &SetUpConfig, args: &InitArgs) -> Printed {
    let mut problems = Vec::new();
    let (output, exit) = match applied(config, args, &mut problems).await {
        Ok(output) if problems.is_empty() => (output, Exit::Ok),
        Ok(output) => (output, Exit::Failed),
        Err(refusal) => {
            problems.push(refusal.told());
            (String::new(), refusal.exit())
        }
    };
    let complaints = problems.iter().map(|problem| format!("error: {problem}\n")).collect();
    Printed { output, complaints, exit }
}

async fn applied(config: &SetUpConfig, args: &InitArgs, problems: &mut Vec<String>) -> Result<String, Refusal> {
    if let Some(signing) = config.webhook.as_ref().and_then(|webhook| webhook.signing.as_ref()) {
        secrets::keep(signing.secret.expose_secret());
    }
    let http = Http::new(1, config.limits.clone(), config.network.clone())?;
    let port = Port::new(&config.api, "", Arc::new(http))?;
    port.sign_in().await?;
    let mut plan = look(&port, config).await?;
    problems.append(&mut plan.problems);
    let mut output = Neutralized(io::stderr());
    let told = if plan.told.is_empty() { "nothing to change".to_owned() } else { plan.told.join("\n") };
    writeln!(output, "{}:\n{told}", port.origin())?;
    if config.dry_run {
        return Ok(String::new());
    }
    let mut is_new = false;
    if !plan.told.is_empty() {
        confirm(args, &mut output)?;
        is_new = write(&port, &plan, problems).await?;
        writeln!(output, "done")?;
    }
    if !(is_new || args.gh_secret) {
        return Ok(String::new());
    }
    let there = port.webhook(webhook::IDENTIFIER).await;
    let handed_over = match there.map(|there| ingest_url(&there.unwrap_or_default())) {
        Err(error) => Err(error.into()),
        Ok(None) => Err(NotHandedOver::Unshown),
        Ok(Some(url)) if !args.gh_secret => return Ok(format!("{url}\n")),
        Ok(Some(url)) => hand_over(url.as_str()).await.map_err(NotHandedOver::Gh),
    };
    match handed_over {
        Ok(()) => writeln!(output, "the secret PORT_WEBHOOK_INGEST_URL of the repository is set")?,
        Err(error) => problems.push(error.told()),
    }
    Ok(String::new())
}

fn confirm(args: &InitArgs, output: &mut impl Write) -> Result<(), Refusal> {
    if args.yes {
        return Ok(());
    }
    if !can_ask() {
        return Err(Refusal::NoTerminal);
    }
    if ask("Apply?", output, &mut io::stdin().lock())? { Ok(()) } else { Err(Refusal::Declined) }
}

/// Compares what exists with what is wanted.
async fn look(port: &Port, config: &SetUpConfig) -> Result<Plan, PortError> {
    let mut plan = Plan::default();
    for wanted in blueprint::wanted(config.coverage) {
        let identifier = blueprint::identifier(&wanted);
        match port.blueprint(identifier).await? {
            None => {
                plan.tell('+', &format!("blueprint {identifier}"), &added(blueprint::told(&wanted)));
                plan.missing.push(wanted.clone());
                plan.incomplete.push(wanted);
            }
            Some(there) => {
                let merged = blueprint::merge(&there, &wanted);
                plan.problems.extend(merged.problems);
                if !merged.added.is_empty() {
                    plan.tell('~', &format!("blueprint {identifier}"), &added(merged.added));
                    plan.incomplete.push(wanted);
                }
            }
        }
    }
    if let Some(webhook) = &config.webhook {
        let wanted = webhook::wanted(webhook, config.coverage);
        let name = format!("webhook {}", webhook::IDENTIFIER);
        match port.webhook(webhook::IDENTIFIER).await? {
            None => plan.tell('+', &name, &added(webhook::told(&wanted))),
            Some(there) => {
                let changes = webhook::compare(&there, &wanted);
                plan.problems.extend(changes.problems);
                if !changes.told.is_empty() {
                    plan.tell('~', &name, &changes.told);
                }
                plan.keys = Some(changes.keys);
            }
        }
        plan.webhook = Some(wanted);
    }
    Ok(plan)
}

fn added(lines: Vec<String>) -> Vec<String> {
    lines.into_iter().map(|line| format!("+ {line}")).collect()
}

impl Plan {
    fn tell(&mut self, sign: char, what: &str, lines: &[String]) {
        self.told.push(format!("{sign} {what}"));
        self.told.extend(lines.iter().map(|line| format!("    {line}")));
    }
}

/// Applies the plan. Returns whether the webhook is new.
async fn write(port: &Port, plan: &Plan, problems: &mut Vec<String>) -> Result<bool, PortError> {
    // First each blueprint alone, then the links between them, because two may link to each other.
    for wanted in &plan.missing {
        if let Err(error) = port.make_blueprint(&blueprint::bare(wanted)).await {
            // Somebody else may have created it meanwhile, or the answer to the first attempt was lost.
            let may_be_there = error.may_be_taken();
            if !may_be_there || port.blueprint(blueprint::identifier(wanted)).await?.is_none() {
                return Err(error);
            }
        }
    }
    for wanted in &plan.incomplete {
        let identifier = blueprint::identifier(wanted);
        // Read again, because all of it is written back.
        let there = port.blueprint(identifier).await?.unwrap_or_default();
        let merged = blueprint::merge(&there, wanted);
        problems.extend(merged.problems.into_iter().filter(|problem| !problems.contains(problem)).collect::<Vec<_>>());
        if !merged.added.is_empty() {
            port.replace_blueprint(identifier, &merged.blueprint).await?;
        }
    }
    let Some(wanted) = &plan.webhook else { return Ok(false) };
    if let Some(keys) = &plan.keys {
        change_webhook(port, keys).await?;
        return Ok(false);
    }
    if let Err(error) = port.make_webhook(wanted).await {
        let there = if error.may_be_taken() { port.webhook(webhook::IDENTIFIER).await? } else { None };
        let changes = webhook::compare(&there.ok_or(error)?, wanted);
        problems.extend(changes.problems);
        change_webhook(port, &changes.keys).await?;
    }
    Ok(true)
}

async fn change_webhook(port: &Port, keys: &Object) -> Result<(), PortError> {
    if keys.is_empty() { Ok(()) } else { port.change_webhook(webhook::IDENTIFIER, keys).await }
}

/// The URL to post to. Registers the webhook's key in it as a secret, so that no message shows it.
fn ingest_url(webhook: &Object) -> Option<Url> {
    let url = webhook.get("url").and_then(Json::as_str).and_then(|url| Url::parse(url).ok())?;
    secrets::keep_key_of(&url);
    Some(url)
}

/// Stores the URL as a secret of the repository with GitHub's own CLI, by standard input, so that it shows in no
/// process list.
async fn hand_over(url: &str) -> Result<(), Cause> {
    let mut command = Command::new("gh");
    command.args(["secret", "set", "PORT_WEBHOOK_INGEST_URL"]).kill_on_drop(true);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    for name in SECRET_VARIABLES {
        command.env_remove(name);
    }
    let running = async {
        let mut child = command.spawn()?;
        if let Some(mut input) = child.stdin.take() {
            // If `gh` does not read its input, it reports why.
            _ = input.write_all(url.as_bytes()).await;
        }
        child.wait_with_output().await
    };
    let ended = tokio::time::timeout(PATIENCE, running)
        .await
        .map_err(|error| Cause::told(format!("it did not end within {} s", PATIENCE.as_secs()), error))??;
    if ended.status.success() {
        Ok(())
    } else {
        Err(format!("{}: {}", ended.status, String::from_utf8_lossy(&ended.stderr)).into())
    }
}
