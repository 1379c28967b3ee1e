//! The queries themselves, each whole and readable. What they yield is documented at [`Query`].
//!
//! They are based on "Get resource changes" and "Understand the query language" of the Resource Graph docs: at most 3
//! joins, no `take`, a scalar `id` among the columns, and a unique last sort key, without which paging loses rows.

use std::borrow::Cow;

use jiff::Timestamp;

use super::arm_id::id_of;
use super::kql;
use crate::config::{ResourceType, Scope};
use crate::engine;
use crate::model::Id;

/// A query of Resource Graph.
///
/// Every row has `id`, `resourceId` (lower case), `sourceResourceId` (the same if the resource exists now, else empty),
/// `name`, `type` (lower case), `location`, `tags`, `subscriptionId` and `resourceGroup` (lower case); a resource also
/// has `rgId`, `rgName`, `rgLocation` and `rgTags` of its group, empty if the group has no row. A container has
/// `scope`, `in` or `out`, if there are tag filters. A change also has `changeType` and `changeTime` of the latest
/// record; `changedProperties` if it is of a resource, `movesScope`, 1 or 0, if it is of a container; and
/// `changeAttributes`, or `clientType` and `operation`, as [`actor`] says. What exists has the scope's further columns.
/// There is one row for each resource.
///
/// Only [`Query::ChangedResources`] leaves out what the tag filters do not match, and not all of it;
/// [`Query::ResourcesById`] leaves out no type.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Query<'a> {
    /// Groups and subscriptions with a record after `since`, the latest record of each.
    ChangedContainers { since: Timestamp },
    /// Resources with a record after `since`, the latest record of each.
    ChangedResources { since: Timestamp },
    /// Resources that do not exist now, but have a record: a `Delete` after `kept`, or another after `recent`, the
    /// latest of each.
    AbsentResources { kept: Timestamp, recent: Timestamp },
    /// Groups and subscriptions that exist.
    Containers,
    /// Resources that exist.
    Resources,
    /// Resources that exist in these groups.
    ResourcesOfGroups { groups: &'a [Id], ungrouped: Ungrouped },
    /// Those of these groups and subscriptions that exist.
    ContainersById { ids: &'a [Id] },
    /// Those of these resources that exist.
    ResourcesById { ids: &'a [Id] },
    /// One row for each subscription that Resource Graph covers, with the number of its `resources` and the service's
    /// time as `azureTime`. Without joins, it takes a row of the subscription or of a group to show that; with joins,
    /// one of a resource will also do.
    Subscriptions,
}

/// What to do with resources that are directly in a subscription when groups are named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ungrouped {
    Included,
    LeftOut,
}

/// Whether a query may join tables. If not, the joined columns are empty, and to be queried by id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Joins {
    Allowed,
    Refused,
}

impl Joins {
    /// The join, or the lines that make its columns without one.
    fn or<'t>(self, join: &'t str, columns: &'t str) -> &'t str {
        match self {
            Self::Allowed => join,
            Self::Refused => columns,
        }
    }
}

/// Some of a query's rows.
#[derive(Clone, Debug)]
pub(super) enum Slice {
    Hashed(Part),
    /// The rows of these ids.
    Named(Vec<Id>),
}

/// One of `of` parts that a query's rows fall into by the hash of their resource's id; the whole is part 0 of 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) index: u32,
    pub(super) of: u32,
}

impl Part {
    pub(super) const WHOLE: Self = Self { index: 0, of: 1 };

    /// Splits this part into `by` smaller ones.
    pub(super) fn split(self, by: u32) -> impl Iterator<Item = Self> {
        (0..by).map(move |step| Self { index: self.index + step * self.of, of: self.of * by })
    }
}

impl Slice {
    pub(super) const WHOLE: Self = Self::Hashed(Part::WHOLE);

    fn condition(&self) -> Option<String> {
        match self {
            Self::Hashed(part) => kql::part_condition("resourceId", part.index, part.of),
            Self::Named(ids) => Some(kql::id_condition("resourceId", ids)),
        }
    }
}

