//! A row of Resource Graph as the program sees it: a few key fields typed, the rest passed through untouched.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use serde::de::{Deserializer, Error as _, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::story::{self, Actor};
use crate::azure::graph::Row;
use crate::azure::subscriptions::Subscription;
use crate::id::{Id, lower};

const GROUP_TYPE: &str = "microsoft.resources/subscriptions/resourcegroups";
const SUBSCRIPTION_TYPE: &str = "microsoft.resources/subscriptions";

/// An id is some hundred bytes long, and may have to be remembered.
const LONGEST_ID: usize = 4096;

/// What is to be done to an entity of the catalog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Upsert,
    Delete,
}

/// What a row is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Subject {
    Subscription,
    Group,
    Resource,
}

/// A change to be delivered: a row as it came, and what the program has to know of it.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    /// The row, a slice of the page that it came in.
    pub(crate) row: Bytes,
    pub(crate) id: Id,
    pub(crate) subject: Subject,
    pub(crate) operation: Operation,
    /// Whether the resource has a row among those that exist now.
    pub(crate) exists: bool,
    /// Whether its group has one; a container counts as its own.
    pub(crate) group_exists: bool,
    /// Whether its tags put a group in scope, where the query tells; else it is.
    pub(crate) in_scope: bool,
    pub(crate) group: Id,
    pub(crate) subscription: Id,
    /// Who or what made the change, where that was asked for.
    pub(crate) actor: Option<Box<Actor>>,
}

/// The key fields of a row, borrowed from it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Keys<'a> {
    #[serde(borrow)]
    resource_id: Text<'a>,
    #[serde(borrow, default)]
    source_resource_id: Text<'a>,
    #[serde(borrow, rename = "type")]
    kind: Text<'a>,
    #[serde(borrow, default)]
    subscription_id: Text<'a>,
    #[serde(borrow, default)]
    resource_group: Text<'a>,
    #[serde(borrow, default)]
    rg_id: Text<'a>,
    #[serde(borrow, default)]
    change_type: Text<'a>,
    #[serde(borrow, default)]
    scope: Text<'a>,
    #[serde(borrow, default)]
    client_type: Text<'a>,
    #[serde(borrow, default)]
    operation: Text<'a>,
    #[serde(borrow, default)]
    change_attributes: Option<&'a RawValue>,
}

/// What a resource's row says of its group.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct GroupKeys<'a> {
    #[serde(borrow)]
    rg_id: Text<'a>,
    #[serde(borrow, default)]
    rg_name: Text<'a>,
    #[serde(borrow, default)]
    rg_location: Text<'a>,
    #[serde(borrow, default)]
    rg_tags: Option<&'a RawValue>,
    #[serde(borrow)]
    subscription_id: Text<'a>,
    #[serde(borrow)]
    resource_group: Text<'a>,
}

/// The id alone.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct NameKeys<'a> {
    #[serde(borrow)]
    resource_id: Text<'a>,
}

/// A container's row, made here: the same columns as the container queries yield.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ContainerRow<'a> {
    id: &'a str,
    resource_id: &'a str,
    source_resource_id: &'a str,
    name: &'a str,
    #[serde(rename = "type")]
    kind: &'static str,
    location: &'a str,
    tags: Option<&'a RawValue>,
    subscription_id: &'a str,
    resource_group: &'a str,
}

impl Row for Change {
    fn parse(row: Bytes) -> Result<Self, serde_json::Error> {
        let row = on_one_line(row);
        let keys: Keys<'_> = serde_json::from_slice(&row)?;
        if [&keys.resource_id, &keys.rg_id, &keys.subscription_id].iter().any(|id| id.0.len() > LONGEST_ID) {
            return Err(serde_json::Error::custom(format!("an id of more than {LONGEST_ID} bytes is none of Azure's")));
        }
        let subject = match &*keys.kind.0 {
            SUBSCRIPTION_TYPE => Subject::Subscription,
            GROUP_TYPE => Subject::Group,
            _ => Subject::Resource,
        };
        let operation =
            if keys.change_type.0.eq_ignore_ascii_case("Delete") { Operation::Delete } else { Operation::Upsert };
        let exists = !keys.source_resource_id.0.is_empty();
        let group_exists = match subject {
            Subject::Resource => !keys.rg_id.0.is_empty(),
            Subject::Group | Subject::Subscription => exists,
        };
        let id = Id::of(&keys.resource_id.0);
        let subscription = Id::of_subscription(&keys.subscription_id.0);
        let group = match subject {
            Subject::Group => id,
            _ => Id::of_group(&keys.subscription_id.0, &keys.resource_group.0),
        };
        let in_scope = keys.scope.0 != "out";
        let (actor, rest) = match story::take_actor(&row, &keys.client_type.0, &keys.operation.0) {
            Some((actor, rest)) => (Some(actor), Some(rest)),
            None => (keys.change_attributes.and_then(story::told_actor), None),
        };
        let (actor, row) = (actor.map(Box::new), rest.unwrap_or(row));
        Ok(Self { row, id, subject, operation, exists, group_exists, in_scope, group, subscription, actor })
    }

