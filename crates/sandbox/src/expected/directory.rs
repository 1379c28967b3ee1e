//! The expected entities of Entra ID.
use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value as Json, json};

use super::{Expected, Side};
use crate::catalog::Entity;
use crate::directory::life::MICROSOFT;
use crate::directory::{Directory, Id, Kind, Object, Slot, State, Value};

/// What a run was configured to sync of Entra ID.
#[derive(Clone, Debug)]
pub struct DirectoryScope {
    pub guests: bool,
    pub disabled: bool,
    /// Whether Microsoft's service principals are included.
    pub microsoft: bool,
    pub membership: Membership,
    /// Whether the creation date of service principals is known.
    pub service_principal_created: bool,
    pub sign_ins: SignIns,
    /// Whether hidden memberships are readable; unreadable ones are not checked.
    pub hidden: bool,
    /// For groups with more users, no members are expected.
    pub most_members: Option<usize>,
}

/// Which side lists memberships.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Membership {
    Group,
    User,
    Both,
    None,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignIns {
    None,
    Exact,
    /// The start of the day.
    Day,
}

impl Default for DirectoryScope {
    fn default() -> Self {
        Self {
            guests: true,
            disabled: true,
            microsoft: true,
            membership: Membership::Group,
            service_principal_created: false,
            sign_ins: SignIns::None,
            hidden: true,
            most_members: None,
        }
    }
}

impl DirectoryScope {
    fn takes(&self, state: &State<'_>) -> bool {
        let text = |name| state.value(name).text();
        state.is_alive()
            && match state.object.kind {
                Kind::User => {
                    (self.guests || text("userType") != Some("Guest"))
                        && (self.disabled || *state.value("accountEnabled") != Value::Bool(false))
                }
                Kind::ServicePrincipal => self.microsoft || text("appOwnerOrganizationId") != Some(MICROSOFT),
                _ => true,
            }
    }
}

/// The properties of each kind's blueprint that exist in the directory.
fn properties(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::User => &[
            "userPrincipalName",
            "displayName",
            "givenName",
            "surname",
            "mail",
            "jobTitle",
            "department",
            "officeLocation",
            "accountEnabled",
            "createdDateTime",
        ],
        Kind::Group => {
            &["displayName", "description", "groupTypes", "mailEnabled", "securityEnabled", "createdDateTime"]
        }
        Kind::Application => &["displayName", "appId", "publisherDomain", "signInAudience", "createdDateTime"],
        _ => &[
            "displayName",
            "appId",
            "appOwnerOrganizationId",
            "accountEnabled",
            "appRoleAssignmentRequired",
            "createdDateTime",
        ],
    }
}

struct Reading<'a> {
    directory: &'a Directory,
    scope: &'a DirectoryScope,
}

pub(crate) fn expected(directory: &Directory, scope: &DirectoryScope) -> Expected {
    let reading = Reading { directory, scope };
    let mut expected = Expected { side: Side::Directory, ..Expected::default() };
    for kind in Kind::TRACKED {
        for slot in directory.slots(kind).iter().filter(|slot| reading.takes(**slot)) {
            let object = directory.object(*slot);
            let key = (kind.blueprint().to_owned(), object.id.to_string());
            expected.catalog.entities.insert(key, reading.entity(object, *slot));
        }
    }
    reading.add_memberships(&mut expected);
    expected
}

/// Whether an object did not exist, or was out of scope, at any time in the last `age`.
pub(crate) fn was_out(directory: &Directory, scope: &DirectoryScope, id: Id, age: Duration) -> bool {
    let Some(slot) = directory.slot(id) else { return true };
    let (from, now) = (directory.position(age), directory.position(Duration::ZERO));
    let own = directory.changes(from, now).filter(|(_, entry)| entry.slot == slot).map(|(at, _)| at);
    let is_out = |at| directory.at(slot, at).is_none_or(|state| !scope.takes(&state));
    std::iter::once(from).chain(own).any(is_out)
}