impl Query<'_> {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::ChangedContainers { .. } => "changed containers",
            Self::ChangedResources { .. } => "changed resources",
            Self::AbsentResources { .. } => "absent resources",
            Self::Containers => "containers",
            Self::Resources => "resources",
            Self::ResourcesOfGroups { .. } => "resources of groups",
            Self::ContainersById { .. } => "containers by id",
            Self::ResourcesById { .. } => "resources by id",
            Self::Subscriptions => "covered subscriptions",
        }
    }

    /// Its name, and how far back it goes.
    fn title(&self) -> String {
        match self {
            Self::ChangedContainers { since }
            | Self::ChangedResources { since }
            | Self::AbsentResources { kept: since, .. } => format!("{}, since {since:.0}", self.name()),
            _ => self.name().to_owned(),
        }
    }

    /// The text that queries all rows.
    pub(crate) fn whole(&self, scope: &Scope) -> String {
        self.text(scope, &Slice::WHOLE, Joins::Allowed)
    }

    /// The text that queries some of the rows.
    pub(super) fn text(&self, scope: &Scope, slice: &Slice, joins: Joins) -> String {
        let slice = filter(slice.condition());
        match self {
            Self::ChangedContainers { since } => changed_containers(scope, *since, &slice, joins),
            Self::ChangedResources { since } => changed_resources(scope, *since, &slice, joins),
            Self::AbsentResources { kept, recent } => absent_resources(scope, *kept, *recent, &slice, joins),
            Self::Containers => containers(scope, &slice),
            Self::Resources => resources(scope, &types(scope), &slice, joins),
            Self::ResourcesOfGroups { groups, ungrouped } => {
                resources(scope, &types(scope), &(slice + &*within(groups, *ungrouped)), joins)
            }
            Self::ContainersById { ids } => containers(scope, &(slice + &*of(ids))),
            Self::ResourcesById { ids } => resources(scope, "", &(slice + &*of(ids)), joins),
            Self::Subscriptions => subscriptions(&slice, joins),
        }
    }

    /// Whether its rows are records, each with its current row.
    pub(super) fn is_of_changes(&self) -> bool {
        matches!(self, Self::ChangedContainers { .. } | Self::ChangedResources { .. } | Self::AbsentResources { .. })
    }

    /// Whether it joins anything if joins are allowed.
    pub(super) fn has_joins(&self) -> bool {
        !matches!(self, Self::Containers | Self::ContainersById { .. })
    }

    /// The same, but with only the columns that a row's id is made of.
    pub(super) fn ids_text(&self, scope: &Scope, slice: &Slice, joins: Joins) -> String {
        format!(
            "{}\n| project id, resourceId, subscriptionId\n| order by resourceId asc",
            self.text(scope, slice, joins)
        )
    }

    /// The ids that it asks for.
    pub(super) fn ids(&self) -> Option<&[Id]> {
        match self {
            Self::ContainersById { ids } | Self::ResourcesById { ids } => Some(ids),
            _ => None,
        }
    }
}

/// The line that reads who or what made a change, and the columns that it makes: with people's addresses, for delivery,
/// if that is configured; otherwise without, for the log, if that is detailed enough.
fn actor(scope: &Scope) -> (&'static str, &'static str) {
    if scope.change_actor {
        ("\n| extend changeAttributes = properties.changeAttributes", ", changeAttributes")
    } else if tracing::enabled!(tracing::Level::DEBUG) {
        (
            "\n| extend clientType = tostring(properties.changeAttributes.clientType), operation = \
             tostring(properties.changeAttributes.operation)",
            ", clientType, operation",
        )
    } else {
        ("", "")
    }
}

/// The line that orders the records of an id. Of two records with the same time, the `Delete` counts as the earlier
/// one, since what was deleted and recreated exists. If there is no row, the lines that join the rows make the `Delete`
/// count. Times are doubled, so that the extra millisecond cannot reach another record.
const ORDER: &str = "\
| extend changeOrder = iff(changeType =~ 'Delete', changeTime, changeTime + 1ms) + (changeTime - datetime(2000-01-01))";

/// The time of the last `Delete`.
const DELETED: &str = "deletedAt = max(iff(changeType =~ 'Delete', changeTime, datetime(null)))";

/// The lines that join the group of each row. A group with several rows counts once: the first by its id as written,
/// then by its tags, as for the rows of a page.
const GROUPS: &str = "\
| join kind=leftouter (
    resourcecontainers
    | where type =~ 'microsoft.resources/subscriptions/resourcegroups'
    | extend rgSubscriptionId = tolower(subscriptionId), rgKey = tolower(name), rgOrder = strcat(id, ' ', tostring(tags))
    | extend rgId = id, rgName = name, rgLocation = location, rgTags = tags
    | summarize arg_min(rgOrder, rgId, rgName, rgLocation, rgTags) by rgSubscriptionId, rgKey
) on $left.subscriptionId == $right.rgSubscriptionId and $left.resourceGroup == $right.rgKey";

