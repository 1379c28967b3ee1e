//! All changes to objects and memberships in the directory.
use std::sync::Arc;

use super::{Directory, Entry, GroupKind, GroupTypes, Id, KEPT, Kind, Life, Object, Slot, Value, What, insert, remove};
use crate::settings::TENANT;

/// The domain of the tenant.
pub(crate) const DOMAIN: &str = "contoso.example";

impl Directory {
    // Creation.

    /// A user of the tenant, by given name and surname.
    pub fn create_user(&mut self, name: &str) -> Id {
        let (given, surname) = name.split_once(' ').unwrap_or((name, ""));
        let number = self.objects.len();
        let local = local(&format!("{given}.{surname}.{number}"));
        let address: Arc<str> = format!("{local}@{DOMAIN}").into();
        self.person(name, address.clone(), address.into(), "Member")
    }

    /// A user of another tenant.
    pub fn create_guest(&mut self, name: &str) -> Id {
        let local = local(&format!("{name}.{}", self.objects.len()));
        let principal = format!("{local}_partner.example#EXT#@{DOMAIN}").into();
        self.person(name, principal, format!("{local}@partner.example").as_str().into(), "Guest")
    }

    fn person(&mut self, name: &str, principal: Arc<str>, mail: Value, ty: &str) -> Id {
        let (given, surname) = name.split_once(' ').unwrap_or((name, ""));
        let values = [
            ("userPrincipalName", principal.into()),
            ("displayName", name.into()),
            ("givenName", self.word(given)),
            ("surname", self.word(surname)),
            ("mail", mail),
            ("accountEnabled", true.into()),
            ("userType", self.word(ty)),
        ];
        self.create(Kind::User, GroupKind::Security, values)
    }

    pub fn create_group(&mut self, name: &str, kind: GroupKind) -> Id {
        let mail = !matches!(kind, GroupKind::Security | GroupKind::Synced);
        let types = GroupTypes { unified: kind == GroupKind::Microsoft365, dynamic: false };
        let security = !matches!(kind, GroupKind::Microsoft365 | GroupKind::Distribution);
        let synced = if kind == GroupKind::Synced { true.into() } else { Value::Unset };
        let visibility = if types.unified { self.word("Private") } else { Value::Unset };
        let values = [
            ("displayName", name.into()),
            ("groupTypes", Value::Types(types)),
            ("mailEnabled", mail.into()),
            ("securityEnabled", security.into()),
            ("visibility", visibility),
            ("onPremisesSyncEnabled", synced),
        ];
        self.create(Kind::Group, kind, values)
    }

    pub fn create_application(&mut self, name: &str) -> Id {
        let values = [
            ("displayName", name.into()),
            ("appId", self.rng.guid().as_str().into()),
            ("publisherDomain", self.word(DOMAIN)),
            ("signInAudience", self.word("AzureADMyOrg")),
        ];
        self.create(Kind::Application, GroupKind::Security, values)
    }

    pub fn create_service_principal(&mut self, name: &str) -> Id {
        let values = [
            ("displayName", name.into()),
            ("appId", self.rng.guid().as_str().into()),
            ("appOwnerOrganizationId", self.word(TENANT)),
            ("accountEnabled", true.into()),
            ("appRoleAssignmentRequired", false.into()),
            ("servicePrincipalType", self.word("Application")),
        ];
        self.create(Kind::ServicePrincipal, GroupKind::Security, values)
    }

    pub fn create_device(&mut self, name: &str) -> Id {
        self.create(Kind::Device, GroupKind::Security, [("displayName", name.into())])
    }

    pub fn create_contact(&mut self, name: &str) -> Id {
        self.create(Kind::OrgContact, GroupKind::Security, [("displayName", name.into())])
    }

    fn create<const N: usize>(&mut self, kind: Kind, group_kind: GroupKind, values: [(&str, Value); N]) -> Id {
        let id = Id::random(&mut self.rng);
        let slot = self.objects.len() as Slot;
        let mut all = vec![Value::Unset; kind.properties().len()].into_boxed_slice();
        // Services show it in whole seconds.
        let created = ("createdDateTime", Value::Time(self.now_ms() / 1000 * 1000));
        for (name, value) in values.into_iter().chain([created]) {
            if let Some(place) = kind.place(name) {
                all[place] = value;
            }
        }
        self.objects.push(Object { id, kind, group_kind, life: Life::Alive, values: all, last: 0 });
        self.places.insert(id, slot);
        self.of_kind[kind as usize].push(slot);
        if kind == Kind::Group {
            self.members.insert(slot, Vec::new());
        }
        self.note(slot, What::Created);
        id
    }

