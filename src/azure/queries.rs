//! The queries themselves, each whole and readable. What they yield is documented at [`Query`].
//!
//! They stand on "Get resource changes" and "Understand the query language" of the Resource Graph docs: at most 3 joins, no
//! `take`, a scalar `id` among the columns, and a unique last sort key, or else paging loses rows.

use std::borrow::Cow;

use jiff::Timestamp;

use super::kql;
use crate::config::{ResourceType, Scope};

/// A query of Resource Graph.
///
/// Every row has `id`, `resourceId` (lower case), `sourceResourceId` (the same where the resource exists now, else empty),
/// `name`, `type` (lower case), `location`, `tags`, `subscriptionId` and `resourceGroup` (lower case); a resource's also
/// `rgId`, `rgName`, `rgLocation` and `rgTags` of its group, empty where the group has no row; a change's also `changeType`
/// and `changeTime`, and a changed resource's `changedProperties`. What changed may also have `changeAttributes`, or `clientType`
/// and `operation`, as [`actor`] says. There is one row a resource.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Query<'a> {
    /// Groups and subscriptions with a change, the latest change of each.
    ChangedContainers { scope: &'a Scope, which: Which<'a>, groups: Groups },
    /// Resources with a change, the latest change of each.
    ChangedResources { scope: &'a Scope, which: Which<'a> },
    /// Groups and subscriptions that exist.
    Containers { scope: &'a Scope, groups: Groups },
    /// Resources that exist.
    Resources { scope: &'a Scope },
    /// Resources that exist in these groups, named by their lower-case ids; for groups that left the scope, whatever the
    /// tags.
    ResourcesOfGroups { scope: &'a Scope, groups: &'a [String], whatever_tags: bool },
    /// Groups and subscriptions that exist, of those named by their lower-case ids.
    ContainersOf { scope: &'a Scope, ids: &'a [String] },
    /// Resources that exist, of those named by their lower-case ids.
    ResourcesOf { scope: &'a Scope, ids: &'a [String] },
    /// Resources with a `Delete` record after `since` that do not exist now.
    DeletedResources { scope: &'a Scope, since: Timestamp },
    /// Groups and subscriptions with a `Delete` record after `since` that do not exist now.
    DeletedContainers { since: Timestamp },
}

/// Which changes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Which<'a> {
    /// Those detected after a time.
    Since(Timestamp),
    /// Those of these resources, named by their lower-case ids, as far back as Azure remembers.
    Of(&'a [String]),
}

/// What becomes of groups that the tag filters do not match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Groups {
    /// They are left out.
    InScope,
    /// They are there, and column `scope` says `in` or `out`.
    All,
}

/// One of `of` parts that a query's rows fall into by the hash of their resource's id; the whole is part 0 of 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) index: u32,
    pub(crate) of: u32,
}

impl Part {
    pub(crate) const WHOLE: Self = Self { index: 0, of: 1 };

    /// This part in `by` smaller ones.
    pub(crate) fn split(self, by: u32) -> impl Iterator<Item = Self> {
        (0..by).map(move |step| Self { index: self.index + step * self.of, of: self.of * by })
    }
}

impl Query<'_> {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::ChangedContainers { .. } => "changed containers",
            Self::ChangedResources { .. } => "changed resources",
            Self::Containers { .. } => "containers",
            Self::Resources { .. } => "resources",
            Self::ResourcesOfGroups { .. } => "resources of groups",
            Self::ContainersOf { .. } => "containers by id",
            Self::ResourcesOf { .. } => "resources by id",
            Self::DeletedResources { .. } => "deleted resources",
            Self::DeletedContainers { .. } => "deleted containers",
        }
    }

    /// The text that is sent, for one part of the rows.
    pub(crate) fn text(&self, part: Part) -> String {
        let part = filter(kql::part_condition("resourceId", part.index, part.of));
        match self {
            Self::ChangedContainers { scope, which, groups } => changed_containers(scope, *which, *groups, &part),
            Self::ChangedResources { scope, which } => changed_resources(scope, *which, &part),
            Self::Containers { scope, groups } => containers(scope, *groups, &part),
            Self::Resources { scope } => resources(scope, &part, &tag_filter(scope, "rgTags", "isempty(rgId)")),
            Self::ResourcesOfGroups { scope, groups, whatever_tags } => {
                let within = format!(
                    "{part}\n| where strcat('/subscriptions/', tolower(subscriptionId), '/resourcegroups/', \
                     tolower(resourceGroup)) in ({})",
                    kql::list(groups.iter().map(String::as_str))
                );
                let tags = if *whatever_tags { String::new() } else { tag_filter(scope, "rgTags", "isempty(rgId)") };
                resources(scope, &within, &tags)
            }
            Self::ContainersOf { scope, ids } => containers(scope, Groups::InScope, &(part + &*of(ids))),
            Self::ResourcesOf { scope, ids } => {
                resources(scope, &(part + &*of(ids)), &tag_filter(scope, "rgTags", "isempty(rgId)"))
            }
            Self::DeletedResources { scope, since } => deleted_resources(scope, *since, &part),
            Self::DeletedContainers { since } => deleted_containers(*since, &part),
        }
    }
}

