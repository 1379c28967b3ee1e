//! The expected catalog, computed directly from the truth, without code that the product, the queries or the mapping
//! use.
mod directory;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::LazyLock;

use regex::Regex;
use serde_json::{Value as Json, json};

use crate::catalog::{Catalog, Entity, Key};
use crate::estate::{Estate, Group, Level, Resource, Tags, lower};
use crate::sight::is_within;
pub use directory::{DirectoryScope, Membership, SignIns};
pub(crate) use directory::{expected as expected_of_directory, was_out};

/// What a run was configured to sync.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    /// Empty for all.
    pub types: Vec<String>,
    /// Tags that a group must all have.
    pub include: Vec<(String, String)>,
    /// Tags that a group must not have.
    pub exclude: Vec<(String, String)>,
}

impl Scope {
    pub(crate) fn takes_group(&self, group: &Group) -> bool {
        self.include.iter().all(|tag| has(&group.tags, tag)) && !self.exclude.iter().any(|tag| has(&group.tags, tag))
    }

    fn takes_type(&self, ty: &str) -> bool {
        self.types.is_empty() || self.types.iter().any(|wanted| lower(wanted) == lower(ty))
    }
}

fn has(tags: &Tags, (key, value): &(String, String)) -> bool {
    let Some(tags) = tags.as_deref().and_then(Json::as_object) else { return false };
    tags.iter().any(|(name, is)| lower(name) == lower(key) && is.as_str().is_some_and(|is| lower(is) == lower(value)))
}

/// The catalog to compare with, and what to ignore.
#[derive(Clone, Debug, Default)]
pub struct Expected {
    pub catalog: Catalog,
    pub side: Side,
    /// Identifiers of unreadable subscriptions and groups. Their contents are unknown, so nothing is expected of them.
    pub hidden: Vec<String>,
    /// Identifiers that may or may not be in the catalog: they exist, but their own row is unreadable.
    pub open: BTreeSet<String>,
    /// Relations that may have any value, by name: their targets are unreadable.
    pub unknown: BTreeSet<(Key, String)>,
}

/// Which part of a catalog to compare.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Side {
    #[default]
    Estate,
    /// The blueprints of Entra ID.
    Directory,
}

impl Side {
    fn has(self, blueprint: &str) -> bool {
        blueprint.starts_with("entra-id-") == (self == Self::Directory)
    }
}

pub(crate) fn expected(estate: &Estate, scope: &Scope) -> Expected {
    let mut expected = Expected::default();
    for subscription in estate.subscriptions() {
        let identifier = legal(&lower(&subscription.id()));
        if !estate.is_eligible(subscription) {
            expected.hidden.push(identifier);
            continue;
        }
        if subscription.deleted {
            continue;
        }
        if subscription.granted.is_some() {
            expected.open.insert(identifier);
            continue;
        }
        let properties = [("subscriptionId", json!(*subscription.guid)), ("tags", json_tags(&subscription.tags))];
        put(&mut expected.catalog, "azureSubscription", identifier, &subscription.name, properties, None);
    }
    for group in estate.groups().values() {
        let subscription = &estate.subscriptions()[group.subscription];
        let identifier = legal(&group.id);
        if !subscription.grants(&group.id) {
            expected.hidden.push(identifier);
            continue;
        }
        if !estate.is_eligible(subscription) || !scope.takes_group(group) {
            continue;
        }
        let properties = [("location", json!(*group.location)), ("tags", json_tags(&group.tags))];
        let relation = ("subscription", legal(&lower(&subscription.id())));
        let catalog = &mut expected.catalog;
        if group.has_row {
            put(catalog, "azureResourceGroup", identifier.clone(), &group.name, properties, Some(relation));
        }
        for resource in group.members.iter().filter_map(|member| estate.resources().get(member)) {
            put_resource(catalog, scope, resource, Some(("resourceGroup", identifier.clone())));
        }
    }
    for resource in estate.resources().values().filter(|resource| resource.level != Level::Group) {
        let subscription = &estate.subscriptions()[resource.subscription];
        if !estate.is_eligible(subscription) || !subscription.grants(&resource.id) {
            expected.open.insert(legal(&resource.id));
        } else if scope.include.is_empty() {
            put_resource(&mut expected.catalog, scope, resource, None);
        }
    }
    expected
}

