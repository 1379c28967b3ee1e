//! Fills a directory at the start, and applies a mix of changes to it.
use super::{Directory, GroupKind, Id, Kind, Life, Slot, Value};
use crate::names;
use crate::rng::Rng;
use crate::settings::{DirectorySize, TENANT};

/// Microsoft's own tenant, which owns most service principals of other tenants.
pub const MICROSOFT: &str = "f8cdef31-a31e-4b4a-93e4-5f571e91255a";

/// Fills an empty directory as if it had existed for a long time; then its history begins.
pub(crate) fn fill(directory: &mut Directory, rng: &mut Rng, size: &DirectorySize) {
    let users = directory.objects.len() as Slot;
    for number in 0..size.users {
        create_user(directory, rng, number % 12 == 11);
    }
    for number in 0..size.applications {
        directory.create_application(&format!("{}-app-{number}", names::team(rng)));
    }
    for number in 0..size.service_principals {
        create_service_principal(directory, rng, number);
    }
    let others = [directory.create_device("laptop-1"), directory.create_contact("supplier")];
    let large: usize = size.large.iter().sum();
    let few = size.memberships.saturating_sub(large) / size.groups.saturating_sub(size.large.len()).max(1);
    for number in 0..size.groups {
        let group = create_group(directory, rng, number);
        let wanted = size.large.get(number).copied().unwrap_or_else(|| rng.below(2 * few + 1));
        let members = spread(rng, users, size.users, wanted);
        directory.fill_group(group, members);
        if number % 12 == 1 {
            for other in others {
                directory.join(group, other);
            }
            join_any(directory, rng, group, Kind::ServicePrincipal);
            join_any(directory, rng, group, Kind::Group);
        }
    }
    directory.begin();
}

/// `wanted` of `count` indexes from `first` on, evenly spaced and sorted.
fn spread(rng: &mut Rng, first: Slot, count: usize, wanted: usize) -> Vec<Slot> {
    let wanted = wanted.min(count);
    let step = 1 + rng.below(count / wanted.max(1));
    let start = rng.below(count);
    let mut places: Vec<Slot> = (0..wanted).map(|place| first + ((start + place * step) % count) as Slot).collect();
    places.sort_unstable();
    places
}

/// Applies `changes` changes of all kinds.
pub fn tick(directory: &mut Directory, rng: &mut Rng, changes: usize) {
    for _ in 0..changes {
        one(directory, rng);
    }
    directory.expire();
}

fn one(directory: &mut Directory, rng: &mut Rng) {
    match rng.below(200) {
        0..=39 => change_a_user(directory, rng),
        40..=49 => with_any(directory, rng, Kind::User, |directory, user, rng| {
            let property = rng.pick(&["mail", "jobTitle", "department", "officeLocation", "givenName"]);
            directory.clear(user, property);
        }),
        50..=58 => with_any(directory, rng, Kind::User, |directory, user, rng| {
            directory.rename(user, &names::person(rng));
        }),
        59..=76 => {
            let is_guest = rng.one_in(6);
            create_user(directory, rng, is_guest);
        }
        77..=88 => with_any(directory, rng, Kind::User, |directory, user, _| {
            directory.delete(user);
        }),
        89..=94 => with_deleted(directory, rng, Directory::restore),
        95..=97 => with_deleted(directory, rng, Directory::purge),
        98 => with_any(directory, rng, Kind::User, |directory, user, _| {
            directory.delete(user);
            directory.restore(user);
        }),
        99 => with_any(directory, rng, Kind::User, |directory, user, _| {
            directory.purge(user);
        }),
        100..=106 => with_any(directory, rng, Kind::User, |directory, user, rng| {
            let is_enabled = directory.value(user, "accountEnabled") == Some(&Value::Bool(true));
            directory.enable(user, !is_enabled || rng.one_in(4));
        }),
        107..=111 => with_any(directory, rng, Kind::User, |directory, user, _| {
            let is_guest = directory.value(user, "userType").and_then(Value::text) == Some("Guest");
            directory.make_guest(user, !is_guest);
        }),
        112..=134 => with_any(directory, rng, Kind::Group, |directory, group, rng| {
            join_any(directory, rng, group, Kind::User);
        }),
        135..=148 => with_member(directory, rng, |directory, group, member| {
            directory.leave(group, member);
        }),
        149..=152 => with_member(directory, rng, |directory, group, member| {
            directory.leave(group, member);
            directory.join(group, member);
        }),
        153..=156 => with_any(directory, rng, Kind::Group, |directory, group, rng| {
            let kind = *rng.pick(&[Kind::Group, Kind::Device, Kind::OrgContact, Kind::ServicePrincipal]);
            join_any(directory, rng, group, kind);
        }),
        157..=162 => {
            let number = rng.below(1_000_000);
            let group = create_group(directory, rng, number);
            for _ in 0..rng.below(6) {
                join_any(directory, rng, group, Kind::User);
            }
        }
        163..=166 => with_any(directory, rng, Kind::Group, |directory, group, _| {
            directory.delete(group);
        }),
        167..=173 => with_any(directory, rng, Kind::Group, |directory, group, rng| {
            directory.set(group, "description", format!("of {}", names::person(rng)).as_str());
        }),
        174 => with_any(directory, rng, Kind::Group, |directory, group, _| {
            if let Some(visibility) = directory.value(group, "visibility").and_then(Value::text) {
                let is_hidden = visibility == "HiddenMembership";
                directory.hide_members(group, !is_hidden);
            }
        }),
        175..=177 => with_any(directory, rng, Kind::Group, |directory, group, rng| {
            let number = rng.below(1_000);
            directory.rename(group, &format!("{} {number}", names::team(rng)));
        }),
        178..=192 => change_an_application(directory, rng),
        _ => with_any(directory, rng, Kind::User, |directory, user, _| {
            directory.sign_in(user);
        }),
    }
}

