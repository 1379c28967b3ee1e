//! A row of Resource Graph as evidence: a few key fields are read, the rest passes through untouched.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::arm_id::{id_of, label_of};
use super::json::{Text, on_one_line, without};
use crate::config;
use crate::id::{lower, under};
use crate::model::{Actor, Change, Finding, Operation, Record, RecordKind, Scope, Stage};

/// An id is some hundred bytes long, and may have to be remembered.
const LONGEST_ID: usize = 4096;

/// Columns that are evidence, or for the log: they are not sent.
const OURS: [&str; 4] = ["clientType", "operation", "movesScope", "scope"];

/// A parsed row.
#[derive(Debug)]
pub(crate) enum Row {
    Of(Finding),
    /// It is in no subscription, and names none; this is its id.
    Elsewhere(Box<str>),
}

/// The types of resources, each stored once.
#[derive(Debug, Default)]
pub(crate) struct Kinds(HashSet<Arc<str>>);

impl Kinds {
    fn get(&mut self, text: &str) -> Arc<str> {
        if let Some(kind) = self.0.get(text) {
            return Arc::clone(kind);
        }
        let kind: Arc<str> = lower(text).into();
        self.0.insert(Arc::clone(&kind));
        kind
    }
}

/// The key fields of a row, borrowed from it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Keys<'a> {
    #[serde(borrow)]
    resource_id: Text<'a>,
    #[serde(borrow, default)]
    source_resource_id: Text<'a>,
    #[serde(borrow, default, rename = "type")]
    kind: Text<'a>,
    #[serde(borrow, default)]
    change_type: Text<'a>,
    #[serde(borrow, default)]
    change_time: Text<'a>,
    #[serde(borrow, default)]
    change_attributes: Option<&'a RawValue>,
    #[serde(borrow, default)]
    subscription_id: Text<'a>,
    #[serde(borrow, default, deserialize_with = "present")]
    client_type: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    operation: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    moves_scope: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    scope: Option<&'a RawValue>,
}

/// A column of [`OURS`], whatever its value: `null` is not absent, and has to be taken out as well.
fn present<'de: 'a, 'a, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'a RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

/// The text of such a column, empty if it has none.
fn text_of(column: Option<&RawValue>) -> String {
    let text = column.and_then(|column| serde_json::from_str::<Text<'_>>(column.get()).ok());
    text.unwrap_or_default().0.into_owned()
}

impl Row {
    /// Parses a row's JSON as it came, a slice of its page. An error if it is not from one of our queries.
    pub(crate) fn parse(json: Bytes, scope: &config::Scope, kinds: &mut Kinds) -> Result<Self, serde_json::Error> {
        let row = on_one_line(json);
        let keys: Keys<'_> = serde_json::from_slice(&row)?;
        if keys.resource_id.0.len() > LONGEST_ID {
            return Err(serde_json::Error::custom(format!("an id of more than {LONGEST_ID} bytes cannot be Azure's")));
        }
        let in_tenant = || id_of(&under(&keys.subscription_id.0, &keys.resource_id.0)?);
        let Some(id) = id_of(&keys.resource_id.0).or_else(in_tenant) else {
            return Ok(Self::Elsewhere(keys.resource_id.0.into()));
        };
        let record = keys.record()?;
        let exists = !keys.source_resource_id.is_empty();
        let kind = kinds.get(&keys.kind.0);
        let scope = keys.scope_of(id.stage(), exists, &kind, scope);
        let actor = keys.actor().map(Box::new);
        let rest = if keys.has_ours() { Some(without(&row, &OURS)?) } else { None };
        let operation = if exists { Operation::Upsert } else { Operation::Delete };
        let changed_at = record.map(|record| record.at);
        let label = label_of(id.stage());
        let change = Change { id, operation, label, kind, changed_at, actor, row: rest.unwrap_or(row) };
        Ok(Self::Of(Finding { change, exists, scope, record }))
    }

    /// The id, which no two rows of an answer may share.
    pub(super) fn id(&self) -> &str {
        match self {
            Self::Of(finding) => finding.id().as_str(),
            Self::Elsewhere(id) => id,
        }
    }
}

impl Keys<'_> {
    /// The latest record, if the row has one.
    fn record(&self) -> Result<Option<Record>, serde_json::Error> {
        if self.change_type.is_empty() {
            return Ok(None);
        }
        let at: Timestamp = self.change_time.0.parse().map_err(|_| {
            serde_json::Error::custom(format!("\"{}\" is not the time of a change", self.change_time.0))
        })?;
        let kind = match lower(&self.change_type.0).as_str() {
            "create" => RecordKind::Create,
            "delete" => RecordKind::Delete,
            _ => RecordKind::Update,
        };
        let moves_scope = self.moves_scope.is_some_and(|flag| !matches!(flag.get(), "0" | "false" | "null"));
        Ok(Some(Record { moves_scope, ..Record::new(at, kind) }))
    }

    /// A group is in scope by its own tags, which only a row has; a resource is out of scope by its own type.
    fn scope_of(&self, stage: Stage, exists: bool, kind: &str, scope: &config::Scope) -> Option<Scope> {
        match stage {
            Stage::Root => Some(Scope::In),
            Stage::Container => {
                let is_out = text_of(self.scope) == "out";
                exists.then_some(if is_out { Scope::Out } else { Scope::In })
            }
            Stage::Leaf => {
                let types = &scope.resource_types;
                let is_out = !types.is_empty() && types.iter().all(|one| one.as_str() != kind);
                is_out.then_some(Scope::Out)
            }
        }
    }

    /// Who made the change: from the columns for the log, or from the one that is sent.
    fn actor(&self) -> Option<Actor> {
        told(Actor { client_type: text_of(self.client_type), operation: text_of(self.operation) })
            .or_else(|| told_in(self.change_attributes?))
    }

    fn has_ours(&self) -> bool {
        self.client_type.is_some() || self.operation.is_some() || self.moves_scope.is_some() || self.scope.is_some()
    }
}

