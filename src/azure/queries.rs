//! The queries themselves, each whole and readable. What they yield is documented at [`Query`].
//!
//! They stand on "Get resource changes" and "Understand the query language" of the Resource Graph docs: at most 3 joins, no
//! `take`, a scalar `id` among the columns, and a unique last sort key, or else paging loses rows.

use std::borrow::Cow;

use jiff::Timestamp;

use super::kql;
use crate::config::Scope;

/// A query of Resource Graph.
///
/// Every row has `id`, `resourceId` (lower case), `sourceResourceId` (the same where the resource exists now, else empty),
/// `name`, `type` (lower case), `location`, `tags`, `subscriptionId` and `resourceGroup` (lower case); a resource's also
/// `rgId`, `rgName`, `rgLocation` and `rgTags` of its group, empty where the group has no row; a change's also `changeType`
/// and `changeTime`, and a changed resource's `changedProperties`. There is one row a resource.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Query<'a> {
    /// Groups and subscriptions with a change after `since`, the latest change of each.
    ChangedContainers { scope: &'a Scope, since: Timestamp },
    /// Resources with a change after `since`, the latest change of each.
    ChangedResources { scope: &'a Scope, since: Timestamp },
    /// Groups and subscriptions that exist.
    Containers { scope: &'a Scope },
    /// Resources that exist.
    Resources { scope: &'a Scope },
    /// Resources with a `Delete` record after `since` that do not exist now.
    DeletedResources { scope: &'a Scope, since: Timestamp },
    /// Groups and subscriptions with a `Delete` record after `since` that do not exist now.
    DeletedContainers { since: Timestamp },
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
            Self::DeletedResources { .. } => "deleted resources",
            Self::DeletedContainers { .. } => "deleted containers",
        }
    }

    /// The text that is sent, for one part of the rows.
    pub(crate) fn text(&self, part: Part) -> String {
        let part = filter(kql::part_condition("resourceId", part.index, part.of));
        match self {
            Self::ChangedContainers { scope, since } => changed_containers(scope, *since, &part),
            Self::ChangedResources { scope, since } => changed_resources(scope, *since, &part),
            Self::Containers { scope } => containers(scope, &part),
            Self::Resources { scope } => resources(scope, &part),
            Self::DeletedResources { scope, since } => deleted_resources(scope, *since, &part),
            Self::DeletedContainers { since } => deleted_containers(*since, &part),
        }
    }
}

fn changed_resources(scope: &Scope, since: Timestamp, part: &str) -> String {
    let since = kql::datetime(since);
    let types = filter(kql::type_condition(&scope.resource_types));
    let tags = tag_filter(scope, "rgTags", "changeType =~ 'Delete' or isempty(sourceResourceId) or isempty(rgId)");
    format!(
        "\
resourcechanges
| extend changeTime = todatetime(properties.changeAttributes.timestamp)
| where changeTime > {since}
| extend resourceId = tolower(tostring(properties.targetResourceId))
| extend type = tolower(tostring(properties.targetResourceType)){types}{part}
| extend targetId = tostring(properties.targetResourceId), changeType = tostring(properties.changeType)
| extend changedProperties = properties.changes
| summarize arg_max(changeTime, targetId, type, changeType, changedProperties, subscriptionId, resourceGroup) by resourceId
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
    rgId, rgName, rgLocation, rgTags, changeType, changeTime, changedProperties
| order by resourceId asc"
    )
}

fn changed_containers(scope: &Scope, since: Timestamp, part: &str) -> String {
    let since = kql::datetime(since);
    let tags = tag_filter(
        scope,
        "tags",
        "changeType =~ 'Delete' or isempty(sourceResourceId) or type == 'microsoft.resources/subscriptions'",
    );
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
| join kind=leftouter (
    resourcecontainers
    | where type in~ ('microsoft.resources/subscriptions', 'microsoft.resources/subscriptions/resourcegroups')
    | project sourceResourceId = tolower(id), id, name, location, tags
) on $left.resourceId == $right.sourceResourceId{tags}
| extend id = iff(isempty(id), targetId, id)
| extend subscriptionId = tolower(subscriptionId), resourceGroup = tolower(resourceGroup)
| project id, resourceId, sourceResourceId, name, type, location, tags, subscriptionId, resourceGroup,
    changeType, changeTime
| order by resourceId asc"
    )
}

fn resources(scope: &Scope, part: &str) -> String {
    let types = filter(kql::type_condition(&scope.resource_types));
    let tags = tag_filter(scope, "rgTags", "isempty(rgId)");
    format!(
        "\
resources
| extend resourceId = tolower(id), type = tolower(type){types}{part}
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

fn containers(scope: &Scope, part: &str) -> String {
    let tags = tag_filter(scope, "tags", "type == 'microsoft.resources/subscriptions'");
    format!(
        "\
resourcecontainers
| extend resourceId = tolower(id), type = tolower(type)
| where type in ('microsoft.resources/subscriptions', 'microsoft.resources/subscriptions/resourcegroups'){part}{tags}
| extend subscriptionId = tolower(subscriptionId), resourceGroup = tolower(resourceGroup)
| project id, resourceId, sourceResourceId = resourceId, name, type, location, tags, subscriptionId, resourceGroup
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
| extend changeType = tostring(properties.changeType)
| where changeType =~ 'Delete'
| extend resourceId = tolower(tostring(properties.targetResourceId))
| extend type = tolower(tostring(properties.targetResourceType)){types}{part}
| extend targetId = tostring(properties.targetResourceId)
| summarize arg_max(changeTime, targetId, type, changeType, subscriptionId, resourceGroup) by resourceId
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
| extend changeType = tostring(properties.changeType)
| where changeType =~ 'Delete'
| extend resourceId = tolower(tostring(properties.targetResourceId))
| extend type = tolower(tostring(properties.targetResourceType))
| where type in ('microsoft.resources/subscriptions', 'microsoft.resources/subscriptions/resourcegroups'){part}
| extend targetId = tostring(properties.targetResourceId)
| summarize arg_max(changeTime, targetId, type, changeType, subscriptionId, resourceGroup) by resourceId
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
