//! Subscriptions as shards, and the changes made here: the upsert of a subscription, and deletes.

use serde::Serialize;
use serde_json::value::RawValue;

use super::arm_id::{ArmId, SUBSCRIPTION_TYPE, id_of, label_of, text_of};
use super::json::on_one_line;
use crate::azure::subscriptions::Subscription as Listed;
use crate::model::{Change, Id, Operation, Stage};

/// A listed subscription.
#[derive(Clone, Debug)]
pub(crate) struct Subscription {
    /// Its name, as people know it.
    pub(crate) name: String,
    /// `Enabled`, `Warned`, `PastDue`, `Disabled` or `Deleted`; in the last two, there are no resources.
    pub(crate) state: String,
    /// The upsert of its own entity. The listing says more, and sooner, than Resource Graph does.
    pub(crate) root: Change,
}

/// A container's row, made here with the same columns as in the container queries.
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

impl Subscription {
    /// `None` if it is not a subscription, which the listing rules out.
    pub(super) fn of(subscription: &Listed) -> Option<Self> {
        let text = format!("/subscriptions/{}", subscription.id);
        let row = ContainerRow {
            id: &text,
            resource_id: &text,
            source_resource_id: &text,
            name: &subscription.name,
            kind: SUBSCRIPTION_TYPE,
            location: "",
            tags: subscription.tags.as_deref(),
            subscription_id: &subscription.id,
            resource_group: "",
        };
        let id = id_of(&text)?;
        let root = Change {
            id,
            operation: Operation::Upsert,
            label: label_of(Stage::Root),
            kind: SUBSCRIPTION_TYPE.into(),
            changed_at: None,
            actor: None,
            row: on_one_line(serde_json::to_vec(&row).ok()?.into()),
        };
        Some(Self { name: subscription.name.clone(), state: subscription.state.clone(), root })
    }
}

/// The id of a subscription by its GUID.
pub(super) fn shard(subscription: &str) -> Option<Id> {
    id_of(&format!("/subscriptions/{subscription}"))
}

/// The delete of an entity, built from its id alone.
pub(super) fn gone(id: &Id) -> Change {
    let text = text_of(id);
    let arm = ArmId::parse(id.as_str());
    let kind = arm.map_or_else(String::new, |arm| arm.kind());
    let row = serde_json::json!({
        "id": text,
        "resourceId": text,
        "sourceResourceId": "",
        "name": "",
        "type": kind,
        "location": "",
        "tags": null,
        "subscriptionId": arm.map_or("", |arm| arm.subscription()),
        "resourceGroup": arm.and_then(|arm| arm.group()).unwrap_or_default(),
        "changeType": "Delete",
    });
    Change {
        id: id.clone(),
        operation: Operation::Delete,
        label: label_of(id.stage()),
        kind: kind.into(),
        changed_at: None,
        actor: None,
        row: row.to_string().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Stage;

    fn subscription(state: &str) -> Listed {
        let tags = RawValue::from_string("{\n\"Team\": \"\u{c9}quipe\"\r\n}".into()).unwrap();
        let quota_id = "PayAsYouGo_2014-09-01".into();
        Listed { id: "0a".into(), name: "One".into(), state: state.into(), quota_id, tags: Some(tags) }
    }

    #[test]
    fn a_subscription_is_a_shard_with_its_own_upsert() {
        let shard = Subscription::of(&subscription("Warned")).unwrap();
        assert_eq!(
            (shard.root.id.as_str(), shard.root.id.stage(), &*shard.name),
            ("/subscriptions/0a", Stage::Root, "One")
        );
        assert_eq!(shard.state, "Warned");
        assert_eq!(
            std::str::from_utf8(&shard.root.row).unwrap(),
            "{\"id\":\"/subscriptions/0a\",\"resourceId\":\"/subscriptions/0a\",\"sourceResourceId\":\"/subscriptions/0a\",\
             \"name\":\"One\",\"type\":\"microsoft.resources/subscriptions\",\"location\":\"\",\
             \"tags\":{ \"Team\": \"\u{c9}quipe\"  },\"subscriptionId\":\"0a\",\"resourceGroup\":\"\"}"
        );
    }

    #[test]
    fn what_is_gone_is_deleted_by_its_id_alone() {
        for text in [
            "/subscriptions/s",
            "/subscriptions/s/resourcegroups/my g",
            "/subscriptions/s/resourcegroups/my g/providers/a.b/c/d/e/f",
            "/subscriptions/s/resourcegroups/g/providers/a.b/c/d/providers/e.f/g/h",
        ] {
            let change = gone(&id_of(text).unwrap());
            assert_eq!((change.operation, change.id.as_str()), (Operation::Delete, text));
            let row: serde_json::Value = serde_json::from_slice(&change.row).unwrap();
            let group = text.split('/').nth(4).unwrap_or_default();
            assert_eq!(
                (&row["id"], &row["resourceId"], &row["sourceResourceId"]),
                (&text.into(), &text.into(), &"".into())
            );
            assert_eq!((&row["subscriptionId"], &row["resourceGroup"]), (&"s".into(), &group.into()));
            assert_eq!((&row["changeType"], &row["tags"]), (&"Delete".into(), &serde_json::Value::Null));
        }
        let tenant = gone(&id_of("/subscriptions/s//providers/a.b/c/d").unwrap());
        let row = std::str::from_utf8(&tenant.row).unwrap();
        assert!(
            row.contains(r#""resourceId":"/providers/a.b/c/d""#) && row.contains(r#""subscriptionId":"s""#),
            "{row}"
        );
        let ungrouped = gone(&id_of("/subscriptions/s/providers/a.b/c/d").unwrap());
        let row = std::str::from_utf8(&ungrouped.row).unwrap();
        assert!(row.contains(r#""resourceGroup":"""#) && row.contains(r#""type":"a.b/c""#), "{row}");
    }
}