    /// A string that is shared with other objects.
    pub(super) fn word(&mut self, word: &str) -> Value {
        if let Some(known) = self.words.get(word) {
            return Value::Text(known.clone());
        }
        let word: Arc<str> = word.into();
        self.words.insert(word.clone());
        Value::Text(word)
    }

    // Updates.

    /// Changes a property. Returns false if the object is deleted, has no such property, or already has the value.
    pub fn set(&mut self, id: Id, name: &str, value: impl Into<Value>) -> bool {
        let Some(slot) = self.alive(id) else { return false };
        let value = value.into();
        let object = &mut self.objects[slot as usize];
        let Some(place) = object.kind.place(name).filter(|place| object.values[*place] != value) else { return false };
        let was = std::mem::replace(&mut object.values[place], value);
        self.note(slot, What::Set { place, was });
        true
    }

    /// Removes a property's value.
    pub fn clear(&mut self, id: Id, name: &str) -> bool {
        let has_one = self.value(id, name).is_some_and(|value| !value.is_unset());
        has_one && self.set(id, name, Value::Cleared)
    }

    pub fn rename(&mut self, id: Id, name: &str) -> bool {
        self.set(id, "displayName", name)
    }

    /// Enables or disables an account.
    pub fn enable(&mut self, id: Id, enabled: bool) -> bool {
        self.set(id, "accountEnabled", enabled)
    }

    /// Turns a member of the tenant into a guest, or back.
    pub fn make_guest(&mut self, id: Id, is_guest: bool) -> bool {
        let ty = self.word(if is_guest { "Guest" } else { "Member" });
        self.set(id, "userType", ty)
    }

    /// Without the role to read hidden memberships, nobody sees this group's.
    pub fn hide_members(&mut self, group: Id, hidden: bool) -> bool {
        self.set(group, "visibility", if hidden { "HiddenMembership" } else { "Private" })
    }

    pub fn sign_in(&mut self, user: Id) -> bool {
        self.sign_in_at(user, self.now_ms())
    }

    /// Sets when a user last signed in, in milliseconds since the epoch.
    pub fn sign_in_at(&mut self, user: Id, at: i64) -> bool {
        let slot = self.alive(user).filter(|slot| self.object(*slot).kind == Kind::User);
        slot.map(|slot| self.sign_ins.insert(slot, at)).is_some()
    }

    // Memberships.

    pub fn join(&mut self, group: Id, member: Id) -> bool {
        let (Some(group), Some(member)) = (self.alive(group), self.alive(member)) else { return false };
        let joins = group != member && self.members.get_mut(&group).is_some_and(|members| insert(members, member));
        if joins {
            self.note(group, What::Joined(member));
        }
        joins
    }

    pub fn leave(&mut self, group: Id, member: Id) -> bool {
        let (Some(group), Some(member)) = (self.alive(group), self.slot(member)) else { return false };
        self.end(group, member)
    }

    fn end(&mut self, group: Slot, member: Slot) -> bool {
        let leaves = self.members.get_mut(&group).is_some_and(|members| remove(members, member));
        if leaves {
            self.note(group, What::Left(member));
        }
        leaves
    }

    /// Adds many members at once, sorted by index, to an empty group.
    pub(super) fn fill_group(&mut self, group: Id, members: Vec<Slot>) {
        if let Some(slot) = self.slot(group) {
            self.members.insert(slot, members);
        }
    }

    // Deletion.

    /// Deletes an object. Kinds that can be restored are kept for 30 days; the others are gone at once.
    pub fn delete(&mut self, id: Id) -> bool {
        let Some(slot) = self.alive(id) else { return false };
        let object = self.object(slot);
        let is_restorable = match object.kind {
            Kind::User | Kind::Application | Kind::ServicePrincipal => true,
            Kind::Group => match object.group_kind {
                GroupKind::Microsoft365 => true,
                GroupKind::Security => self.security_groups_restorable,
                GroupKind::Synced | GroupKind::Distribution | GroupKind::MailSecurity => false,
            },
            Kind::Device | Kind::OrgContact => false,
        };
        if !is_restorable {
            self.remove(slot);
            return true;
        }
        let now = self.now_ms();
        self.objects[slot as usize].life = Life::Deleted(now);
        self.deleted.push_back((now, slot));
        self.note(slot, What::Deleted);
        true
    }

    /// Deletes permanently, whether already deleted or not.
    pub fn purge(&mut self, id: Id) -> bool {
        let slot = self.slot(id).filter(|slot| self.object(*slot).life != Life::Gone);
        slot.map(|slot| self.remove(slot)).is_some()
    }