/// The lines that join the row of each record, with these columns.
fn rows(of: &str, columns: &[&str], joins: Joins) -> String {
    match joins {
        Joins::Allowed => {
            let columns = listed(columns);
            format!(
                "\
| join kind=leftouter (
    {of}
    | project sourceResourceId = tolower(id), id, name, location, tags{columns}
) on $left.resourceId == $right.sourceResourceId
| extend changeType = iff(isempty(sourceResourceId) and deletedAt == changeTime, 'Delete', changeType)"
            )
        }
        Joins::Refused => {
            let columns: String = columns.iter().map(|column| format!(", {column} = dynamic(null)")).collect();
            format!("| extend sourceResourceId = '', id = '', name = '', location = '', tags = dynamic(null){columns}")
        }
    }
}

/// Columns to append to others.
fn listed(columns: &[&str]) -> String {
    columns.iter().map(|column| format!(", {column}")).collect()
}

const NO_GROUPS: &str = "| extend rgId = '', rgName = '', rgLocation = '', rgTags = dynamic(null)";

fn changed_resources(scope: &Scope, since: Timestamp, slice: &str, joins: Joins) -> String {
    let since = kql::datetime(since);
    let (actor, columns) = actor(scope);
    let types = types(scope);
    let further = &scope.columns.resources;
    let (rows, groups, further) = (rows("resources", further, joins), joins.or(GROUPS, NO_GROUPS), listed(further));
    let tags = tag_filter(scope, "changeType =~ 'Delete' or isempty(sourceResourceId) or isempty(rgId)");
    format!(
        "\
resourcechanges
| extend changeTime = todatetime(properties.changeAttributes.timestamp)
| where changeTime > {since}
| extend resourceId = tolower(tostring(properties.targetResourceId))
| extend type = tolower(tostring(properties.targetResourceType)){types}{slice}
| extend targetId = tostring(properties.targetResourceId), changeType = tostring(properties.changeType)
| extend changedProperties = properties.changes{actor}
{ORDER}
| summarize arg_max(changeOrder, changeTime, targetId, type, changeType, changedProperties, subscriptionId, resourceGroup{columns}), {DELETED} by resourceId
| extend subscriptionId = tolower(subscriptionId), resourceGroup = tolower(resourceGroup)
{rows}
{groups}{tags}
| extend id = iff(isempty(id), targetId, id)
| project id, resourceId, sourceResourceId, name, type, location, tags, subscriptionId, resourceGroup,
    rgId, rgName, rgLocation, rgTags, changeType, changeTime, changedProperties{columns}{further}
| order by resourceId asc"
    )
}

/// The table of containers, restricted to our types.
const CONTAINERS: &str = "\
resourcecontainers
    | where type in~ ('microsoft.resources/subscriptions', 'microsoft.resources/subscriptions/resourcegroups')";

fn changed_containers(scope: &Scope, since: Timestamp, slice: &str, joins: Joins) -> String {
    let since = kql::datetime(since);
    let (actor, columns) = actor(scope);
    let (in_scope, scope_column) = scope_column(scope);
    let further = &scope.columns.containers;
    let (rows, further) = (rows(CONTAINERS, further, joins), listed(further));
    let (changes, moves) = match kql::retag_condition(&scope.tag_filters, "changes") {
        Some(condition) => (
            "\n| extend changes = tolower(tostring(properties.changes))",
            format!("changeType =~ 'Create' or (changeType =~ 'Update' and ({condition}))"),
        ),
        None => ("", "changeType =~ 'Create'".to_owned()),
    };
    format!(
        "\
resourcecontainerchanges
| extend changeTime = todatetime(properties.changeAttributes.timestamp)
| where changeTime > {since}
| extend resourceId = tolower(tostring(properties.targetResourceId))
| extend type = tolower(tostring(properties.targetResourceType))
| where type in ('microsoft.resources/subscriptions', 'microsoft.resources/subscriptions/resourcegroups'){slice}
| extend targetId = tostring(properties.targetResourceId), changeType = tostring(properties.changeType){actor}{changes}
| extend moves = iff({moves}, 1, 0)
{ORDER}
| summarize arg_max(changeOrder, changeTime, targetId, type, changeType, subscriptionId, resourceGroup{columns}), movesScope = max(moves), {DELETED} by resourceId
{rows}{in_scope}
| extend id = iff(isempty(id), targetId, id)
| extend subscriptionId = tolower(subscriptionId), resourceGroup = tolower(resourceGroup)
| project id, resourceId, sourceResourceId, name, type, location, tags, subscriptionId, resourceGroup,
    changeType, changeTime{columns}, movesScope{scope_column}{further}
| order by resourceId asc"
    )
}