/// The actor in the column that is sent.
fn told_in(attributes: &RawValue) -> Option<Actor> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Attributes<'a> {
        #[serde(borrow, default)]
        client_type: Text<'a>,
        #[serde(borrow, default)]
        operation: Text<'a>,
    }
    let Attributes { client_type, operation } = serde_json::from_str(attributes.get()).ok()?;
    told(Actor { client_type: client_type.0.into_owned(), operation: operation.0.into_owned() })
}

fn told(actor: Actor) -> Option<Actor> {
    (!actor.client_type.is_empty() || !actor.operation.is_empty()).then_some(actor)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ResourceType, Scope as Settings};

    const RESOURCE: &str = r#"{"id":"/subscriptions/S/resourceGroups/My Group/providers/A.b/c/d","resourceId":"/subscriptions/s/resourcegroups/my group/providers/a.b/c/d","sourceResourceId":"/subscriptions/s/resourcegroups/my group/providers/a.b/c/d","name":"d","type":"a.b/c","location":"westeurope","tags":null,"subscriptionId":"s","resourceGroup":"my group","rgId":"/subscriptions/S/resourceGroups/My Group","rgName":"My Group","rgLocation":"northeurope","rgTags":{"Team":"\u00c9quipe"},"changeType":"Update","changeTime":"2026-01-02T03:04:05.6789012Z"}"#;

    fn finding_in(row: &str, scope: &Settings) -> Finding {
        match Row::parse(Bytes::copy_from_slice(row.as_bytes()), scope, &mut Kinds::default()).unwrap() {
            Row::Of(finding) => finding,
            Row::Elsewhere(id) => panic!("{id}"),
        }
    }

    fn finding(row: &str) -> Finding {
        finding_in(row, &Settings::default())
    }

    fn error(row: &str) -> String {
        Row::parse(Bytes::copy_from_slice(row.as_bytes()), &Settings::default(), &mut Kinds::default())
            .unwrap_err()
            .to_string()
    }

    fn text(row: &Bytes) -> &str {
        std::str::from_utf8(row).unwrap()
    }

    #[test]
    fn a_row_of_a_resource_is_read_and_kept_as_it_came() {
        let finding = finding(RESOURCE);
        assert_eq!(text(&finding.change.row), RESOURCE);
        assert_eq!((finding.change.operation, &*finding.change.kind), (Operation::Upsert, "a.b/c"));
        assert_eq!(finding.id().container(), "/subscriptions/s/resourcegroups/my group");
        assert!(finding.exists && finding.scope.is_none(), "in scope as its group is");
        let record = finding.record.unwrap();
        assert_eq!((record.kind, record.moves_scope), (RecordKind::Update, false));
        assert_eq!(record.at.as_millisecond(), 1_767_323_045_678);
        assert_eq!(finding.change.changed_at, Some(record.at));
    }

    #[test]
    fn a_row_without_a_record_tells_none() {
        let row = r#"{"resourceId":"/subscriptions/s/resourcegroups/g/x","sourceResourceId":"/subscriptions/s/resourcegroups/g/x","type":"a/b"}"#;
        let finding = finding(row);
        assert!(finding.exists && finding.record.is_none() && finding.change.changed_at.is_none());
    }

    #[test]
    fn what_has_no_row_is_a_delete_whatever_its_record_says() {
        for (kind, record) in
            [("Delete", RecordKind::Delete), ("delete", RecordKind::Delete), ("Create", RecordKind::Create)]
        {
            let row = format!(
                r#"{{"resourceId":"/subscriptions/s/resourcegroups/g","sourceResourceId":"","type":"x","changeType":"{kind}","changeTime":"2026-01-02T03:04:05Z"}}"#
            );
            let finding = finding(&row);
            assert_eq!((finding.exists, finding.change.operation), (false, Operation::Delete));
            assert_eq!((finding.record.unwrap().kind, finding.scope), (record, None), "no row tells its tags");
        }
    }

    #[test]
    fn a_delete_record_beside_a_row_leaves_the_row_an_upsert() {
        let finding = finding(&RESOURCE.replace("Update", "Delete"));
        assert_eq!((finding.exists, finding.change.operation), (true, Operation::Upsert));
        assert_eq!(finding.record.unwrap().kind, RecordKind::Delete);
    }

    #[test]
    fn a_group_is_in_or_out_by_its_own_row_and_that_stays_out_of_what_is_sent() {
        let bare = r#"{"resourceId":"/subscriptions/s/resourcegroups/g","sourceResourceId":"/subscriptions/s/resourcegroups/g","type":"x","changeType":"Update","changeTime":"2026-01-02T03:04:05Z"}"#;
        let with = |more: &str| bare.replace(r#"Z"}"#, &format!(r#"Z",{more}}}"#));
        assert_eq!(finding(bare).scope, Some(Scope::In));
        for (columns, scope, moves) in [
            (r#""movesScope":0,"scope":"in""#, Scope::In, false),
            (r#""movesScope":1,"scope":"out""#, Scope::Out, true),
            (r#""movesScope":true"#, Scope::In, true),
            (r#""movesScope":false"#, Scope::In, false),
        ] {
            let finding = finding(&with(columns));
            assert_eq!((finding.scope, finding.record.unwrap().moves_scope), (Some(scope), moves), "{columns}");
            assert_eq!(text(&finding.change.row), bare);
        }
    }

    #[test]
    fn a_resource_is_out_by_its_own_type_only() {
        let scope = |kind: &str| Settings {
            resource_types: vec![kind.parse::<ResourceType>().unwrap()],
            ..Settings::default()
        };
        assert_eq!(finding_in(RESOURCE, &scope("A.B/C")).scope, None);
        assert_eq!(finding_in(RESOURCE, &scope("A.B/other")).scope, Some(Scope::Out));
        let root =
            r#"{"resourceId":"/subscriptions/s","sourceResourceId":"","type":"microsoft.resources/subscriptions"}"#;
        assert_eq!(finding_in(root, &scope("A.B/C")).scope, Some(Scope::In));
    }

    #[test]
    fn what_is_read_for_the_log_alone_stays_out_of_what_is_sent() {
        let bare = r#"{"resourceId":"/subscriptions/s/é","z":{"b": 1,"a":[]},"type":"a/b","changeTime":"2026-01-02T03:04:05.6789012Z"}"#;
        let row = bare.replace(r#""type""#, r#""clientType":"Azure Portal","type""#);
        let row = row.replacen(r#"{"resourceId""#, r#"{"operation":"a.b/c/write","resourceId""#, 1);
        let change = finding(&row).change;
        assert_eq!(text(&change.row), bare);
        let actor = change.actor.unwrap();
        assert_eq!((&*actor.client_type, &*actor.operation), ("Azure Portal", "a.b/c/write"));
        let untold = bare.replace(r#""type""#, r#""clientType":"","operation":"","type""#);
        let change = finding(&untold).change;
        assert_eq!((text(&change.row), change.actor), (bare, None), "whatever the log's level");
        assert!(finding(bare).change.actor.is_none());
    }

    #[test]
    fn a_column_of_ours_stays_out_of_what_is_sent_whatever_its_value() {
        let bare = r#"{"resourceId":"/subscriptions/s/resourcegroups/g","sourceResourceId":"","type":"a/b","changeType":"Update","changeTime":"2026-01-02T03:04:05Z"}"#;
        for name in OURS {
            for value in ["null", "\"\"", "\"x\"", "0", "1.5", "true", "[]", r#"{"a":"b"}"#] {
                for row in [
                    bare.replacen('{', &format!(r#"{{"{name}":{value},"#), 1),
                    bare.replacen(r#","type""#, &format!(r#","{name}":{value},"type""#), 1),
                    bare.replace(r#"Z"}"#, &format!(r#"Z","{name}":{value}}}"#)),
                ] {
                    assert_eq!(text(&finding(&row).change.row), bare, "{row}");
                }
            }
        }
    }

    #[test]
    fn an_actor_that_is_sent_is_logged_as_well() {
        let row = r#"{"resourceId":"/subscriptions/s/x","type":"a/b","changeAttributes":{"changedBy":"a@b.c","clientType":"CLI","operation":null}}"#;
        let change = finding(row).change;
        assert_eq!((text(&change.row), &*change.actor.unwrap().client_type), (row, "CLI"));
        for odd in ["null", "[]", "\"x\""] {
            let row = format!(r#"{{"resourceId":"/subscriptions/s/x","type":"a/b","changeAttributes":{odd}}}"#);
            assert!(finding(&row).change.actor.is_none(), "{odd}");
        }
    }

    #[test]
    fn a_row_is_one_line_however_it_came() {
        let row = "{\n\t\"resourceId\": \"/subscriptions/s/x\",\r\n\t\"type\": \"a/b\", \"name\": \"a\\nb\"\n}";
        let line = "{ \t\"resourceId\": \"/subscriptions/s/x\",  \t\"type\": \"a/b\", \"name\": \"a\\nb\" }";
        assert_eq!(text(&finding(row).change.row), line);
    }

    #[test]
    fn a_row_that_is_not_ours_is_an_error() {
        assert!(error(r#"{"type":"a/b"}"#).contains("resourceId"));
        assert!(error("null").contains("invalid type"));
        let odd = r#"{"resourceId":"/subscriptions/s","changeType":"Update","changeTime":"soon"}"#;
        assert!(error(odd).contains("\"soon\" is not the time"));
        let long = |length: usize| format!(r#"{{"resourceId":"/subscriptions/{}"}}"#, "s".repeat(length - 15));
        assert_eq!(finding(&long(LONGEST_ID)).id().as_str().len(), LONGEST_ID);
        assert!(error(&long(LONGEST_ID + 1)).contains("more than 4096 bytes"));
    }

    #[test]
    fn what_is_in_the_tenant_is_of_the_subscription_that_its_row_names() {
        let row = r#"{"resourceId":"/providers/a.b/c/d","sourceResourceId":"/providers/a.b/c/d","type":"a.b/c","subscriptionId":"s"}"#;
        let finding = finding(row);
        assert_eq!((finding.id().as_str(), finding.id().stage()), ("/subscriptions/s//providers/a.b/c/d", Stage::Leaf));
        assert_eq!((finding.id().shard(), text(&finding.change.row)), ("/subscriptions/s", row));
    }

    #[test]
    fn what_is_in_no_subscription_and_names_none_is_elsewhere() {
        let row =
            r#"{"resourceId":"/providers/microsoft.management/managementgroups/m","type":"a/b","subscriptionId":null}"#;
        let row = Row::parse(Bytes::from_static(row.as_bytes()), &Settings::default(), &mut Kinds::default()).unwrap();
        assert!(matches!(row, Row::Elsewhere(_)));
        assert_eq!(row.id(), "/providers/microsoft.management/managementgroups/m");
    }
}