fn put_resource(catalog: &mut Catalog, scope: &Scope, resource: &Resource, relation: Option<(&str, String)>) {
    if !scope.takes_type(&resource.kind.name) {
        return;
    }
    let properties = [
        ("location", json!(*resource.location)),
        ("tags", json_tags(&resource.tags)),
        ("type", json!(lower(&resource.kind.name))),
    ];
    put(catalog, "azureCloudResources", legal(&resource.id), resource.short_name(), properties, relation);
}

fn json_tags(tags: &Tags) -> Json {
    tags.as_deref().cloned().unwrap_or(Json::Null)
}

fn put<const N: usize>(
    catalog: &mut Catalog,
    blueprint: &str,
    identifier: String,
    title: &str,
    properties: [(&str, Json); N],
    relation: Option<(&str, String)>,
) {
    let entity = Entity {
        title: Some(title.to_owned()),
        properties: properties.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
        relations: relation.into_iter().map(|(name, target)| (name.to_owned(), json!(target))).collect(),
    };
    catalog.entities.insert((blueprint.to_owned(), identifier), entity);
}

/// The identifier that the shipped mapping makes of an id.
pub(crate) fn legal(id: &str) -> String {
    static LETTER: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"\p{L}").ok());
    let mut legal = String::with_capacity(id.len() + 8);
    for c in id.chars() {
        match c {
            '0'..='9' | '@' | '_' | '.' | '+' | ':' | '/' | '-' => legal.push(c),
            c if c.is_ascii_alphabetic()
                || LETTER.as_ref().is_some_and(|letter| letter.is_match(c.encode_utf8(&mut [0; 4]))) =>
            {
                legal.push(c)
            }
            c => {
                let _ = write!(legal, "={}=", u32::from(c));
            }
        }
    }
    legal
}

/// The differences between a catalog and the expected one, one line each; empty if there are none.
pub fn diff(actual: &Catalog, expected: &Expected) -> Vec<String> {
    let mut lines = Vec::new();
    let keys: BTreeSet<&Key> = actual.entities.keys().chain(expected.catalog.entities.keys()).collect();
    for key in keys.into_iter().filter(|(blueprint, _)| expected.side.has(blueprint)) {
        let (blueprint, identifier) = key;
        let is_known = |relation: &str| {
            expected.unknown.is_empty() || !expected.unknown.contains(&(key.clone(), relation.to_owned()))
        };
        match (actual.entities.get(key), expected.catalog.entities.get(key)) {
            (Some(is), Some(ought)) => lines.extend(
                differences(is, ought, is_known).into_iter().map(|d| format!("wrong   {blueprint} {identifier}: {d}")),
            ),
            (None, Some(_)) => lines.push(format!("missing {blueprint} {identifier}")),
            (Some(_), None) if !is_hidden(identifier, expected) => {
                lines.push(format!("stale   {blueprint} {identifier}: the estate does not have it, or not in scope"));
            }
            _ => {}
        }
    }
    lines
}

/// The targets of a to-many relation; their order does not matter.
fn targets(value: &Json) -> BTreeSet<&str> {
    value.as_array().into_iter().flatten().filter_map(Json::as_str).collect()
}

fn is_hidden(identifier: &str, expected: &Expected) -> bool {
    expected.open.contains(identifier) || expected.hidden.iter().any(|outer| is_within(outer, identifier))
}