fn absent_resources(scope: &Scope, kept: Timestamp, recent: Timestamp, slice: &str, joins: Joins) -> String {
    let rows = rows("resources", &[], joins);
    let (since, recent) = (kql::datetime(kept.min(recent)), kql::datetime(recent));
    let types = types(scope);
    format!(
        "\
resourcechanges
| extend changeTime = todatetime(properties.changeAttributes.timestamp)
| where changeTime > {since}
| extend resourceId = tolower(tostring(properties.targetResourceId))
| extend type = tolower(tostring(properties.targetResourceType)){types}{slice}
| extend targetId = tostring(properties.targetResourceId), changeType = tostring(properties.changeType)
{ORDER}
| summarize arg_max(changeOrder, changeTime, targetId, type, changeType, subscriptionId, resourceGroup), {DELETED} by resourceId
| where changeType =~ 'Delete' or deletedAt == changeTime or changeTime > {recent}
{rows}
| where isempty(sourceResourceId)
| extend subscriptionId = tolower(subscriptionId), resourceGroup = tolower(resourceGroup)
| project id = targetId, resourceId, sourceResourceId, name, type, location, tags, subscriptionId, resourceGroup,
    rgTags = dynamic(null), changeType, changeTime
| order by resourceId asc"
    )
}

fn resources(scope: &Scope, types: &str, within: &str, joins: Joins) -> String {
    let (groups, further) = (joins.or(GROUPS, NO_GROUPS), listed(&scope.columns.resources));
    format!(
        "\
resources
| extend resourceId = tolower(id), type = tolower(type){types}{within}
| extend subscriptionId = tolower(subscriptionId), resourceGroup = tolower(resourceGroup)
{groups}
| project id, resourceId, sourceResourceId = resourceId, name, type, location, tags, subscriptionId, resourceGroup,
    rgId, rgName, rgLocation, rgTags{further}
| order by resourceId asc"
    )
}

fn containers(scope: &Scope, slice: &str) -> String {
    let (in_scope, scope_column) = scope_column(scope);
    let further = listed(&scope.columns.containers);
    format!(
        "\
resourcecontainers
| extend resourceId = tolower(id), type = tolower(type)
| where type in ('microsoft.resources/subscriptions', 'microsoft.resources/subscriptions/resourcegroups'){slice}{in_scope}
| extend subscriptionId = tolower(subscriptionId), resourceGroup = tolower(resourceGroup)
| project id, resourceId, sourceResourceId = resourceId, name, type, location, tags, subscriptionId, resourceGroup{scope_column}{further}
| order by resourceId asc"
    )
}

fn subscriptions(slice: &str, joins: Joins) -> String {
    let resources = joins.or("\n| union (resources | project subscriptionId, one = 1)", "");
    format!(
        "\
resourcecontainers
| project subscriptionId, one = 0{resources}
| where isnotempty(subscriptionId)
| summarize resources = sum(one) by subscriptionId = tolower(subscriptionId)
| extend resourceId = strcat('/subscriptions/', subscriptionId){slice}
| project id = resourceId, resourceId, sourceResourceId = resourceId, subscriptionId, resources, azureTime = now()
| order by resourceId asc"
    )
}

/// Stands for the groups in scope, which only a run knows.
const A_GROUP: &str = "/subscriptions/00000000-0000-0000-0000-000000000000/resourcegroups/a-group-in-scope";

/// What to show queries for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Shown {
    /// What changed since then.
    Changes { since: Timestamp },
    /// Everything that exists, and the records since then; without a time, as for subscriptions of which nothing is
    /// known.
    Everything { since: Option<Timestamp> },
}