/// The line that reads who or what made a change, and the columns that it makes: with people's addresses, to be delivered,
/// where that is wished for; else without, for the log, where that is to be so detailed.
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

fn changed_resources(scope: &Scope, which: Which<'_>, part: &str) -> String {
    let (since, ids) = which.filters();
    let (actor, columns) = actor(scope);
    let types = filter(kql::type_condition(&scope.resource_types));
    let tags = tag_filter(scope, "rgTags", "changeType =~ 'Delete' or isempty(sourceResourceId) or isempty(rgId)");
    format!(
        "\
resourcechanges
| extend changeTime = todatetime(properties.changeAttributes.timestamp){since}
| extend resourceId = tolower(tostring(properties.targetResourceId)){ids}
| extend type = tolower(tostring(properties.targetResourceType)){types}{part}
| extend targetId = tostring(properties.targetResourceId), changeType = tostring(properties.changeType)
| extend changedProperties = properties.changes{actor}
| summarize arg_max(changeTime, targetId, type, changeType, changedProperties, subscriptionId, resourceGroup{columns}) by resourceId
| extend subscriptionId = tolower(subscriptionId), resourceGroup = tolower(resourceGroup)
| join kind=leftouter (
    resources
    | project sourceResourceId = tolower(id), id, name, location, tags
) on $left.resourceId == $right.sourceResourceId
| join kind=leftouter (
    resourcecontainers
    | where type =~ 'microsoft.resources/subscriptions/resourcegroups'
    | extend rgSubscriptionId = tolower(subscriptionId), rgKey = tolower(name)
    | project rgSubscriptionId, rgKey, rgId = id, rgName = name, rgLocation = location, rgTags = tags
) on $left.subscriptionId == $right.rgSubscriptionId and $left.resourceGroup == $right.rgKey{tags}
| extend id = iff(isempty(id), targetId, id)
| project id, resourceId, sourceResourceId, name, type, location, tags, subscriptionId, resourceGroup,
    rgId, rgName, rgLocation, rgTags, changeType, changeTime, changedProperties{columns}
| order by resourceId asc"
    )
}

fn changed_containers(scope: &Scope, which: Which<'_>, groups: Groups, part: &str) -> String {
    let (since, ids) = which.filters();
    let (actor, columns) = actor(scope);
    let always = "changeType =~ 'Delete' or isempty(sourceResourceId) or type == 'microsoft.resources/subscriptions'";
    let (tags, scope_column) = group_filter(scope, groups, always);
    format!(
        "\
resourcecontainerchanges
| extend changeTime = todatetime(properties.changeAttributes.timestamp){since}
| extend resourceId = tolower(tostring(properties.targetResourceId)){ids}
| extend type = tolower(tostring(properties.targetResourceType))
| where type in ('microsoft.resources/subscriptions', 'microsoft.resources/subscriptions/resourcegroups'){part}
| extend targetId = tostring(properties.targetResourceId), changeType = tostring(properties.changeType){actor}
| summarize arg_max(changeTime, targetId, type, changeType, subscriptionId, resourceGroup{columns}) by resourceId
| join kind=leftouter (
    resourcecontainers
    | where type in~ ('microsoft.resources/subscriptions', 'microsoft.resources/subscriptions/resourcegroups')
    | project sourceResourceId = tolower(id), id, name, location, tags
) on $left.resourceId == $right.sourceResourceId{tags}
| extend id = iff(isempty(id), targetId, id)
| extend subscriptionId = tolower(subscriptionId), resourceGroup = tolower(resourceGroup)
| project id, resourceId, sourceResourceId, name, type, location, tags, subscriptionId, resourceGroup,
    changeType, changeTime{columns}{scope_column}
| order by resourceId asc"
    )
}

fn resources(scope: &Scope, within: &str, tags: &str) -> String {
    let types = filter(kql::type_condition(&scope.resource_types));
    format!(
        "\
resources
| extend resourceId = tolower(id), type = tolower(type){types}{within}
| extend subscriptionId = tolower(subscriptionId), resourceGroup = tolower(resourceGroup)
| join kind=leftouter (
    resourcecontainers
    | where type =~ 'microsoft.resources/subscriptions/resourcegroups'
    | extend rgSubscriptionId = tolower(subscriptionId), rgKey = tolower(name)
    | project rgSubscriptionId, rgKey, rgId = id, rgName = name, rgLocation = location, rgTags = tags
) on $left.subscriptionId == $right.rgSubscriptionId and $left.resourceGroup == $right.rgKey{tags}
| project id, resourceId, sourceResourceId = resourceId, name, type, location, tags, subscriptionId, resourceGroup,
    rgId, rgName, rgLocation, rgTags
| order by resourceId asc"
    )
}