    fn id(&self) -> Id {
        self.id
    }
}

impl Change {
    /// The upsert of this resource's group, from what the join found of it; `None` where it found none.
    pub(crate) fn group_upsert(&self) -> Option<Self> {
        let keys: GroupKeys<'_> = serde_json::from_slice(&self.row).ok()?;
        if keys.rg_id.0.is_empty() {
            return None;
        }
        let resource_id = lower(&keys.rg_id.0);
        Self::container(
            Subject::Group,
            &ContainerRow {
                id: &keys.rg_id.0,
                resource_id: &resource_id,
                source_resource_id: &resource_id,
                name: &keys.rg_name.0,
                kind: GROUP_TYPE,
                location: &keys.rg_location.0,
                tags: keys.rg_tags,
                subscription_id: &keys.subscription_id.0,
                resource_group: &keys.resource_group.0,
            },
        )
    }

    /// The upsert of a subscription, from the listing.
    pub(crate) fn subscription_upsert(subscription: &Subscription) -> Option<Self> {
        let resource_id = format!("/subscriptions/{}", subscription.id);
        Self::container(
            Subject::Subscription,
            &ContainerRow {
                id: &resource_id,
                resource_id: &resource_id,
                source_resource_id: &resource_id,
                name: &subscription.name,
                kind: SUBSCRIPTION_TYPE,
                location: "",
                tags: subscription.tags.as_deref(),
                subscription_id: &subscription.id,
                resource_group: "",
            },
        )
    }

    /// The delete of what is gone, from its lower-case id alone.
    pub(crate) fn gone(resource_id: &str) -> Option<Self> {
        let mut words = resource_id.split('/').skip(2);
        let subscription_id = words.next()?;
        let resource_group = words.nth(1).unwrap_or_default();
        let kind = type_of(resource_id);
        let row = serde_json::json!({
            "id": resource_id,
            "resourceId": resource_id,
            "sourceResourceId": "",
            "name": "",
            "type": kind,
            "location": "",
            "tags": null,
            "subscriptionId": subscription_id,
            "resourceGroup": resource_group,
            "changeType": "Delete",
        });
        Self::parse(row.to_string().into()).ok()
    }

    fn container(subject: Subject, row: &ContainerRow<'_>) -> Option<Self> {
        let id = Id::of(row.resource_id);
        Some(Self {
            id,
            subject,
            operation: Operation::Upsert,
            exists: true,
            group_exists: true,
            in_scope: true,
            group: id,
            subscription: Id::of_subscription(row.subscription_id),
            actor: None,
            row: on_one_line(serde_json::to_vec(row).ok()?.into()),
        })
    }

    /// A hash of all that the envelope will say.
    pub(crate) fn content(&self) -> Id {
        let operation = match self.operation {
            Operation::Upsert => b"upsert",
            Operation::Delete => b"delete",
        };
        Id::hash(&[operation, &self.row])
    }

    /// The same, but as a delete.
    pub(crate) fn into_delete(self) -> Self {
        Self { operation: Operation::Delete, ..self }
    }

    /// With a copy of its row, so that waiting does not hold the whole page in memory.
    pub(crate) fn detached(self) -> Self {
        Self { row: Bytes::copy_from_slice(&self.row), ..self }
    }

    /// The lower-case id, for messages and for asking again.
    pub(crate) fn resource_id(&self) -> String {
        serde_json::from_slice::<NameKeys<'_>>(&self.row)
            .map_or_else(|_| format!("{:?}", self.id), |keys| keys.resource_id.0.into_owned())
    }
}

/// JSON without its line breaks, which can only be whitespace between its tokens: files of rows have one a line.
fn on_one_line(json: Bytes) -> Bytes {
    if !(json.contains(&b'\n') || json.contains(&b'\r')) {
        return json;
    }
    json.iter().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte }).collect()
}

/// The type in a lower-case id: `namespace/type`, with the types of its parents between.
fn type_of(resource_id: &str) -> String {
    let Some((_, provider)) = resource_id.rsplit_once("/providers/") else {
        let is_group = resource_id.split('/').nth(3) == Some("resourcegroups");
        return if is_group { GROUP_TYPE } else { SUBSCRIPTION_TYPE }.to_owned();
    };
    let mut words = provider.split('/');
    let namespace = words.next().unwrap_or_default();
    let types: Vec<&str> = words.step_by(2).collect();
    format!("{namespace}/{}", types.join("/"))
}