    /// Restores a deleted object, with all its memberships.
    pub fn restore(&mut self, id: Id) -> bool {
        let Some(slot) = self.slot(id) else { return false };
        let Life::Deleted(since) = self.object(slot).life else { return false };
        self.objects[slot as usize].life = Life::Alive;
        self.note(slot, What::Restored { since });
        true
    }

    /// Purges what was deleted 30 days ago.
    pub fn expire(&mut self) {
        let until = self.now_ms() - KEPT.as_millis() as i64;
        while let Some((since, slot)) = self.deleted.front().copied().filter(|(since, _)| *since <= until) {
            self.deleted.pop_front();
            // It may have been restored and deleted again.
            if self.object(slot).life == Life::Deleted(since) {
                self.remove(slot);
            }
        }
    }

    fn remove(&mut self, slot: Slot) {
        let was = std::mem::replace(&mut self.objects[slot as usize].life, Life::Gone);
        let groups: Vec<Slot> = self
            .members
            .iter()
            .filter(|(_, members)| members.binary_search(&slot).is_ok())
            .map(|(of, _)| *of)
            .collect();
        for group in groups {
            self.end(group, slot);
        }
        self.note(slot, What::Purged { was });
    }

    fn alive(&self, id: Id) -> Option<Slot> {
        self.slot(id).filter(|slot| self.object(*slot).life == Life::Alive)
    }

    fn note(&mut self, slot: Slot, what: What) {
        if self.ancient {
            return;
        }
        let last = self.log.last().map_or(i64::MIN, |entry| entry.at);
        let at = self.now_ms().max(last);
        let object = &mut self.objects[slot as usize];
        self.log.push(Entry { at, slot, before: object.last, what });
        object.last = self.log.len() as u32;
    }
}

/// The part of an address before the `@`.
fn local(name: &str) -> String {
    let ascii = name.chars().filter(|c| c.is_ascii_alphanumeric() || ".'".contains(*c));
    ascii.map(|c| c.to_ascii_lowercase()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use std::time::Duration;

    fn directory() -> Directory {
        let mut directory = Directory::new(1, Clock::at(1_700_000_000_000));
        directory.begin();
        directory
    }

    #[test]
    fn a_position_shows_what_was_then() {
        let mut directory = directory();
        let (user, group) = (directory.create_user("Ada L"), directory.create_group("g", GroupKind::Security));
        directory.join(group, user);
        let before = directory.position(Duration::ZERO);
        directory.set(user, "department", "x");
        directory.leave(group, user);
        directory.delete(user);
        directory.purge(user);
        let (of_user, of_group) = (directory.slot(user).unwrap(), directory.slot(group).unwrap());
        assert!(directory.alive_at(of_user, before).unwrap().value("department").is_unset());
        assert_eq!(directory.members_at(of_group, before), [of_user]);
        assert_eq!(directory.groups_at(of_user, before), [of_group]);
        let now = directory.position(Duration::ZERO);
        assert_eq!(directory.at(of_user, now).unwrap().life, Life::Gone);
        assert!(directory.at(of_user, 0).is_none());
    }

    #[test]
    fn who_is_deleted_keeps_the_memberships_until_purged() {
        let mut directory = directory();
        let (user, group) = (directory.create_user("Ada L"), directory.create_group("g", GroupKind::Security));
        directory.join(group, user);
        directory.delete(user);
        assert!(directory.members(group).is_empty());
        directory.restore(user);
        assert_eq!(directory.members(group), [user]);
        directory.delete(user);
        directory.clock.advance(KEPT);
        directory.expire();
        assert!(!directory.restore(user));
        assert!(directory.members_of(directory.slot(group).unwrap()).is_empty());
    }

    #[test]
    fn a_restore_counts_the_thirty_days_anew() {
        let mut directory = directory();
        let user = directory.create_user("Ada L");
        directory.delete(user);
        directory.clock.advance(KEPT / 2);
        directory.restore(user);
        directory.delete(user);
        directory.clock.advance(KEPT / 2);
        directory.expire();
        assert!(directory.restore(user));
    }

    #[test]
    fn which_groups_can_be_restored_follows_from_their_kind() {
        for (kind, can) in GroupKind::ALL.into_iter().zip([true, true, false, false, false]) {
            let mut directory = directory();
            let group = directory.create_group("g", kind);
            directory.delete(group);
            assert_eq!(directory.restore(group), can, "{kind:?}");
        }
        let mut directory = directory();
        directory.restore_security_groups(false);
        let group = directory.create_group("g", GroupKind::Security);
        directory.delete(group);
        assert!(!directory.restore(group));
    }
}
