//! The workflows of an estate: the program's configuration, and the part of the estate that it syncs.

use azure_incremental::cli::Settings as Flags;
use sandbox::Sandbox;
use sandbox::expected::Scope;

use super::super::workflow::Workflow;
use super::sink::OTHER_CLIENT;
use super::{Estate, Sink, Trouble};

/// Only groups in production.
fn production() -> (Flags, Scope) {
    let scope = Scope { include: vec![("environment".into(), "production".into())], ..Scope::default() };
    (filtered(r#"{"include": {"ENVIRONMENT": "Production"}}"#), scope)
}

/// All other groups.
fn rest() -> (Flags, Scope) {
    let scope = Scope { exclude: vec![("environment".into(), "production".into())], ..Scope::default() };
    (filtered(r#"{"exclude": {"Environment": "production"}}"#), scope)
}

fn filtered(filters: &str) -> Flags {
    Flags { resource_group_tag_filters: Some(filters.into()), ..Flags::default() }
}

/// The mapping that makes the same entities as the webhook's.
const MAPPING: &str = include_str!("../../../examples/port/entities.yml");

/// A mapping that skips most resources and maps the others differently.
fn other_mapping() -> String {
    let (containers, resources) = MAPPING.split_once("kind: resource\n").unwrap();
    let storage = resources.replace("'true'", "'.type | startswith(\"microsoft.storage\")'");
    format!("{containers}kind: resource\n{storage}").replace("title: .name", "title: .name | ascii_upcase")
}

/// The workflows of a story. All of them run in each tick; with [`Trouble::Identity`], only one does.
pub(super) fn of(Estate { trouble, sink }: Estate, sandbox: &Sandbox) -> Vec<Workflow<Scope>> {
    let keep = |(flags, scope)| (Flags { out_of_scope: Some("keep".into()), ..flags }, scope);
    let mapping = |name: &str, text: &str| {
        let file = sandbox.directory().join(name);
        std::fs::write(&file, text).unwrap();
        (sink == Sink::Api).then(|| file.display().to_string())
    };
    let (usual, other) = (mapping("entities.yml", MAPPING), mapping("other.yml", &other_mapping()));
    let with = |name, (flags, scope): (Flags, Scope), changed: Option<(&str, String)>| {
        let every = trouble.full_every().to_string();
        let mapping_file = flags.mapping_file.or_else(|| usual.clone());
        let flags = Flags { full_sync_every_hours: Some(every), mapping_file, ..flags };
        let mut environment = sink.environment(sandbox);
        environment.extend(changed.map(|(setting, value)| (setting.to_owned(), value)));
        Workflow::new(sandbox, name, flags, scope, &environment)
    };
    let new = |name, setting| with(name, setting, None);
    match trouble {
        Trouble::Tags | Trouble::TagsAndKills | Trouble::Rollbacks | Trouble::Flapping | Trouble::Mixed => {
            vec![new("tags", production())]
        }
        Trouble::Types => {
            let types = ["Microsoft.Storage/storageAccounts", "microsoft.keyvault/vaults"];
            let flags = Flags { resource_types: Some(types.join(",")), ..Flags::default() };
            let scope = Scope { types: types.map(str::to_lowercase).into(), ..Scope::default() };
            vec![new("types", (flags, scope))]
        }
        Trouble::TwoWorkflows => vec![new("tags", keep(production())), new("rest", keep(rest()))],
        Trouble::Identity => {
            let rotated = match sink {
                Sink::Webhook => ("PORT_WEBHOOK_INGEST_URL", format!("{}?rotated", sandbox.webhook_url())),
                Sink::Api => ("PORT_CLIENT_ID", OTHER_CLIENT.to_owned()),
            };
            let changed = || match sink {
                Sink::Webhook => {
                    let secret = "a new secret for the signatures".to_owned();
                    with("one", production(), Some(("PORT_WEBHOOK_SECRET", secret)))
                }
                Sink::Api => {
                    let (flags, scope) = production();
                    with("one", (Flags { mapping_file: other.clone(), ..flags }, scope), None)
                }
            };
            vec![
                with("one", production(), None),
                with("one", production(), Some(rotated.clone())),
                changed(),
                with("one", rest(), None),
                with("one", rest(), Some(rotated)),
            ]
        }
        _ => vec![new("all", (Flags::default(), Scope::default()))],
    }
}