fn differences(is: &Entity, ought: &Entity, is_known: impl Fn(&str) -> bool) -> Vec<String> {
    let mut found = Vec::new();
    if is.title != ought.title {
        found.push(format!("title is {:?}, not {:?}", is.title, ought.title));
    }
    // Port does not distinguish null from unset.
    let value = |of: &BTreeMap<String, Json>, name: &str| of.get(name).cloned().unwrap_or(Json::Null);
    for name in is.properties.keys().chain(ought.properties.keys()).collect::<BTreeSet<_>>() {
        let (is, ought) = (value(&is.properties, name), value(&ought.properties, name));
        if is != ought {
            found.push(format!("{name} is {is}, not {ought}"));
        }
    }
    let relations: BTreeSet<&String> = is.relations.keys().chain(ought.relations.keys()).collect();
    for name in relations.into_iter().filter(|name| is_known(name)) {
        let (is, ought) = (value(&is.relations, name), value(&ought.relations, name));
        if is.is_array() || ought.is_array() {
            let (is, ought) = (targets(&is), targets(&ought));
            let more: Vec<_> = is.difference(&ought).collect();
            let fewer: Vec<_> = ought.difference(&is).collect();
            if !more.is_empty() || !fewer.is_empty() {
                found.push(format!("relation {name} has {more:?} too many, and lacks {fewer:?}"));
            }
        } else if is != ought {
            found.push(format!("relation {name} is {is}, not {ought}"));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::names::tags;
    use crate::settings::Settings;

    fn estate() -> (Estate, Expected) {
        let mut estate = Estate::new(1, Clock::at(0), Settings::default().lags);
        let guid = estate.add_subscription("one", None);
        let group = estate.create_group(&guid, "Rg (1)", "here", tags(&[("ENV", "Prod")])).unwrap();
        estate.create_resource(&group, "Microsoft.Sql/servers/databases", "s/D b", "here", None).unwrap();
        let all = expected(&estate, &Scope::default());
        (estate, all)
    }

    #[test]
    fn the_truth_is_what_is_expected() {
        let (estate, all) = estate();
        let guid = &estate.subscriptions()[0].guid;
        let group = format!("/subscriptions/{guid}/resourcegroups/rg=32==40=1=41=");
        let id = format!("{group}/providers/microsoft.sql/servers/s/databases/d=32=b");
        let entity = &all.catalog.entities[&("azureCloudResources".into(), id)];
        assert_eq!(entity.title.as_deref(), Some("D b"));
        assert_eq!(entity.properties["type"], "microsoft.sql/servers/databases");
        assert_eq!(entity.relations["resourceGroup"], *group);
    }

    #[test]
    fn filters_take_groups_and_what_is_in_them_and_never_subscriptions() {
        let (estate, _) = estate();
        let tag = || vec![("env".to_owned(), "PROD".to_owned())];
        let count = |scope: Scope| expected(&estate, &scope).catalog.entities.len();
        assert_eq!(count(Scope { include: tag(), ..Scope::default() }), 3);
        assert_eq!(count(Scope { exclude: tag(), ..Scope::default() }), 1);
        assert_eq!(count(Scope { types: vec!["microsoft.web/sites".into()], ..Scope::default() }), 2);
    }

    #[test]
    fn a_difference_says_what_is_missing_stale_or_wrong() {
        let (_, all) = estate();
        let mut actual = all.catalog.clone();
        assert!(diff(&actual, &all).is_empty());
        let (first, mut entity) = actual.entities.pop_first().unwrap();
        let (_, other) = actual.entities.first_key_value().unwrap();
        let other = other.clone();
        entity.title = Some("else".into());
        actual.entities.insert(("azureSubscription".into(), "/subscriptions/gone".into()), other);
        let lines = diff(&actual, &all);
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(lines[0].starts_with("missing azureCloudResources"));
        assert!(lines[1].starts_with("stale   azureSubscription"));
        actual.entities.pop_last();
        actual.entities.insert(first, entity);
        assert!(diff(&actual, &all).iter().any(|line| line.contains("title is Some(\"else\")")));
    }
}
