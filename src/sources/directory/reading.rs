//! From objects to findings: groups with their members, and objects read again or by id.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::pin::pin;

use futures::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::cursor::Again;
use super::error::DirectoryError;
use super::members::Members;
use super::object::{Life, Object};
use super::round::{Extent, Round, Told, key, parse};
use super::{AT_ONCE, Directory, Ended, deliver};
use crate::config::{EntraKind, EntraMember, EntraUsers};
use crate::engine::Intake;
use crate::model::{Change, Finding, Operation, Record, RecordKind, Scope};

/// Findings delivered together.
const PAGE: usize = 200;

/// Changed objects held back until their round ends. Any more are delivered as they come.
const MOST_HELD: usize = 20_000;

/// An object read by its id.
pub(super) enum ById {
    There(Box<RawValue>),
    Gone,
}

impl Directory {
    /// Reads a round, and whatever is to be read again, into the intake.
    pub(super) async fn read(
        &self,
        kind: EntraKind,
        round: Round,
        extent: Extent,
        intake: &Intake,
    ) -> Result<(), DirectoryError> {
        if kind == EntraKind::Membership {
            return self.read_memberships(round, extent, intake).await;
        }
        let now = self.now();
        let record = (extent == Extent::Changes).then(|| self.record(kind, now));
        let has_members = kind == EntraKind::Group && self.reads_members();
        let notes_users = kind == EntraKind::User && extent == Extent::Everything && self.has(EntraKind::Membership);
        let mut held: BTreeMap<String, Box<RawValue>> = BTreeMap::new();
        let (mut told_of, mut gone) = (HashSet::new(), HashSet::new());
        let (mut torn, mut outside) = (Vec::new(), Vec::new());
        let round = round.read(&self.client, now, async |objects: Vec<Object<'_>>| {
            let mut findings = Vec::new();
            for object in objects {
                if extent == Extent::Changes {
                    told_of.insert(object.guid().to_owned());
                    if object.life() != Life::There {
                        gone.insert(object.guid().to_owned());
                    }
                }
                if notes_users && object.life() == Life::There {
                    self.users.borrow_mut().insert(key(object.guid()));
                }
                // A round may contradict itself later, and the members of a group are still to come.
                let is_held = has_members || (extent == Extent::Changes && held.len() < MOST_HELD);
                match object.life() {
                    Life::There if !object.is_whole(kind) => torn.push(object.guid().to_owned()),
                    _ if is_held => _ = held.insert(object.guid().to_owned(), object.to_raw()),
                    // It would be deleted, but may only be an older state.
                    Life::There if object.scope(kind, &self.entra) == Scope::Out => {
                        outside.push(object.guid().to_owned());
                    }
                    _ => findings.extend(self.plain(kind, &object, record)),
                }
            }
            deliver(intake, findings).await
        });
        let Told { contradictory, lost, members, slices, link } = round.await?;
        if has_members {
            self.until_posted(EntraKind::User).await;
        }
        let shows_hidden = has_members && self.client.shows_hidden().await;
        let mut again = self.take_again(kind);
        again.retain(|guid, again| !(again.is_gone() && told_of.contains(guid)));
        again.extend(gone.into_iter().map(|guid| (guid, Again::gone(now))));
        if extent == Extent::Everything {
            // What is found by its id, but was not in the round, may have gone without a later round reporting it.
            again.values_mut().filter(|again| !again.is_gone()).for_each(|again| again.overlay(Again::new(now)));
        }
        outside.retain(|guid| !contradictory.contains(guid));
        for guid in contradictory.into_iter().chain(lost).chain(torn) {
            held.remove(&guid);
            Again::note(&mut again, guid, Again::new(now));
        }
        for some in outside.chunks(PAGE) {
            deliver(intake, some.iter().filter_map(|guid| self.outside(kind, guid, record)).collect()).await?;
        }
        let mut findings = Vec::new();
        let mut groups: HashMap<String, Box<RawValue>> = HashMap::new();
        for (guid, raw) in held {
            let object = parse(kind, &raw)?;
            if has_members && object.life() == Life::There {
                groups.insert(guid, raw);
                continue;
            }
            findings.extend(self.plain(kind, &object, record));
            if findings.len() >= PAGE {
                deliver(intake, std::mem::take(&mut findings)).await?;
            }
        }
        deliver(intake, findings).await?;
        if has_members {
            let is_there = |guid: &String| groups.contains_key(guid) || again.contains_key(guid);
            let members: Vec<_> = members.into_iter().filter(|(guid, _)| is_there(guid)).collect();
            for (guid, later) in members {
                Again::note(&mut again, guid, later);
            }
            if extent == Extent::Everything {
                let older = self.all_groups(std::mem::take(&mut groups), slices, shows_hidden, intake).await?;
                for (guid, later) in older {
                    Again::note(&mut again, guid, later);
                }
            }
        }
        let again = self.read_again((kind, extent), again, (&groups, &told_of), intake).await?;
        self.end_round(kind, Ended { link, shows_hidden, again });
        Ok(())
    }

    /// The finding for an object in a round, without its members; with a record if the round is from a link.
    fn plain(&self, kind: EntraKind, object: &Object<'_>, record: Option<Record>) -> Option<Finding> {
        match object.life() {
            Life::There => self.finding(kind, object, None, record),
            // Without a record, something gone was never seen, and is not news.
            Life::Deleted | Life::Purged => self.removed(kind, object, record?.at),
        }
    }

    /// Delivers groups with the members shown by a round from the beginning. Returns those for which other answers show
    /// other members.
    async fn all_groups(
        &self,
        groups: HashMap<String, Box<RawValue>>,
        mut slices: HashMap<u128, Vec<u128>>,
        shows_hidden: bool,
        intake: &Intake,
    ) -> Result<Vec<(String, Again)>, DirectoryError> {
        let now = self.now();
        // A delta reports nothing of a member except its id.
        let are_all_wanted = self.entra.users == EntraUsers::default();
        let with_members = stream::iter(groups).map(|(guid, raw)| {
            let slices = slices.remove(&key(&guid)).unwrap_or_default();
            async move {
                if are_all_wanted {
                    return Ok((raw, Some(Members { shows_hidden, ..Members::of(slices) }), None));
                }
                let members = self.client.members(&guid, &self.entra).await?;
                let older = match &members {
                    Some(members) => members.unlike(slices, now),
                    None => Some(Again::new(now)),
                };
                let is_older =
                    older.as_ref().zip(members.as_ref()).is_some_and(|(of, read)| of.contradicts(&read.users));
                Ok::<_, DirectoryError>((raw, members.filter(|_| !is_older), older.map(|older| (guid, older))))
            }
        });
        let mut read = pin!(with_members.buffer_unordered(AT_ONCE));
        let (mut findings, mut unlike) = (Vec::new(), Vec::new());
        while let Some(group) = read.next().await {
            let (raw, members, older) = group?;
            unlike.extend(older);
            // A group that no longer exists is reported by the next round.
            let Some(members) = members else { continue };
            findings.extend(self.group(&raw, members, None)?);
            if findings.len() >= PAGE {
                deliver(intake, std::mem::take(&mut findings)).await?;
            }
        }
        deliver(intake, findings).await?;
        Ok(unlike)
    }

    /// Reads objects for which an answer may have been older than the report. Returns those to read once more.
    async fn read_again(
        &self,
        (kind, extent): (EntraKind, Extent),
        again: BTreeMap<String, Again>,
        (groups, told_of): (&HashMap<String, Box<RawValue>>, &HashSet<String>),
        intake: &Intake,
    ) -> Result<BTreeMap<String, Again>, DirectoryError> {
        let now = self.now();
        let record = self.record(kind, now);
        let reading = stream::iter(again).map(async |(guid, again): (String, Again)| {
            if again.is_gone() {
                return Ok((guid, again));
            }
            let of_round = groups.get(&guid).cloned().map(ById::There);
            let found = match of_round {
                Some(found) => found,
                None => self.by_id(kind, &guid).await?,
            };
            let told = told_of.contains(&guid).then_some(record);
            let finding = match found {
                ById::There(raw) if kind == EntraKind::Group && self.reads_members() => {
                    match self.client.members(&guid, &self.entra).await? {
                        Some(members) if again.is_over(now) || !again.contradicts(&members.users) => {
                            self.group(&raw, members, told)?
                        }
                        None if again.is_over(now) => self.missing(kind, &guid, record),
                        _ => {
                            self.counts.borrow_mut().waiting += 1;
                            None
                        }
                    }
                }
                ById::There(raw) => self.finding(kind, &parse(kind, &raw)?, None, told),
                // What is missing from a full read is asked for anyway.
                ById::Gone if extent == Extent::Everything => None,
                ById::Gone => self.missing(kind, &guid, record),
            };
            deliver(intake, finding.into_iter().collect()).await?;
            Ok((guid, again))
        });
        let read: Vec<(String, Again)> = reading.buffer_unordered(AT_ONCE).try_collect().await?;
        Ok(read.into_iter().filter(|(_, again)| !again.is_over(now)).collect())
    }

    /// Reads one object.
    pub(super) async fn by_id(&self, kind: EntraKind, guid: &str) -> Result<ById, DirectoryError> {
        let select = self.select(kind).join(",");
        let url = self.client.url(kind, &format!("{}/{guid}?$select={select}", kind.segment()))?;
        match self.client.get(kind, url).await {
            Ok(raw) => Ok(ById::There(raw)),
            Err(error) if error.is_missing() => Ok(ById::Gone),
            Err(error) => Err(error),
        }
    }

    /// The finding for an existing object; a group has its members.
    pub(super) async fn found(&self, kind: EntraKind, raw: &RawValue) -> Result<Option<Finding>, DirectoryError> {
        let object = parse(kind, raw)?;
        self.read_later(kind, object.guid());
        if kind != EntraKind::Group || !self.reads_members() {
            return Ok(self.finding(kind, &object, None, None));
        }
        match self.client.members(object.guid(), &self.entra).await? {
            Some(members) => self.group(raw, members, None),
            None => Ok(None),
        }
    }

    /// A group with its members, if they are known and fit one post.
    fn group(
        &self,
        raw: &RawValue,
        mut members: Members,
        record: Option<Record>,
    ) -> Result<Option<Finding>, DirectoryError> {
        members.wanted.retain(|user| !self.is_gone(EntraKind::User, user));
        let object = parse(EntraKind::Group, raw)?;
        let mut counts = self.counts.borrow_mut();
        for (kind, count) in members.others {
            *counts.others.entry(kind).or_default() += count;
        }
        // Without permission to read them, hidden members look like none.
        let is_too_large = members.is_too_large;
        let is_unknown = object.is_hidden() && members.users.is_empty() && !is_too_large && !members.shows_hidden;
        if is_unknown {
            counts.hidden.insert(object.guid().to_owned());
        }
        if is_too_large {
            counts.too_large.insert(object.guid().to_owned());
        }
        let members = (!is_unknown && !is_too_large).then_some(&members.wanted[..]);
        Ok(self.finding(EntraKind::Group, &object, members, record))
    }

    fn finding(
        &self,
        kind: EntraKind,
        object: &Object<'_>,
        members: Option<&[String]>,
        record: Option<Record>,
    ) -> Option<Finding> {
        let scope = object.scope(kind, &self.entra);
        let members = members.map(|members| self.named(members));
        let row = object.row(&self.properties(kind), members.as_ref());
        let change = self.change(kind.id(object.guid())?, Operation::Upsert, row);
        Some(Finding { change, exists: true, scope: Some(scope), record })
    }

    /// The names by which a row refers to other objects.
    pub(super) fn named<'g>(&self, guids: impl IntoIterator<Item = &'g String>) -> Value {
        let name = |guid: &String| match self.entra.member {
            EntraMember::Id => json!(guid),
            EntraMember::Object => json!({"id": guid}),
        };
        guids.into_iter().map(name).collect()
    }

    /// An object that exists but is not wanted.
    fn outside(&self, kind: EntraKind, guid: &str, record: Option<Record>) -> Option<Finding> {
        Some(Finding { change: self.delete(kind, guid)?, exists: true, scope: Some(Scope::Out), record })
    }

    /// An object without an answer: it is gone, or not yet there.
    fn missing(&self, kind: EntraKind, guid: &str, record: Record) -> Option<Finding> {
        Some(Finding { change: self.delete(kind, guid)?, exists: false, scope: Some(Scope::In), record: Some(record) })
    }

    fn removed(&self, kind: EntraKind, object: &Object<'_>, now: Timestamp) -> Option<Finding> {
        let change: Change = self.delete(kind, object.guid())?;
        let may_return = object.life() == Life::Deleted;
        let record = Record { may_return, ..Record::new(now, RecordKind::Delete) };
        Some(Finding { change, exists: false, scope: Some(Scope::In), record: Some(record) })
    }

    /// The record of a change from a round that began at a link: its only known time is before now.
    pub(super) fn record(&self, kind: EntraKind, now: Timestamp) -> Record {
        let kinds = self.kinds.borrow();
        let may_have_returned = kinds.get(&kind).is_some_and(|state| state.cursor.is_perhaps_older(now));
        Record { may_have_returned, ..Record::new(now, RecordKind::Update) }
    }
}