fn containers(scope: &Scope, groups: Groups, part: &str) -> String {
    let (tags, scope_column) = group_filter(scope, groups, "type == 'microsoft.resources/subscriptions'");
    format!(
        "\
resourcecontainers
| extend resourceId = tolower(id), type = tolower(type)
| where type in ('microsoft.resources/subscriptions', 'microsoft.resources/subscriptions/resourcegroups'){part}{tags}
| extend subscriptionId = tolower(subscriptionId), resourceGroup = tolower(resourceGroup)
| project id, resourceId, sourceResourceId = resourceId, name, type, location, tags, subscriptionId, resourceGroup{scope_column}
| order by resourceId asc"
    )
}

fn deleted_resources(scope: &Scope, since: Timestamp, part: &str) -> String {
    let since = kql::datetime(since);
    let types = filter(kql::type_condition(&scope.resource_types));
    format!(
        "\
resourcechanges
| extend changeTime = todatetime(properties.changeAttributes.timestamp)
| where changeTime > {since}
| extend resourceId = tolower(tostring(properties.targetResourceId))
| extend type = tolower(tostring(properties.targetResourceType)){types}{part}
| extend targetId = tostring(properties.targetResourceId), changeType = tostring(properties.changeType)
| summarize arg_max(changeTime, targetId, type, changeType, subscriptionId, resourceGroup) by resourceId
| where changeType =~ 'Delete'
| join kind=leftouter (
    resources
    | project sourceResourceId = tolower(id), name, location, tags
) on $left.resourceId == $right.sourceResourceId
| where isempty(sourceResourceId)
| extend subscriptionId = tolower(subscriptionId), resourceGroup = tolower(resourceGroup)
| project id = targetId, resourceId, sourceResourceId, name, type, location, tags, subscriptionId, resourceGroup,
    rgTags = dynamic(null), changeType, changeTime
| order by resourceId asc"
    )
}

fn deleted_containers(since: Timestamp, part: &str) -> String {
    let since = kql::datetime(since);
    format!(
        "\
resourcecontainerchanges
| extend changeTime = todatetime(properties.changeAttributes.timestamp)
| where changeTime > {since}
| extend resourceId = tolower(tostring(properties.targetResourceId))
| extend type = tolower(tostring(properties.targetResourceType))
| where type in ('microsoft.resources/subscriptions', 'microsoft.resources/subscriptions/resourcegroups'){part}
| extend targetId = tostring(properties.targetResourceId), changeType = tostring(properties.changeType)
| summarize arg_max(changeTime, targetId, type, changeType, subscriptionId, resourceGroup) by resourceId
| where changeType =~ 'Delete'
| join kind=leftouter (
    resourcecontainers
    | project sourceResourceId = tolower(id), name, location, tags
) on $left.resourceId == $right.sourceResourceId
| where isempty(sourceResourceId)
| extend subscriptionId = tolower(subscriptionId), resourceGroup = tolower(resourceGroup)
| project id = targetId, resourceId, sourceResourceId, name, type, location, tags, subscriptionId, resourceGroup,
    changeType, changeTime
| order by resourceId asc"
    )
}

/// The groups that the tag filters match.
pub(crate) fn groups_in_scope(scope: &Scope) -> String {
    let whole = Query::Containers { scope, groups: Groups::InScope }.text(Part::WHOLE);
    format!("{whole}\n| where type == 'microsoft.resources/subscriptions/resourcegroups'")
}

/// Those of some types that there are resources of.
pub(crate) fn types_that_exist(types: &[ResourceType]) -> String {
    let types = filter(kql::type_condition(types));
    format!("resources\n| extend type = tolower(type){types}\n| summarize found = count() by type")
}

/// The line that restricts a query to some ids.
fn of(ids: &[String]) -> String {
    format!("\n| where resourceId in ({})", kql::list(ids.iter().map(String::as_str)))
}

/// A line of its own, where there is a condition.
fn filter(condition: Option<String>) -> Cow<'static, str> {
    condition.map_or(Cow::Borrowed(""), |condition| format!("\n| where {condition}").into())
}

/// The tag filters over the dynamic column `tags`, and the rows that they never hold back.
fn tag_filter(scope: &Scope, tags: &str, always: &str) -> String {
    kql::tag_condition(&scope.tag_filters, "lowerTags").map_or_else(String::new, |condition| {
        format!("\n| extend lowerTags = todynamic(tolower(tostring({tags})))\n| where {always}\n    or ({condition})")
    })
}

/// The lines that keep a group or say whether it is in scope, and the column that says so.
fn group_filter(scope: &Scope, groups: Groups, always: &str) -> (String, &'static str) {
    match (groups, kql::tag_condition(&scope.tag_filters, "lowerTags")) {
        (Groups::All, Some(condition)) => (
            format!(
                "\n| extend lowerTags = todynamic(tolower(tostring(tags)))\n| extend scope = iff({always}\n    or \
                 ({condition}), 'in', 'out')"
            ),
            ", scope",
        ),
        _ => (tag_filter(scope, "tags", always), ""),
    }
}

impl Which<'_> {
    /// The lines that restrict the changes: by time, and by `resourceId`.
    fn filters(self) -> (String, String) {
        match self {
            Self::Since(since) => (format!("\n| where changeTime > {}", kql::datetime(since)), String::new()),
            Self::Of(ids) => (String::new(), of(ids)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
