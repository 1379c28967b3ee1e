//! What a query may not join (rows to records, and groups to resources) is queried by id and joined here.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use bytes::Bytes;
use tokio::sync::mpsc;

use super::arm_id::ArmId;
use super::client::Pages;
use super::error::GraphError;
use super::json::Columns;
use super::names;
use super::queries::Query;
use super::reading::{Opened, Reader, Setting};
use super::slots::Slots;
use crate::model::{Change, Finding, Id, RecordKind, Scope, Stage};

/// Columns of a group's row, and their names in the row of a resource in it.
const OF_GROUP: [(&str, &str); 4] =
    [("id", "rgId"), ("name", "rgName"), ("location", "rgLocation"), ("tags", "rgTags")];

impl<'a, P: Pages> Reader<'a, P> {
    /// Adds to findings what their query may not join.
    pub(super) async fn complete(
        &self,
        findings: Vec<Finding>,
        subscriptions: &Rc<[&'a str]>,
    ) -> Result<Vec<Finding>, GraphError> {
        match self.query {
            Query::Subscriptions => Ok(findings),
            query if query.is_of_changes() => self.with_rows(findings, subscriptions).await,
            _ => self.with_groups(findings, subscriptions).await,
        }
    }

    /// Adds the existing rows to records. As in the joined query, an existing resource does not count as absent, and
    /// changes in a group that is out of scope are left out.
    async fn with_rows(
        &self,
        records: Vec<Finding>,
        subscriptions: &Rc<[&'a str]>,
    ) -> Result<Vec<Finding>, GraphError> {
        let (leaves, containers): (Vec<Id>, Vec<Id>) =
            records.iter().map(|record| record.id().clone()).partition(|id| id.stage() == Stage::Leaf);
        let mut rows = self.containers(&containers, subscriptions).await?;
        for ids in names::portions(&leaves) {
            rows.extend(self.rows(Query::ResourcesById { ids }, subscriptions).await?);
        }
        let mut groups = HashMap::new();
        if matches!(self.query, Query::ChangedResources { .. }) {
            // A row has its group's columns, but with filters the group itself says whether it is in scope; what is
            // gone has no columns yet.
            let is_filtered = !self.setting.scope.tag_filters.is_empty();
            let ids: Vec<Id> = leaves.into_iter().filter(|id| is_filtered || !rows.contains_key(id)).collect();
            groups = self.groups(&ids, subscriptions).await?;
        }
        let group_of = |id: &Id| id.parent().and_then(|group| groups.get(&group));
        let is_out = |id: &Id| group_of(id).is_some_and(|group| group.scope == Some(Scope::Out));
        let mut findings = Vec::with_capacity(records.len());
        for record in records.into_iter().filter(|record| self.is_read(record.id())) {
            let is_delete = record.record.is_some_and(|record| record.kind == RecordKind::Delete);
            let finding = match (rows.remove(record.id()), group_of(record.id())) {
                (Some(_), _) if matches!(self.query, Query::AbsentResources { .. }) => continue,
                (Some(_), _) if !is_delete && is_out(record.id()) => continue,
                (Some(row), _) => joined(row, record),
                (None, Some(group)) => in_group(record, group),
                (None, None) => Ok(record),
            };
            findings.push(finding.map_err(|error| self.unreadable(error))?);
        }
        Ok(findings)
    }

    /// Adds the columns of their groups to resources.
    async fn with_groups(
        &self,
        findings: Vec<Finding>,
        subscriptions: &Rc<[&'a str]>,
    ) -> Result<Vec<Finding>, GraphError> {
        let ids: Vec<Id> = findings.iter().map(|finding| finding.id().clone()).collect();
        let groups = self.groups(&ids, subscriptions).await?;
        let is_known = |finding: &Finding| {
            self.is_read(finding.id()) && finding.id().parent().is_none_or(|group| self.is_read(&group))
        };
        let findings = findings.into_iter().filter(is_known).map(|finding| {
            match finding.id().parent().and_then(|group| groups.get(&group)) {
                Some(group) => in_group(finding, group),
                None => Ok(finding),
            }
        });
        findings.collect::<Result<_, _>>().map_err(|error| self.unreadable(error))
    }

    /// The rows of the groups that these ids are in.
    async fn groups(&self, ids: &[Id], subscriptions: &Rc<[&'a str]>) -> Result<HashMap<Id, Finding>, GraphError> {
        let groups: HashSet<Id> =
            ids.iter().filter_map(Id::parent).filter(|group| group.stage() == Stage::Container).collect();
        self.containers(&Vec::from_iter(groups), subscriptions).await
    }

    async fn containers(&self, ids: &[Id], subscriptions: &Rc<[&'a str]>) -> Result<HashMap<Id, Finding>, GraphError> {
        let mut rows = HashMap::new();
        for ids in names::portions(ids) {
            rows.extend(self.rows(Query::ContainersById { ids }, subscriptions).await?);
        }
        Ok(rows)
    }

    /// Everything that a query by id finds, sent over only those subscriptions that its ids are in.
    async fn rows(&self, query: Query<'_>, subscriptions: &Rc<[&'a str]>) -> Result<HashMap<Id, Finding>, GraphError> {
        let ids = query.ids().unwrap_or_default().iter();
        let named: HashSet<&str> =
            ids.filter_map(|id| ArmId::parse(id.as_str())).map(|arm| arm.subscription()).collect();
        let subscriptions: Vec<&str> = subscriptions.iter().copied().filter(|guid| named.contains(guid)).collect();
        if subscriptions.is_empty() {
            return Ok(HashMap::new());
        }
        // The outer reading waits for this one, so this one must not wait for the outer one's slot.
        let slots = Slots::new(1);
        let setting = Setting { slots: &slots, ..self.setting };
        let (intake, mut taken) = mpsc::channel(1);
        let read = async move { Reader::read(setting, Opened::later(query), &subscriptions, &intake).await };
        let take = async {
            let mut rows = HashMap::new();
            while let Some(page) = taken.recv().await {
                rows.extend(page.into_iter().map(|finding: Finding| (finding.id().clone(), finding.detached())));
            }
            rows
        };
        let (answer, rows) = tokio::join!(read, take);
        match answer {
            Ok(answer) => self.answer.borrow_mut().failed.extend(answer.failed),
            // None of these subscriptions can be read; the others need not wait for that.
            Err(error) if error.is_stop() && named.iter().all(|guid| self.setting.lessons.is_unread(guid)) => {}
            Err(error) => return Err(error),
        }
        Ok(rows)
    }

    /// Whether nothing prevented a row from being read.
    fn is_read(&self, id: &Id) -> bool {
        let is_lost = |arm: ArmId<'_>| self.setting.lessons.is_unread(arm.subscription());
        !ArmId::parse(id.as_str()).is_some_and(is_lost) && !self.answer.borrow().failed.contains(id)
    }
}

/// The row of something that exists, with the record and its columns.
fn joined(row: Finding, record: Finding) -> Result<Finding, serde_json::Error> {
    let scope = if row.id().stage() == Stage::Leaf { record.scope } else { row.scope };
    let Change { changed_at, actor, row: columns, .. } = record.change;
    let change = Change { changed_at, actor, row: with_others(&row.change.row, &columns)?, ..row.change };
    Ok(Finding { change, scope, record: record.record, exists: true })
}

/// The row of a resource, with the columns of its group.
fn in_group(resource: Finding, group: &Finding) -> Result<Finding, serde_json::Error> {
    let group = Columns::parse(&group.change.row)?;
    let mut columns = Columns::parse(&resource.change.row)?;
    for (name, value) in group.0 {
        let of_group = OF_GROUP.iter().find(|(of_group, _)| *of_group == name);
        let column = columns.0.iter_mut().find(|(own, _)| of_group.is_some_and(|(_, to)| to == own));
        if let Some((_, own)) = column {
            *own = value;
        }
    }
    let row = columns.to_json()?;
    Ok(Finding { change: Change { row, ..resource.change }, ..resource })
}

/// A row, with those columns of another that it lacks.
fn with_others(row: &Bytes, other: &Bytes) -> Result<Bytes, serde_json::Error> {
    let (mut columns, other) = (Columns::parse(row)?, Columns::parse(other)?);
    let own: HashSet<String> = columns.0.iter().map(|(name, _)| name.clone().into_owned()).collect();
    columns.0.extend(other.0.into_iter().filter(|(name, _)| !own.contains(&**name)));
    columns.to_json()
}