/// The queries that a run would send, each under a line with its name and how far back it goes, ready for the Resource
/// Graph Explorer.
pub(crate) fn explorer(scope: &Scope, shown: Shown, now: Timestamp) -> String {
    let group: Vec<Id> = id_of(A_GROUP).into_iter().collect();
    let (kept, recent) = engine::kept_and_recent(now);
    let mut queries = vec![Query::Subscriptions];
    queries.extend(match shown {
        Shown::Changes { since } | Shown::Everything { since: Some(since) } => {
            [Query::ChangedContainers { since }, Query::ChangedResources { since }]
        }
        Shown::Everything { since: None } => {
            [Query::ChangedContainers { since: kept }, Query::AbsentResources { kept, recent }]
        }
    });
    if let Shown::Everything { .. } = shown {
        queries.push(Query::Containers);
        queries.push(if scope.tag_filters.include.is_empty() {
            Query::Resources
        } else {
            Query::ResourcesOfGroups { groups: &group, ungrouped: Ungrouped::Included }
        });
    }
    let texts: Vec<String> =
        queries.iter().map(|query| format!("// {}\n{}\n", query.title(), query.whole(scope))).collect();
    texts.join("\n")
}

/// The groups that match the tag filters; the scope must have some.
pub(crate) fn groups_in_scope(scope: &Scope) -> String {
    let whole = Query::Containers.whole(scope);
    format!("{whole}\n| where type == 'microsoft.resources/subscriptions/resourcegroups' and scope == 'in'")
}

/// Those of these types that have resources.
pub(crate) fn types_that_exist(types: &[ResourceType]) -> String {
    let types = filter(kql::type_condition(types));
    format!("resources\n| extend type = tolower(type){types}\n| summarize found = count() by type")
}

/// The line that restricts a query to some ids.
fn of(ids: &[Id]) -> String {
    format!("\n| where {}", kql::id_condition("resourceId", ids))
}

/// The line that restricts a query to what is in some groups.
fn within(groups: &[Id], ungrouped: Ungrouped) -> String {
    let group = "strcat('/subscriptions/', tolower(subscriptionId), '/resourcegroups/', tolower(resourceGroup))";
    let conditions = [
        (ungrouped == Ungrouped::Included).then(|| "isempty(resourceGroup)".to_owned()),
        (!groups.is_empty()).then(|| kql::id_condition(group, groups)),
    ];
    let conditions: Vec<String> = conditions.into_iter().flatten().collect();
    format!("\n| where {}", if conditions.is_empty() { "false".to_owned() } else { conditions.join(" or ") })
}

/// The line that restricts a query to the types in scope.
fn types(scope: &Scope) -> Cow<'static, str> {
    filter(kql::type_condition(&scope.resource_types))
}

/// A line of its own, if there is a condition.
fn filter(condition: Option<String>) -> Cow<'static, str> {
    condition.map_or(Cow::Borrowed(""), |condition| format!("\n| where {condition}").into())
}

/// The tag filters on a resource's group, with a condition for rows that always pass.
fn tag_filter(scope: &Scope, always: &str) -> String {
    kql::tag_condition(&scope.tag_filters, "lowerTags").map_or_else(String::new, |condition| {
        format!("\n| extend lowerTags = todynamic(tolower(tostring(rgTags)))\n| where {always}\n    or ({condition})")
    })
}

