//! Which part of the estate belongs in the catalog: tags of groups, types of resources.

use std::collections::BTreeSet;
use std::time::Duration;

use sandbox::Sandbox;
use sandbox::estate::{Level, Tags};
use sandbox::expected::Scope;
use sandbox::names::tags;
use sandbox::settings::{EstateSize, Lags};
use serde_json::json;

use crate::harness::{MINUTE, Program, Small, assert_equal, empty, envelopes, outline, resource_ids, settled, start};
use crate::remembered::remembering;

fn pairs(of: &[(&str, &str)]) -> Vec<(String, String)> {
    of.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

/// The filter as a setting, and as the sandbox understands it.
fn filter(include: &[(&str, &str)], exclude: &[(&str, &str)]) -> (String, Scope) {
    let object = |of: &[(&str, &str)]| {
        of.iter().map(|(key, value)| ((*key).to_owned(), json!(value))).collect::<serde_json::Map<_, _>>()
    };
    let text = json!({"include": object(include), "exclude": object(exclude)}).to_string();
    // Invisible characters are only accepted as escapes.
    let unseen = |c: char| !c.is_ascii() && (c.is_whitespace() || c == '\u{feff}');
    let text = text.chars().map(|c| if unseen(c) { format!("\\u{:04x}", u32::from(c)) } else { c.into() }).collect();
    (text, Scope { include: pairs(include), exclude: pairs(exclude), ..Scope::default() })
}

fn wide() -> sandbox::settings::Settings {
    let mut settings = settled();
    settings.estate = EstateSize { subscriptions: 3, groups: 60, resources: 240 };
    settings.port.record = false;
    settings
}

#[tokio::test]
async fn only_groups_that_match_and_what_is_in_them_are_read() {
    let cases = [
        filter(&[("Environment", "Production")], &[]),
        filter(&[("ENVIRONMENT", "pRODUCTION")], &[]),
        filter(&[("environment", "production"), ("team", "PLATFORM")], &[]),
        filter(&[], &[("Environment", "Production")]),
        filter(&[], &[("environment", "test"), ("temporary", "TRUE")]),
        filter(&[("Environment", "Production")], &[("Team", "Data"), ("temporary", "true")]),
        filter(&[("Environment", "Produc")], &[]),
        filter(&[("Environment", "Production "), ("Team", "Platform")], &[]),
        filter(&[("Nobody", "has this")], &[]),
        filter(&[("Environment", "Production")], &[("Environment", "Production")]),
    ];
    let mut sizes = BTreeSet::new();
    let sandbox = start(wide()).await;
    for (text, scope) in cases {
        sandbox.port().clear().unwrap();
        let run = Program::full(&sandbox).env("RESOURCE_GROUP_TAG_FILTERS", &text).run().await.exits(0);
        assert_equal(&sandbox, &scope, &run).await;
        let groups = sandbox.port().with_catalog(|catalog| catalog.count("azureResourceGroup"));
        sizes.insert(groups);
        let subscriptions = sandbox.port().with_catalog(|catalog| catalog.count("azureSubscription"));
        assert_eq!(subscriptions, 3, "subscriptions are never filtered; {text}");
    }
    assert!(sizes.len() >= 5 && sizes.contains(&0), "the filters differ in what they take: {sizes:?}");
}

#[tokio::test]
async fn resource_graph_answers_with_every_group_and_with_the_resources_in_scope_only() {
    let sandbox = start(wide()).await;
    let (text, scope) = filter(&[("Environment", "Production")], &[]);
    let run = Program::full(&sandbox).env("RESOURCE_GROUP_TAG_FILTERS", text).run().await.exits(0);
    let catalog = sandbox.expected(&scope).catalog;
    let (entities, groups) = (catalog.entities.len() as u64, catalog.count("azureResourceGroup") as u64);
    assert!(groups < 60, "some are out of scope");
    assert_eq!(run.count("rows"), entities + 60 - groups, "{run}");
}

/// Each is used as the name of a tag and as its value.
const ODD: [&str; 20] = [
    "O'Connor",
    "''",
    "\"quoted\"",
    "back\\slash",
    "ends in a backslash\\",
    "\\'",
    "line\nbreak",
    "carriage\rreturn",
    "tab\there",
    "nul\u{0}byte",
    "\u{85}next line",
    "\u{2028}separator\u{2029}",
    "\u{feff}mark",
    "größe ÄÖ",
    "日本語",
    "\u{1F600}",
    "') or true or ('",
    "' | project id //",
    "a, b; c | d",
    "${x} {y} %s $left",
];

#[tokio::test]
async fn any_text_may_be_a_tag_and_none_ends_a_literal() {
    let sandbox = start(empty()).await;
    {
        let mut estate = sandbox.estate();
        let guid = estate.add_subscription("Odd", None);
        for (number, odd) in ODD.iter().enumerate() {
            let mut put = |name: String, tags: Tags| {
                let group = estate.create_group(&guid, &name, "westeurope", tags).unwrap();
                estate.create_resource(&group, "Microsoft.Web/sites", "site", "westeurope", None).unwrap();
            };
            put(format!("value-{number}"), tags(&[("tag", odd)]));
            put(format!("name-{number}"), tags(&[(odd, "value")]));
        }
    }
    for odd in ODD {
        for (text, scope) in [
            filter(&[("tag", odd)], &[]),
            filter(&[(odd, "value")], &[]),
            filter(&[], &[("tag", odd)]),
            filter(&[], &[(odd, "value")]),
        ] {
            sandbox.port().clear().unwrap();
            let run = Program::full(&sandbox).env("RESOURCE_GROUP_TAG_FILTERS", &text).run().await.exits(0);
            assert_equal(&sandbox, &scope, &run).await;
            let groups = sandbox.port().with_catalog(|catalog| catalog.count("azureResourceGroup"));
            assert!([1, 2 * ODD.len() - 1].contains(&groups), "{text} takes {groups} groups; {run}");
        }
    }
}

#[tokio::test]
async fn an_empty_value_asks_for_a_tag_that_is_there_and_empty() {
    let sandbox = start(empty()).await;
    {
        let mut estate = sandbox.estate();
        let guid = estate.add_subscription("One", None);
        for (name, tags) in [
            ("empty", tags(&[("Owner", "")])),
            ("other", tags(&[("Owner", "me")])),
            ("none", None),
            ("no-tags", tags(&[])),
        ] {
            estate.create_group(&guid, name, "westeurope", tags).unwrap();
        }
    }
    for (text, scope) in [filter(&[("owner", "")], &[]), filter(&[], &[("owner", "")])] {
        sandbox.port().clear().unwrap();
        let run = Program::full(&sandbox).env("RESOURCE_GROUP_TAG_FILTERS", &text).run().await.exits(0);
        assert_equal(&sandbox, &scope, &run).await;
    }
}

/// Two groups, one of which is in production and matches the filter.
struct Two {
    sandbox: Sandbox,
    subscription: std::sync::Arc<str>,
    inside: std::sync::Arc<str>,
    outside: std::sync::Arc<str>,
}

const PRODUCTION: &str = r#"{"include": {"Environment": "Production"}}"#;

impl Two {
    async fn start() -> Self {
        let sandbox = start(empty()).await;
        let (subscription, inside, outside) = {
            let mut estate = sandbox.estate();
            let subscription = estate.add_subscription("One", None);
            let mut group = |name, stage| {
                let tags = tags(&[("environment", stage)]);
                let group = estate.create_group(&subscription, name, "westeurope", tags).unwrap();
                for name in ["kept", "gone"] {
                    estate.create_resource(&group, "Microsoft.Web/sites", name, "westeurope", None).unwrap();
                }
                group
            };
            let groups = (group("Inside", "production"), group("Outside", "test"));
            (subscription.clone(), groups.0, groups.1)
        };
        sandbox.clock().advance(Duration::from_secs(24 * 3600));
        Self { sandbox, subscription, inside, outside }
    }

    fn site(group: &str, name: &str) -> String {
        format!("{group}/providers/microsoft.web/sites/{name}")
    }

    async fn run(&self) -> crate::harness::Run {
        Program::new(&self.sandbox).env("RESOURCE_GROUP_TAG_FILTERS", PRODUCTION).run().await.exits(0)
    }
}

#[tokio::test]
async fn changes_in_groups_out_of_scope_are_left_out() {
    let two = Two::start().await;
    {
        let mut estate = two.sandbox.estate();
        for group in [&two.inside, &two.outside] {
            estate.touch_resource(&Two::site(group, "kept"));
            let new = tags(&[("environment", if *group == two.inside { "PRODUCTION" } else { "Dev" })]);
            estate.retag_group(group, new);
        }
    }
    two.run().await;
    let sent = envelopes(&two.sandbox).await;
    let ids: Vec<&str> = sent.iter().map(crate::harness::Envelope::id).collect();
    let subscription = format!("/subscriptions/{}", two.subscription);
    assert_eq!(ids, [&*subscription, &*two.inside, &Two::site(&two.inside, "kept")]);
}

#[tokio::test]
async fn filters_never_hold_back_a_subscription_or_a_delete() {
    let two = Two::start().await;
    let (none, hour) = (Duration::ZERO..=Duration::ZERO, Duration::from_secs(3600));
    {
        let mut estate = two.sandbox.estate();
        estate.rename_subscription(&two.subscription, "Two");
        // Its row still exists, so that the tags of its group can be queried.
        estate.set_lags(Lags { record: none.clone(), row: hour..=hour });
        estate.delete_resource(&Two::site(&two.outside, "gone"));
        estate.set_lags(Lags { record: none.clone(), row: none.clone() });
        estate.delete_group(&two.inside);
    }
    two.run().await;
    let subscription = format!("/subscriptions/{}", two.subscription);
    let sent = envelopes(&two.sandbox).await;
    assert_eq!(sent[0].data["name"], "Two");
    let sent: BTreeSet<(&str, &str)> = outline(&sent).into_iter().collect();
    let deleted = [Two::site(&two.outside, "gone"), Two::site(&two.inside, "gone"), Two::site(&two.inside, "kept")];
    let mut expected: BTreeSet<(&str, &str)> = deleted.iter().map(|id| ("delete", id.as_str())).collect();
    expected.extend([("upsert", subscription.as_str()), ("delete", &two.inside)]);
    assert_eq!(sent, expected);

    two.sandbox.port().forget_deliveries().await;
    two.sandbox.clock().advance(Duration::from_secs(3600));
    {
        let mut estate = two.sandbox.estate();
        estate.set_lags(Lags { record: none, row: hour..=hour });
        estate.delete_group(&two.outside);
    }
    two.run().await;
    let sent = envelopes(&two.sandbox).await;
    assert!(outline(&sent).contains(&("delete", &two.outside)), "{:?}", outline(&sent));
    assert!(outline(&sent).contains(&("delete", &Two::site(&two.outside, "kept"))), "{:?}", outline(&sent));
}

/// Whether something without a row is in scope is unknown, so it is unresolved instead of silently left out.
#[tokio::test]
async fn what_has_no_current_row_is_unresolved_and_not_out_of_scope() {
    let two = Two::start().await;
    let hour = Duration::from_secs(3600);
    let none = Duration::ZERO..=Duration::ZERO;
    {
        let mut estate = two.sandbox.estate();
        estate.set_lags(Lags { record: none.clone(), row: hour..=hour });
        estate.create_resource(&two.inside, "Microsoft.Web/sites", "unseen", "eastus", None).unwrap();
        let group = estate.create_group(&two.subscription, "Unseen", "eastus", None).unwrap();
        estate.set_lags(Lags { record: none.clone(), row: none });
        estate.create_resource(&group, "Microsoft.Web/sites", "seen", "eastus", None).unwrap();
    }
    let run = two.run().await;
    let sent = envelopes(&two.sandbox).await;
    assert!(sent.iter().all(|envelope| !envelope.body.to_lowercase().contains("seen")), "{:?}", outline(&sent));
    assert_eq!(run.count("unresolved"), 3, "{run}");
}

fn of_types(types: &[&str]) -> Scope {
    Scope { types: types.iter().map(|ty| (*ty).to_owned()).collect(), ..Scope::default() }
}

#[tokio::test]
async fn types_filter_resources_only_whatever_their_case_and_form() {
    let vaults = &["microsoft.keyvault/vaults"][..];
    let nested = &["Microsoft.Sql/servers/databases", "Microsoft.Web/sites"];
    let cases = [
        ("microsoft.keyvault/vaults", vaults),
        ("MICROSOFT.KEYVAULT/VAULTS", vaults),
        (r#"["Microsoft.KeyVault/vaults"]"#, vaults),
        (r#" [ "Microsoft.Sql/servers/databases" , "microsoft.web/SITES" ] "#, nested),
        (" Microsoft.Sql/servers/databases , microsoft.web/SITES ", nested),
        ("Microsoft.Web/sites,microsoft.web/sites,microsoft.sql/servers/databases", nested),
        ("microsoft.nobody/hasthis", &["microsoft.nobody/hasthis"]),
        ("[]", &[]),
    ];
    let sandbox = start(wide()).await;
    for (text, types) in cases {
        sandbox.port().clear().unwrap();
        let run = Program::full(&sandbox).env("RESOURCE_TYPES", text).run().await.exits(0);
        assert_equal(&sandbox, &of_types(types), &run).await;
        let groups = sandbox.port().with_catalog(|catalog| catalog.count("azureResourceGroup"));
        assert_eq!(groups, 60, "groups are never filtered by type; {text}");
    }
}

#[tokio::test]
async fn types_filter_changes_and_deletes_in_both_modes_alike() {
    let sandbox = start(settled()).await;
    let (kept, other) = {
        let mut estate = sandbox.estate();
        let group = estate.groups().keys().next().unwrap().clone();
        let mut make = |ty, name| estate.create_resource(&group, ty, name, "eastus", None).unwrap();
        let made = [
            make("Microsoft.KeyVault/vaults", "v-kept"),
            make("Microsoft.KeyVault/vaults", "v-gone"),
            make("Microsoft.Web/sites", "s-kept"),
            make("Microsoft.Web/sites", "s-gone"),
        ];
        estate.delete_resource(&made[1]);
        estate.delete_resource(&made[3]);
        ([made[0].to_string(), made[1].to_string()], [made[2].to_string(), made[3].to_string()])
    };
    for mode in ["incremental", "full"] {
        sandbox.port().forget_deliveries().await;
        let program = Program::new(&sandbox).env("SYNC_MODE", mode).env("RESOURCE_TYPES", "microsoft.keyVault/VAULTS");
        let run = program.run().await.exits(0);
        let sent = envelopes(&sandbox).await;
        let ids = resource_ids(&sent);
        assert!(kept.iter().all(|id| ids.contains(id)), "{mode}: {:?}; {run}", outline(&sent));
        assert!(!other.iter().any(|id| ids.contains(id)), "{mode}: {:?}; {run}", outline(&sent));
        assert!(sent.iter().filter(|one| one.is_resource()).all(|one| one.ty() == "microsoft.keyvault/vaults"));
        let deletes: Vec<&str> = sent.iter().filter(|one| !one.is_upsert()).map(crate::harness::Envelope::id).collect();
        assert_eq!(deletes, [&kept[1]], "{mode}; {run}");
    }
}

#[tokio::test]
async fn a_resource_without_a_group_is_in_scope_unless_a_filter_includes_groups_and_waits_for_nothing() {
    let include = r#"{"include": {"Environment": "Production"}}"#;
    let exclude = r#"{"exclude": {"Environment": "Production"}}"#;
    for (filters, upserts) in [(exclude, 3), (include, 0)] {
        let small = Small::start().await;
        let Small { sandbox, subscription, .. } = &small;
        let run = || remembering(sandbox).env("RESOURCE_GROUP_TAG_FILTERS", filters);
        run().run().await.exits(0);
        run().run().await.exits(0);
        sandbox.clock().advance(MINUTE);
        {
            let mut estate = sandbox.estate();
            let kind = "Microsoft.Security/pricings";
            for level in [Level::Subscription, Level::Tenant] {
                estate.create_resource_at(level, subscription, kind, "own", None).unwrap();
            }
            let group = estate.create_group_without_row(subscription, "rg-phantom").unwrap();
            estate.create_resource(&group, "Microsoft.KeyVault/vaults", "ghost", "eastus", None).unwrap();
        }
        sandbox.clock().advance(MINUTE);
        let first = run().run().await.exits(0);
        assert_eq!((first.count("upserts"), first.count("unresolved")), (upserts, 0), "{filters}: {first}");
        assert!(!first.err.contains("disagree") && first.count("inDoubt") == 0, "{first}");
        sandbox.clock().advance(20 * MINUTE);
        let again = run().run().await.exits(0);
        assert_eq!((again.count("upserts"), again.count("deletes"), again.count("unresolved")), (0, 0, 0), "{again}");
    }
}
