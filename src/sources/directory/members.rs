//! The members of a group, and the groups of a user.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::Deserialize;

use super::client::{Client, unreadable};
use super::cursor::{Again, Hint};
use super::error::DirectoryError;
use super::object::Member;
use super::round::guid_of;
use crate::config::{Entra, EntraKind};
use crate::error::Cause;

/// The page size to request for a list, the largest that Graph allows.
const PAGE: usize = 999;

/// How often to restart a list whose pages expired.
const RESTARTS: usize = 3;

/// The members that fit a body: 512 KiB, at 39 bytes each.
const MOST_MEMBERS: usize = 13_000;

/// All members of a group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Members {
    /// Users by GUID, wanted or not.
    pub(super) users: BTreeSet<String>,
    /// The users that are wanted.
    pub(super) wanted: Vec<String>,
    /// Members of other kinds, such as devices, by their kinds.
    pub(super) others: BTreeMap<String, u64>,
    /// There are more members than one post holds, so they are not named.
    pub(super) is_too_large: bool,
    /// If the group hides members, they would be among them.
    pub(super) shows_hidden: bool,
}

impl Members {
    /// From users, as numbers, that are all wanted.
    pub(super) fn of(mut users: Vec<u128>) -> Self {
        users.sort_unstable();
        users.dedup();
        if users.len() > MOST_MEMBERS {
            return Self { is_too_large: true, ..Self::default() };
        }
        let users: Vec<String> = users.into_iter().map(guid_of).collect();
        Self { users: users.iter().cloned().collect(), wanted: users, ..Self::default() }
    }

    /// What to read again if these are not the users that a round has shown: one of the two is older.
    pub(super) fn unlike(&self, mut shown: Vec<u128>, now: Timestamp) -> Option<Again> {
        shown.sort_unstable();
        shown.dedup();
        let missing: Vec<String> =
            shown.iter().map(|user| guid_of(*user)).filter(|user| !self.users.contains(user)).collect();
        let is_alike = missing.is_empty() && shown.len() == self.users.len();
        (!is_alike).then(|| {
            let mut again = Again::new(now);
            for user in missing {
                again.hint(user, Hint::Joined);
            }
            again
        })
    }

    fn add(&mut self, member: &Member<'_>, entra: &Entra) {
        if !member.is_user() {
            *self.others.entry(member.kind().to_owned()).or_default() += 1;
            return;
        }
        let guid = member.guid();
        if self.users.insert(guid.clone()) && member.is_in(entra) {
            self.wanted.push(guid);
        }
    }
}

impl Client {
    /// Reads the direct members of a group ("List group members", Microsoft Graph v1.0 reference); `None` if there is
    /// no such group.
    pub(super) async fn members(&self, guid: &str, entra: &Entra) -> Result<Option<Members>, DirectoryError> {
        let kind = EntraKind::Group;
        let path = format!("groups/{guid}/members?$select=id,userType,accountEnabled&$top={PAGE}");
        'reading: for _ in 0..RESTARTS {
            let mut members = Members::default();
            let mut url = self.url(kind, &path)?;
            loop {
                let page = match self.page(kind, url).await {
                    Ok(page) => page,
                    Err(error) if error.is_missing() => return Ok(None),
                    Err(error) if error.is_of_the_page() => continue 'reading,
                    Err(error) => return Err(error),
                };
                for item in &page.value {
                    let member = serde_json::from_str(item.get()).map_err(|error| {
                        unreadable(kind, Cause::told("a list of members has an item that is not an object", error))
                    })?;
                    members.add(&member, entra);
                }
                let Some(next) = page.next else { break };
                url = self.link(kind, &next)?;
            }
            members.wanted.sort_unstable();
            members.is_too_large = members.wanted.len() > MOST_MEMBERS;
            members.shows_hidden = self.shows_hidden().await;
            return Ok(Some(members));
        }
        Err(unreadable(kind, "the pages of a group's members become too old before they are read"))
    }

    /// The groups that a user is directly in, as GUIDs.
    pub(super) async fn groups_of(&self, user: &str) -> Result<BTreeSet<String>, DirectoryError> {
        // The first request needs a wider role than all others; the second also returns groups that the user is in
        // indirectly.
        let groups = match self.groups_by(EntraKind::User, user, "memberOf").await {
            Err(error) if error.is_denied() => self.groups_by(EntraKind::User, user, "transitiveMemberOf").await?,
            groups => groups?,
        };
        Ok(groups.unwrap_or_default())
    }

    /// The same, without a fallback; `None` if there is no such user.
    pub(super) async fn member_of(&self, user: &str) -> Result<Option<BTreeSet<String>>, DirectoryError> {
        self.groups_by(EntraKind::Membership, user, "memberOf").await
    }

    async fn groups_by(
        &self,
        kind: EntraKind,
        user: &str,
        relation: &str,
    ) -> Result<Option<BTreeSet<String>>, DirectoryError> {
        #[derive(Deserialize)]
        struct Named {
            id: String,
            #[serde(rename = "@odata.type", default)]
            kind: String,
        }
        'reading: for _ in 0..RESTARTS {
            let mut groups = BTreeSet::new();
            let mut url = self.url(kind, &format!("users/{user}/{relation}?$select=id&$top={PAGE}"))?;
            loop {
                let page = match self.page(kind, url).await {
                    Err(error) if error.is_missing() => return Ok(None),
                    Err(error) if error.is_of_the_page() => continue 'reading,
                    page => page?,
                };
                for item in &page.value {
                    let named: Named = serde_json::from_str(item.get()).map_err(|error| {
                        unreadable(kind, Cause::told("a list of groups has an item that is not an object", error))
                    })?;
                    if named.kind == "#microsoft.graph.group" {
                        groups.insert(named.id.to_lowercase());
                    }
                }
                let Some(next) = page.next else { return Ok(Some(groups)) };
                url = self.link(kind, &next)?;
            }
        }
        Err(unreadable(kind, "the pages of a user's groups become too old before they are read"))
    }
}