fn change_a_user(directory: &mut Directory, rng: &mut Rng) {
    with_any(directory, rng, Kind::User, |directory, user, rng| match rng.below(3) {
        0 => {
            let job = directory.word(names::job(rng));
            directory.set(user, "jobTitle", job);
        }
        1 => {
            let team = directory.word(names::team(rng));
            directory.set(user, "department", team);
        }
        _ => {
            let office = directory.word(&names::region(rng));
            directory.set(user, "officeLocation", office);
        }
    });
}

fn change_an_application(directory: &mut Directory, rng: &mut Rng) {
    let kind = *rng.pick(&[Kind::Application, Kind::ServicePrincipal]);
    let number = rng.below(1_000_000);
    match rng.below(5) {
        0 if kind == Kind::Application => {
            directory.create_application(&format!("{}-app-{number}", names::team(rng)));
        }
        0 => {
            create_service_principal(directory, rng, number);
        }
        1 => with_any(directory, rng, kind, |directory, id, _| {
            directory.delete(id);
        }),
        2 => with_any(directory, rng, Kind::ServicePrincipal, |directory, id, rng| {
            let is_enabled = rng.one_in(2);
            directory.enable(id, is_enabled);
        }),
        _ => with_any(directory, rng, kind, |directory, id, rng| {
            directory.rename(id, &format!("{}-{}-{number}", names::team(rng), names::stage(rng)));
        }),
    }
}

fn create_user(directory: &mut Directory, rng: &mut Rng, is_guest: bool) -> Id {
    let name = names::person(rng);
    let user = if is_guest { directory.create_guest(&name) } else { directory.create_user(&name) };
    let (job, team) = (directory.word(names::job(rng)), directory.word(names::team(rng)));
    directory.set(user, "jobTitle", job);
    directory.set(user, "department", team);
    if rng.one_in(3) {
        let office = directory.word(&names::region(rng));
        directory.set(user, "officeLocation", office);
    }
    if rng.one_in(12) {
        directory.enable(user, false);
    }
    user
}

fn create_service_principal(directory: &mut Directory, rng: &mut Rng, number: usize) -> Id {
    let principal = directory.create_service_principal(&format!("{}-sp-{number}", names::team(rng)));
    let owner = directory.word(if rng.one_in(3) { TENANT } else { MICROSOFT });
    directory.set(principal, "appOwnerOrganizationId", owner);
    if rng.one_in(8) {
        let ty = directory.word("ManagedIdentity");
        directory.set(principal, "servicePrincipalType", ty);
    }
    principal
}

fn create_group(directory: &mut Directory, rng: &mut Rng, number: usize) -> Id {
    let kind = GroupKind::ALL[number % GroupKind::ALL.len()];
    directory.create_group(&format!("{} {} {number}", names::team(rng), names::stage(rng)), kind)
}