impl Reading<'_> {
    fn takes(&self, slot: Slot) -> bool {
        self.directory.present(slot).is_some_and(|state| self.scope.takes(&state))
    }

    fn entity(&self, object: &Object, slot: Slot) -> Entity {
        let value = |name: &str| self.directory.value(object.id, name).map_or(Json::Null, json_of);
        let is_known = |name: &str| {
            name != "createdDateTime" || object.kind != Kind::ServicePrincipal || self.scope.service_principal_created
        };
        let own = properties(object.kind).iter().filter(|name| is_known(name));
        let mut properties: BTreeMap<String, Json> = own.map(|name| ((*name).to_owned(), value(name))).collect();
        let last = self.directory.sign_in_of(slot).filter(|_| object.kind == Kind::User);
        let day = 24 * 3600 * 1000;
        let last = match self.scope.sign_ins {
            SignIns::None => None,
            SignIns::Exact => last,
            SignIns::Day => last.map(|at| at / day * day),
        };
        properties.extend(last.map(|at| ("lastSignInDateTime".to_owned(), json_of(&Value::Time(at)))));
        let title = value("displayName").as_str().map(str::to_owned);
        Entity { title, properties, ..Entity::default() }
    }

    fn add_memberships(&self, expected: &mut Expected) {
        let Self { directory, scope } = self;
        let of_groups = matches!(scope.membership, Membership::Group | Membership::Both);
        let of_users = matches!(scope.membership, Membership::User | Membership::Both);
        for slot in directory.groups().filter(|slot| self.takes(*slot)) {
            let group = directory.object(slot);
            let users: Vec<Slot> = directory
                .members_of(slot)
                .iter()
                .copied()
                .filter(|member| directory.object(*member).kind == Kind::User && self.takes(*member))
                .collect();
            let is_hidden = directory.value(group.id, "visibility").and_then(Value::text) == Some("HiddenMembership")
                && !scope.hidden;
            let key = |slot: Slot| {
                let object = directory.object(slot);
                (object.kind.blueprint().to_owned(), object.id.to_string())
            };
            if is_hidden || scope.most_members.is_some_and(|most| users.len() > most) {
                expected.unknown.insert((key(slot), "members".to_owned()));
            } else if of_groups && let Some(entity) = expected.catalog.entities.get_mut(&key(slot)) {
                let ids: Vec<String> = users.iter().map(|user| directory.object(*user).id.to_string()).collect();
                entity.relations.insert("members".to_owned(), json!(ids));
            }
            for user in users.into_iter().filter(|_| of_users && !is_hidden) {
                if let Some(entity) = expected.catalog.entities.get_mut(&key(user)) {
                    let groups = entity.relations.entry("groups".to_owned()).or_insert_with(|| json!([]));
                    groups.as_array_mut().into_iter().for_each(|groups| groups.push(group.id.to_string().into()));
                }
            }
        }
    }
}

/// A value in Microsoft Graph's format.
fn json_of(value: &Value) -> Json {
    match value {
        Value::Unset | Value::Cleared => Json::Null,
        Value::Bool(is) => (*is).into(),
        Value::Text(text) => (**text).into(),
        Value::Time(ms) => crate::clock::seconds(*ms).into(),
        Value::Types(types) => types.names().collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    #[test]
    fn what_was_out_at_any_time_is_told_from_what_never_was() {
        let clock = Clock::at(1_700_000_000_000);
        let mut directory = Directory::new(1, clock.clone());
        directory.begin();
        let [user, guest, stays] = ["Ada L", "Eve M", "Bob N"].map(|name| directory.create_user(name));
        let minute = Duration::from_secs(60);
        clock.advance(60 * minute);
        directory.delete(user);
        directory.restore(user);
        directory.make_guest(guest, true);
        directory.make_guest(guest, false);
        clock.advance(10 * minute);
        let scope = DirectoryScope { guests: false, ..DirectoryScope::default() };
        for (id, ever) in [(user, true), (guest, true), (stays, false)] {
            assert_eq!(was_out(&directory, &scope, id, 20 * minute), ever);
            assert!(!was_out(&directory, &scope, id, 5 * minute));
        }
        assert!(was_out(&directory, &scope, stays, 100 * minute), "it was not there yet");
        assert!(!was_out(&directory, &DirectoryScope::default(), guest, 20 * minute));
    }
}
