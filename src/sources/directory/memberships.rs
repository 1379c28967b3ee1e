//! Group memberships from the users' side: which groups each user is in.
//!
//! The delta of groups reports who joined and who left. The groups of those users are then read in full, and again for
//! as long as an answer may be older than the report. A delta from the beginning shows the members of every group;
//! inverted, that is everything.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::pin::pin;

use futures::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use serde_json::json;

use super::cursor::Again;
use super::error::DirectoryError;
use super::round::{Extent, Round, Told, guid_of};
use super::{AT_ONCE, Directory, Ended, deliver};
use crate::config::EntraKind;
use crate::engine::Intake;
use crate::model::{Finding, Id, Operation, Record, Scope};

const KIND: EntraKind = EntraKind::Membership;

/// Stands for no group: nobody has this many.
const NO_GROUP: u32 = u32::MAX;

/// Users looked up by name at a time.
const PAGE: usize = 1000;

impl Directory {
    /// Reads a round, and whatever is to be read again, into the intake.
    pub(super) async fn read_memberships(
        &self,
        round: Round,
        extent: Extent,
        intake: &Intake,
    ) -> Result<(), DirectoryError> {
        let now = self.now();
        let round = round.read(&self.client, now, async |_| Ok(()));
        let Told { members, slices, link, .. } = round.await?;
        let shows_hidden = self.client.shows_hidden().await;
        self.until_posted(EntraKind::Group).await;
        let mut again = self.take_again(KIND);
        let mut told_of = HashSet::new();
        match extent {
            Extent::Everything => {
                for again in again.values_mut() {
                    again.overlay(Again::new(now));
                }
                self.all_memberships(slices, intake).await?;
            }
            Extent::Changes => {
                for (user, later) in self.hinted(members, now).await? {
                    told_of.insert(user.clone());
                    Again::note(&mut again, user, later);
                }
            }
        }
        let again = self.memberships_again(again, &told_of, now, intake).await?;
        self.end_round(KIND, Ended { link, shows_hidden, again });
        Ok(())
    }

    /// What a round reported of groups, by user.
    async fn hinted(
        &self,
        groups: BTreeMap<String, Again>,
        now: Timestamp,
    ) -> Result<BTreeMap<String, Again>, DirectoryError> {
        let mut users: BTreeMap<String, Again> = BTreeMap::new();
        for (group, hints) in groups {
            if hints.has_hints() {
                for (user, hint) in hints.into_hints() {
                    users.entry(user).or_insert_with(|| Again::new(now)).hint(group.clone(), hint);
                }
            } else if let Some(members) = self.client.members(&group, &self.entra).await? {
                // The group was reported without a reason: it may have come back.
                let new = |user| (user, Again::new(now));
                members.wanted.into_iter().map(new).for_each(|(user, again)| _ = users.entry(user).or_insert(again));
            }
        }
        Ok(users)
    }

    /// Delivers everybody who is in a group, with all their groups, and known users who are in none.
    async fn all_memberships(&self, slices: HashMap<u128, Vec<u128>>, intake: &Intake) -> Result<(), DirectoryError> {
        // As bytes, without the padding that 128-bit numbers would need.
        let mut pairs: Vec<([u8; 16], u32)> = Vec::with_capacity(slices.values().map(Vec::len).sum());
        let mut groups: Vec<u128> = Vec::with_capacity(slices.len());
        for (group, users) in slices {
            let place = u32::try_from(groups.len()).unwrap_or(NO_GROUP);
            groups.push(group);
            pairs.extend(users.into_iter().map(|user| (user.to_be_bytes(), place)));
        }
        pairs.extend(self.users.take().into_iter().map(|user| (user.to_be_bytes(), NO_GROUP)));
        pairs.sort_unstable();
        pairs.dedup();
        let users: Vec<&[([u8; 16], u32)]> = pairs.chunk_by(|one, other| one.0 == other.0).collect();
        for some in users.chunks(PAGE) {
            let guids: Vec<String> =
                some.iter().filter_map(|pairs| Some(guid_of(u128::from_be_bytes(pairs.first()?.0)))).collect();
            let names = self.client.names(KIND, &guids).await?;
            let findings = guids.iter().zip(some).filter_map(|(user, pairs)| {
                let places = pairs.iter().filter_map(|(_, place)| groups.get(usize::try_from(*place).ok()?));
                let groups: BTreeSet<String> = places.map(|group| guid_of(*group)).collect();
                self.membership(user, names.get(user)?.as_deref(), &groups, None)
            });
            deliver(intake, findings.collect()).await?;
        }
        Ok(())
    }