/// The lines that decide whether a container is in scope, and the column with the result.
fn scope_column(scope: &Scope) -> (String, &'static str) {
    match kql::tag_condition(&scope.tag_filters, "lowerTags") {
        Some(condition) => (
            format!(
                "\n| extend lowerTags = todynamic(tolower(tostring(tags)))\n| extend scope = iff(type == \
                 'microsoft.resources/subscriptions'\n    or ({condition}), 'in', 'out')"
            ),
            ", scope",
        ),
        None => (String::new(), ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{TagCondition, TagFilters};

    fn filtered() -> Scope {
        let condition = |name: &str, value: &str| TagCondition { name: name.into(), value: value.into() };
        let include = vec![condition("Environment", "Production"), condition("a \"quote\"", "O'Connor")];
        let resource_types = vec!["Microsoft.KeyVault/vaults".parse().unwrap()];
        Scope {
            tag_filters: TagFilters { include, exclude: vec![condition("Old", "")] },
            resource_types,
            ..Scope::default()
        }
    }

    fn all<'a>(groups: &'a [Id], ids: &'a [Id]) -> Vec<Query<'a>> {
        let (since, recent) = ("2026-01-02T03:04:05Z".parse().unwrap(), "2026-01-03T03:04:05Z".parse().unwrap());
        vec![
            Query::ChangedContainers { since },
            Query::ChangedResources { since },
            Query::AbsentResources { kept: since, recent },
            Query::Containers,
            Query::Resources,
            Query::ResourcesOfGroups { groups, ungrouped: Ungrouped::Included },
            Query::ResourcesOfGroups { groups, ungrouped: Ungrouped::LeftOut },
            Query::ResourcesOfGroups { groups: &[], ungrouped: Ungrouped::Included },
            Query::ContainersById { ids: groups },
            Query::ResourcesById { ids },
            Query::Subscriptions,
        ]
    }

    #[test]
    fn the_smaller_parts_of_a_part_are_the_part() {
        let part = Part { index: 2, of: 3 };
        let smaller: Vec<Part> = part.split(4).collect();
        assert_eq!(smaller.len(), 4);
        for hash in 0..1000_u32 {
            let within = smaller.iter().filter(|small| hash % small.of == small.index).count();
            assert_eq!(within, usize::from(hash % part.of == part.index));
        }
    }

    #[test]
    fn only_changed_resources_are_filtered_by_tags_and_only_ids_by_no_type() {
        let group = [id_of("/subscriptions/s/resourceGroups/g").unwrap()];
        let resource = [id_of("/subscriptions/s/resourceGroups/g/providers/a.b/c/O'Connor").unwrap()];
        for query in all(&group, &resource) {
            let text = query.whole(&filtered());
            let of_resources = query.name().contains("resources");
            let by_id = query.ids().is_some();
            assert_eq!(text.contains("'microsoft.keyvault/vaults'"), of_resources && !by_id, "{text}");
            let tags = query.name() == "changed resources" || query.name().contains("containers");
            assert_eq!(text.contains("lowerTags['environment']"), tags, "{text}");
            assert_eq!(text.contains("| extend scope = iff("), query.name().contains("containers"), "{text}");
            assert_eq!(text.contains(r"/a.b/c/o\'connor'"), query.name() == "resources by id", "{text}");
            let plain = query.whole(&Scope::default());
            assert!(!plain.contains("lowerTags") && !plain.contains("scope ="), "{plain}");
        }
    }

    #[test]
    fn a_slice_of_a_query_is_by_hash_or_by_name() {
        let ids = vec![id_of("/subscriptions/s").unwrap()];
        for query in all(&ids, &ids) {
            let hashed = query.text(&Scope::default(), &Slice::Hashed(Part { index: 1, of: 4 }), Joins::Allowed);
            assert!(hashed.contains("\n| where hash(resourceId) % 4 == 1"), "{hashed}");
            let named = query.ids_text(&Scope::default(), &Slice::Named(ids.clone()), Joins::Allowed);
            assert!(named.contains("\n| where resourceId in ('/subscriptions/s')"), "{named}");
            assert!(
                named.ends_with("\n| project id, resourceId, subscriptionId\n| order by resourceId asc"),
                "{named}"
            );
        }
    }

    /// Also writes the texts to a file for Microsoft's parser, or a reader.
    #[test]
    fn every_text_is_a_query_of_its_own() {
        let group = [id_of("/subscriptions/s/resourceGroups/g").unwrap()];
        let resource = [id_of("/subscriptions/s/resourceGroups/g/providers/a.b/c/d").unwrap()];
        let scopes = [Scope::default(), filtered(), Scope { change_actor: true, ..filtered() }];
        let mut texts = Vec::new();
        for scope in &scopes {
            for query in all(&group, &resource) {
                for slice in [Slice::WHOLE, Slice::Hashed(Part { index: 1, of: 4 }), Slice::Named(resource.to_vec())] {
                    for joins in [Joins::Allowed, Joins::Refused] {
                        let (text, ids) = (query.text(scope, &slice, joins), query.ids_text(scope, &slice, joins));
                        assert!(joins == Joins::Allowed || !text.contains("join"), "{text}");
                        texts.push(format!("// {}\n{text}\n", query.name()));
                        texts.push(format!("// {}, ids\n{ids}\n", query.name()));
                    }
                }
            }
            texts.push(format!("// types\n{}\n", types_that_exist(&scope.resource_types)));
        }
        texts.push(format!("// groups in scope\n{}\n", groups_in_scope(&scopes[1])));
        assert!(texts.iter().all(|text| text.matches("\n| join").count() <= 3 && !text.contains(';')));
        if let Some(file) = std::env::var_os("QUERIES_FILE") {
            std::fs::write(file, texts.join("\u{1e}")).unwrap();
        }
    }
}
