//! The workflows of an estate: how the program is set up, and what of the estate it is told to sync.

use azure_incremental::cli::Settings as Flags;
use sandbox::Sandbox;
use sandbox::expected::Scope;

use super::super::workflow::Workflow;
use super::Trouble;

/// Groups in production only.
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

/// Those of a story. All of them run in each tick, but with [`Trouble::Identity`], where one does.
pub(super) fn of(trouble: Trouble, sandbox: &Sandbox) -> Vec<Workflow<Scope>> {
    let keep = |(flags, scope)| (Flags { out_of_scope: Some("keep".into()), ..flags }, scope);
    let with = |name, (flags, scope), more: &[_]| {
        let every = trouble.full_every().to_string();
        Workflow::new(sandbox, name, Flags { full_sync_every_hours: Some(every), ..flags }, scope, more)
    };
    let new = |name, setting| with(name, setting, &[]);
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
            let rotated = ("PORT_WEBHOOK_INGEST_URL", format!("{}?rotated", sandbox.webhook_url()));
            let secret = ("PORT_WEBHOOK_SECRET", "a new secret for the signatures".to_owned());
            vec![
                with("one", production(), &[]),
                with("one", production(), std::slice::from_ref(&rotated)),
                with("one", production(), &[secret]),
                with("one", rest(), &[]),
                with("one", rest(), &[rotated]),
            ]
        }
        Trouble::Entities => {
            let mapping = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/port/entities.yml");
            let flags = Flags { mapping_file: Some(mapping.into()), ..production().0 };
            let no_webhook = ("PORT_WEBHOOK_INGEST_URL", String::new());
            let mut more = vec![no_webhook];
            let api = sandbox.port_env();
            more.extend(api.iter().map(|(name, value)| (name.as_str(), value.clone())));
            vec![with("entities", (flags, production().1), &more)]
        }
        _ => vec![new("all", (Flags::default(), Scope::default()))],
    }
}