fn any(directory: &Directory, rng: &mut Rng, kind: Kind) -> Option<Id> {
    let slots = directory.slots(kind);
    // If most are deleted, it may find none.
    let mut picks = (0..16).filter_map(|_| slots.get(rng.below(slots.len()))).map(|slot| directory.object(*slot));
    picks.find(|object| object.life == Life::Alive).map(|object| object.id)
}

fn with_any(directory: &mut Directory, rng: &mut Rng, kind: Kind, act: impl FnOnce(&mut Directory, Id, &mut Rng)) {
    if let Some(id) = any(directory, rng, kind) {
        act(directory, id, rng);
    }
}

fn with_deleted(directory: &mut Directory, rng: &mut Rng, act: impl FnOnce(&mut Directory, Id) -> bool) {
    let place = rng.below(directory.deleted.len());
    if let Some((_, slot)) = directory.deleted.get(place) {
        let id = directory.object(*slot).id;
        act(directory, id);
    }
}

fn with_member(directory: &mut Directory, rng: &mut Rng, act: impl FnOnce(&mut Directory, Id, Id)) {
    let Some(group) = any(directory, rng, Kind::Group) else { return };
    let members = directory.slot(group).map_or(&[][..], |slot| directory.members_of(slot));
    if let Some(member) = members.get(rng.below(members.len())) {
        let member = directory.object(*member).id;
        act(directory, group, member);
    }
}

fn join_any(directory: &mut Directory, rng: &mut Rng, group: Id, kind: Kind) {
    if let Some(member) = any(directory, rng, kind) {
        directory.join(group, member);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use super::super::What;
    use super::*;
    use crate::clock::Clock;

    fn filled(size: &DirectorySize) -> Directory {
        let mut directory = Directory::new(1, Clock::at(1_700_000_000_000));
        fill(&mut directory, &mut Rng::new(1), size);
        directory
    }

    #[test]
    fn a_directory_is_as_large_as_it_is_to_be() {
        let size = DirectorySize { users: 500, groups: 40, memberships: 2_000, large: vec![400], ..Default::default() };
        let directory = filled(&size);
        assert_eq!((directory.count(Kind::User), directory.count(Kind::Group)), (500, 40));
        assert_eq!(directory.members(directory.ids(Kind::Group)[0]).len(), 400);
        let memberships: usize = directory.ids(Kind::Group).iter().map(|group| directory.members(*group).len()).sum();
        assert!((1_500..2_500).contains(&memberships), "{memberships}");
        assert_eq!(directory.position(Duration::ZERO), 0);
    }

    #[test]
    fn everything_happens_in_a_life() {
        let mut directory = filled(&DirectorySize::default());
        tick(&mut directory, &mut Rng::new(1), 3_000);
        let end = directory.position(Duration::ZERO);
        let happened = directory.changes(0, end).map(|(_, entry)| match &entry.what {
            What::Set { place, .. } => directory.object(entry.slot).kind.properties()[*place].name,
            What::Joined(member) => directory.object(*member).kind.name(),
            What::Created => "created",
            What::Deleted => "deleted",
            What::Restored { .. } => "restored",
            What::Purged { was: Life::Alive } => "purged at once",
            What::Purged { .. } => "purged",
            What::Left(_) => "left",
        });
        let happened: BTreeSet<&str> = happened.collect();
        let changed = ["accountEnabled", "department", "description", "displayName", "userType", "visibility"];
        let joined = ["device", "group", "orgContact", "servicePrincipal", "user"];
        let others = ["created", "deleted", "left", "purged", "purged at once", "restored"];
        for what in changed.into_iter().chain(joined).chain(others) {
            assert!(happened.contains(what), "{what}: {happened:?}");
        }
    }

    #[test]
    fn a_life_can_be_lived_again_and_every_state_of_it_is_known() {
        let live = || {
            let (mut directory, mut rng) = (filled(&DirectorySize::default()), Rng::new(7));
            let mut sizes = Vec::new();
            for _ in 0..200 {
                tick(&mut directory, &mut rng, 10);
                sizes.push((directory.position(Duration::ZERO), Kind::ALL.map(|kind| directory.count(kind))));
            }
            (directory, sizes)
        };
        let (directory, sizes) = live();
        assert_eq!(sizes, live().1);
        for (position, counts) in sizes {
            let alive = |kind: Kind| {
                directory.slots(kind).iter().filter(|slot| directory.alive_at(**slot, position).is_some()).count()
            };
            assert_eq!(Kind::ALL.map(alive), counts, "at {position}");
        }
    }
}