/// A string column: borrowed where the JSON allows it, empty where it is null.
#[derive(Default)]
pub(super) struct Text<'a>(pub(super) Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;

        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or null")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }

            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(Text::default())
            }
        }

        deserializer.deserialize_any(TextVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(row: &'static str) -> Change {
        Change::parse(Bytes::from_static(row.as_bytes())).unwrap()
    }

    const RESOURCE: &str = r#"{"id":"/subscriptions/S/resourceGroups/My Group/providers/A.b/c/d","resourceId":"/subscriptions/s/resourcegroups/my group/providers/a.b/c/d","sourceResourceId":"/subscriptions/s/resourcegroups/my group/providers/a.b/c/d","name":"d","type":"a.b/c","location":"westeurope","tags":null,"subscriptionId":"s","resourceGroup":"my group","rgId":"/subscriptions/S/resourceGroups/My Group","rgName":"My Group","rgLocation":"northeurope","rgTags":{"Team":"\u00c9quipe"},"changeType":"Update","changeTime":"2026-01-02T03:04:05.678Z"}"#;

    #[test]
    fn a_row_of_a_resource_is_read_and_kept_as_it_came() {
        let change = change(RESOURCE);
        assert_eq!(change.row, RESOURCE.as_bytes());
        assert_eq!((change.subject, change.operation), (Subject::Resource, Operation::Upsert));
        assert!(change.exists && change.group_exists);
        assert_eq!(change.group, Id::of("/subscriptions/s/resourceGroups/my group"));
        assert_eq!(change.resource_id(), "/subscriptions/s/resourcegroups/my group/providers/a.b/c/d");
    }

    #[test]
    fn the_group_of_a_resource_is_a_whole_container_row() {
        let group = change(RESOURCE).group_upsert().unwrap();
        assert_eq!(group.subject, Subject::Group);
        assert_eq!(group.id, group.group);
        assert_eq!(
            std::str::from_utf8(&group.row).unwrap(),
            r#"{"id":"/subscriptions/S/resourceGroups/My Group","resourceId":"/subscriptions/s/resourcegroups/my group","sourceResourceId":"/subscriptions/s/resourcegroups/my group","name":"My Group","type":"microsoft.resources/subscriptions/resourcegroups","location":"northeurope","tags":{"Team":"\u00c9quipe"},"subscriptionId":"s","resourceGroup":"my group"}"#
        );
    }

    #[test]
    fn the_group_of_a_resource_is_in_lower_case_as_resource_graph_has_it() {
        let row = RESOURCE.replace("My Group", "ΟΔΟΣ").replace("my group", "οδοσ");
        let change = Change::parse(row.into()).unwrap();
        let group = change.group_upsert().unwrap();
        assert_eq!((group.resource_id().as_str(), group.id), ("/subscriptions/s/resourcegroups/οδοσ", change.group));
    }

    #[test]
    fn a_delete_has_neither_a_row_nor_a_group() {
        let change = change(
            r#"{"resourceId":"/subscriptions/s/resourcegroups/g/providers/a/b/c","sourceResourceId":"","type":"a/b","subscriptionId":"s","resourceGroup":"g","rgId":null,"changeType":"Delete"}"#,
        );
        assert_eq!(change.operation, Operation::Delete);
        assert!(!change.exists && !change.group_exists);
        assert!(change.group_upsert().is_none());
    }

    #[test]
    fn what_is_gone_is_deleted_by_its_id_alone() {
        let gone = Change::gone("/subscriptions/s/resourcegroups/my g/providers/a.b/c/d/e/f").unwrap();
        assert_eq!((gone.subject, gone.operation, gone.exists), (Subject::Resource, Operation::Delete, false));
        assert_eq!(gone.group, Id::of("/subscriptions/s/resourcegroups/my g"));
        assert!(std::str::from_utf8(&gone.row).unwrap().contains(r#""type":"a.b/c/e""#));
        assert_eq!(Change::gone("/subscriptions/s/resourcegroups/g").unwrap().subject, Subject::Group);
        assert_eq!(Change::gone("/subscriptions/s").unwrap().subject, Subject::Subscription);
    }

    #[test]
    fn a_row_is_one_line_however_it_came() {
        let change =
            change("{\n\t\"resourceId\": \"/subscriptions/s/x\",\r\n\t\"type\": \"a/b\", \"name\": \"a\\nb\"\n}");
        assert_eq!(
            change.row,
            "{ \t\"resourceId\": \"/subscriptions/s/x\",  \t\"type\": \"a/b\", \"name\": \"a\\nb\" }"
        );
        let tags = serde_json::value::RawValue::from_string("{\n\"a\": \"b\"\r\n}".into()).unwrap();
        let subscription = Subscription { id: "s".into(), name: "One".into(), state: String::new(), tags: Some(tags) };
        let row = Change::subscription_upsert(&subscription).unwrap().row;
        assert!(!row.contains(&b'\n') && !row.contains(&b'\r'), "{row:?}");
    }

    #[test]
    fn an_id_that_is_far_too_long_is_an_error() {
        let row = |length: usize| {
            let id = format!("/subscriptions/{}", "s".repeat(length - 15));
            Change::parse(serde_json::json!({"resourceId": id, "type": "a/b"}).to_string().into())
        };
        assert!(row(LONGEST_ID).is_ok());
        assert!(row(LONGEST_ID + 1).unwrap_err().to_string().contains("more than 4096 bytes"));
    }

    #[test]
    fn a_row_without_an_id_is_an_error() {
        assert!(Change::parse(Bytes::from_static(br#"{"type":"a/b"}"#)).is_err());
        assert!(Change::parse(Bytes::from_static(b"null")).is_err());
    }
}