    /// Reads the groups of users for whom an answer may have been older than the report. Returns those to read once
    /// more.
    async fn memberships_again(
        &self,
        again: BTreeMap<String, Again>,
        told_of: &HashSet<String>,
        now: Timestamp,
        intake: &Intake,
    ) -> Result<BTreeMap<String, Again>, DirectoryError> {
        let guids: Vec<String> = again.keys().cloned().collect();
        let names = &self.client.names(KIND, &guids).await?;
        let record = self.record(KIND, now);
        let reading = stream::iter(again).map(async |(user, again): (String, Again)| {
            let groups = match names.get(&user) {
                Some(_) => self.client.member_of(&user).await?,
                None => None,
            };
            let told = told_of.contains(&user).then_some(record);
            let finding = match (groups, names.get(&user)) {
                (Some(groups), Some(name)) if again.is_over(now) || !again.contradicts(&groups) => {
                    self.membership(&user, name.as_deref(), &groups, told)
                }
                (Some(_), _) => {
                    self.counts.borrow_mut().users_waiting += 1;
                    None
                }
                // The user is gone, or not yet there.
                (None, _) => None,
            };
            deliver(intake, finding.into_iter().collect()).await?;
            Ok::<_, DirectoryError>((user, again))
        });
        let read: Vec<(String, Again)> = reading.buffer_unordered(AT_ONCE).try_collect().await?;
        Ok(read.into_iter().filter(|(_, again)| !again.is_over(now)).collect())
    }

    /// The groups of these users, as far as they exist.
    pub(super) async fn ask_memberships(&self, guids: &[&str]) -> Result<Vec<Finding>, DirectoryError> {
        let guids: Vec<String> = guids.iter().map(|guid| (*guid).to_owned()).collect();
        let names = self.client.names(KIND, &guids).await?;
        let reading = stream::iter(names).map(async |(user, name): (String, Option<String>)| {
            self.read_later(KIND, &user);
            let groups = self.client.member_of(&user).await?;
            Ok::<_, DirectoryError>(groups.and_then(|groups| self.membership(&user, name.as_deref(), &groups, None)))
        });
        let mut read = pin!(reading.buffer_unordered(AT_ONCE));
        let mut findings = Vec::new();
        while let Some(finding) = read.next().await {
            findings.extend(finding?);
        }
        Ok(findings)
    }

    fn membership(
        &self,
        user: &str,
        name: Option<&str>,
        groups: &BTreeSet<String>,
        record: Option<Record>,
    ) -> Option<Finding> {
        let groups = self.named(groups.iter().filter(|group| !self.is_gone(EntraKind::Group, group)));
        let row = json!({"id": user, "userPrincipalName": name, "groups": groups});
        let change = self.change(KIND.id(user)?, Operation::Upsert, row.to_string().into());
        Some(Finding { change, exists: true, scope: Some(Scope::In), record })
    }

    /// The memberships of the users in these groups.
    pub(super) async fn memberships_of(&self, groups: &[&str]) -> Result<HashSet<Id>, DirectoryError> {
        let reading = stream::iter(groups).map(async |group| self.client.members(group, &self.entra).await);
        let mut read = pin!(reading.buffer_unordered(AT_ONCE));
        let mut related = HashSet::new();
        while let Some(members) = read.next().await {
            let users = members?.unwrap_or_default().users;
            related.extend(users.iter().filter_map(|user| KIND.id(user)));
        }
        Ok(related)
    }
}
