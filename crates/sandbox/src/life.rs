//! Fills an estate at the start, and applies a mix of changes to it.
use std::sync::Arc;

use crate::estate::{Estate, Tags};
use crate::kinds::KNOWN;
use crate::names;
use crate::rng::Rng;
use crate::settings::EstateSize;

/// Fills an empty estate as if it had existed for a long time; then its history begins.
pub(crate) fn fill(estate: &mut Estate, rng: &mut Rng, size: &EstateSize) {
    for number in 0..size.subscriptions {
        let tags = if rng.one_in(3) { None } else { names::group_tags(rng) };
        estate.add_subscription(&names::subscription(rng, number), tags);
    }
    let guids: Vec<Arc<str>> = estate.subscriptions().iter().map(|s| s.guid.clone()).collect();
    if guids.is_empty() {
        return estate.begin();
    }
    let mut groups = Vec::with_capacity(size.groups);
    for number in 0..size.groups {
        // First one group per subscription, so that none is empty; then at random.
        let guid = if number < guids.len() { &guids[number] } else { rng.pick(&guids) };
        let (name, region, tags) = (names::group(rng, number), names::region(rng), names::group_tags(rng));
        groups.extend(estate.create_group(guid, &name, &region, tags));
    }
    let mut made = 0;
    if let Some(group) = groups.first() {
        // Names that collide if characters not allowed in identifiers are simply replaced.
        for name in ["twin (1)", "twin_(1)", "twin__1_", "Twin=40=1)"].into_iter().take(size.resources) {
            estate.create_resource(group, "Microsoft.Storage/storageAccounts", name, "westeurope", None);
            made += 1;
        }
    }
    // Policies give many resources the same tags; sharing them keeps a large estate small.
    let tags: Vec<Tags> = (0..1_000).map(|_| names::resource_tags(rng)).collect();
    while made < size.resources && !groups.is_empty() {
        let (group, tags) = (rng.pick(&groups).clone(), rng.pick(&tags).clone());
        made += usize::from(create(estate, rng, &group, made, tags));
    }
    estate.begin();
}

/// Applies `changes` changes of all kinds that do not hide a whole subscription.
pub fn tick(estate: &mut Estate, rng: &mut Rng, changes: usize) {
    for _ in 0..changes {
        one(estate, rng);
    }
    estate.forget();
}

/// Applies `changes` changes to resources only, like a large deployment.
pub fn burst(estate: &mut Estate, rng: &mut Rng, changes: usize) {
    for _ in 0..changes {
        match rng.below(4) {
            0 => create_anywhere(estate, rng),
            1 => delete_any(estate, rng),
            _ => retag_any(estate, rng),
        }
    }
}

/// A change without a record, or a group deleted with a record while its contents have none.
pub fn unseen(estate: &mut Estate, rng: &mut Rng) {
    match rng.below(7) {
        0..=1 => estate.unrecorded(|estate| retag_any(estate, rng)),
        2..=3 => estate.unrecorded(|estate| create_anywhere(estate, rng)),
        4..=5 => estate.unrecorded(|estate| delete_any(estate, rng)),
        _ => {
            let Some(group) = any_group(estate, rng) else { return };
            estate.delete_group_alone(&group);
        }
    }
}

/// Creates `changes` records of objects without rows: children and extensions of resources.
pub fn children(estate: &mut Estate, rng: &mut Rng, changes: usize) {
    let types =
        ["firewallRules", "Microsoft.Insights/diagnosticSettings", "Microsoft.Authorization/locks", "revisions"];
    for _ in 0..changes {
        let Some(parent) = any_resource(estate, rng) else { return };
        let name = format!("child-{}", rng.below(1_000_000));
        let (ty, kind) = (*rng.pick(&types), *rng.pick(&["Create", "Update", "Delete"]));
        estate.record_child(&parent, ty, &name, kind);
    }
}

/// A subscription appears, disappears, or comes back.
pub fn upheaval(estate: &mut Estate, rng: &mut Rng) {
    let hidden = estate.subscriptions().iter().find(|s| !s.visible).map(|s| s.guid.clone());
    let visible: Vec<Arc<str>> = estate.subscriptions().iter().filter(|s| s.visible).map(|s| s.guid.clone()).collect();
    match (rng.below(3), hidden) {
        (0, _) => {
            let number = estate.subscriptions().len();
            let guid = estate.add_subscription(&names::subscription(rng, number), names::group_tags(rng));
            let name = names::group(rng, number);
            if let Some(group) = estate.create_group(&guid, &name, &names::region(rng), names::group_tags(rng)) {
                for member in 0..5 {
                    create_in(estate, rng, &group, member);
                }
            }
        }
        (_, Some(guid)) => {
            estate.show_subscription(&guid, true);
        }
        (_, None) if visible.len() > 1 => {
            let guid = rng.pick(&visible).clone();
            estate.show_subscription(&guid, false);
        }
        _ => {}
    }
}

fn one(estate: &mut Estate, rng: &mut Rng) {
    match rng.below(200) {
        0..=39 => touch_any(estate, rng),
        40..=89 => retag_any(estate, rng),
        90..=129 => create_anywhere(estate, rng),
        130..=154 => delete_any(estate, rng),
        155..=162 => recreate_any(estate, rng),
        163..=174 => move_any(estate, rng),
        175..=178 => recase_any(estate, rng),
        179..=183 => create_group(estate, rng),
        184..=186 => delete_a_group(estate, rng),
        187..=195 => retag_a_group(estate, rng),
        196..=197 => recase_a_group(estate, rng),
        198 => rename_a_subscription(estate, rng),
        _ => retag_a_subscription(estate, rng),
    }
}

/// The id of a random resource.
pub fn any_resource(estate: &Estate, rng: &mut Rng) -> Option<Arc<str>> {
    let place = rng.below(estate.resources().len());
    estate.resources().get_index(place).map(|(id, _)| id.clone())
}

/// The id of a random group.
pub fn any_group(estate: &Estate, rng: &mut Rng) -> Option<Arc<str>> {
    let place = rng.below(estate.groups().len());
    estate.groups().keys().nth(place).cloned()
}

fn any_subscription(estate: &Estate, rng: &mut Rng) -> Option<Arc<str>> {
    let place = rng.below(estate.subscriptions().len());
    estate.subscriptions().get(place).map(|s| s.guid.clone())
}

fn create(estate: &mut Estate, rng: &mut Rng, group: &str, number: usize, tags: Tags) -> bool {
    let ty = rng.pick(&KNOWN).0;
    let depth = ty.matches('/').count();
    let name = names::resource(rng, number, depth);
    let region = names::region(rng);
    estate.create_resource(group, ty, &name, &region, tags).is_some()
}

fn create_in(estate: &mut Estate, rng: &mut Rng, group: &str, number: usize) {
    let tags = names::resource_tags(rng);
    create(estate, rng, group, number, tags);
}

fn create_anywhere(estate: &mut Estate, rng: &mut Rng) {
    let number = rng.below(1_000_000);
    if let Some(group) = any_group(estate, rng) {
        create_in(estate, rng, &group, number);
    }
}

fn touch_any(estate: &mut Estate, rng: &mut Rng) {
    if let Some(id) = any_resource(estate, rng) {
        estate.touch_resource(&id);
    }
}

fn retag_any(estate: &mut Estate, rng: &mut Rng) {
    if let Some(id) = any_resource(estate, rng) {
        estate.retag_resource(&id, names::resource_tags(rng));
    }
}

fn delete_any(estate: &mut Estate, rng: &mut Rng) {
    if let Some(id) = any_resource(estate, rng) {
        estate.delete_resource(&id);
    }
}

fn recreate_any(estate: &mut Estate, rng: &mut Rng) {
    if let Some(id) = any_resource(estate, rng) {
        estate.recreate_resource(&id, names::resource_tags(rng));
    }
}

fn move_any(estate: &mut Estate, rng: &mut Rng) {
    if let (Some(id), Some(group)) = (any_resource(estate, rng), any_group(estate, rng)) {
        estate.move_resource(&id, &group);
    }
}

fn recase_any(estate: &mut Estate, rng: &mut Rng) {
    let Some((id, name)) =
        any_resource(estate, rng).and_then(|id| Some((id.clone(), estate.resources().get(&id)?.name.clone())))
    else {
        return;
    };
    estate.recase_resource(&id, &other_case(&name));
}

fn create_group(estate: &mut Estate, rng: &mut Rng) {
    let Some(guid) = any_subscription(estate, rng) else { return };
    let number = rng.below(1_000_000);
    let name = names::group(rng, number);
    let (region, tags) = (names::region(rng), names::group_tags(rng));
    if let Some(group) = estate.create_group(&guid, &name, &region, tags) {
        for member in 0..rng.below(6) {
            create_in(estate, rng, &group, member);
        }
    }
}

fn delete_a_group(estate: &mut Estate, rng: &mut Rng) {
    if let Some(id) = any_group(estate, rng) {
        let again = rng.one_in(4).then(|| {
            let group = &estate.groups()[&id];
            let guid = estate.subscriptions()[group.subscription].guid.clone();
            (guid, group.name.clone(), group.location.clone())
        });
        estate.delete_group(&id);
        if let Some((guid, name, location)) = again {
            estate.create_group(&guid, &name, &location, names::group_tags(rng));
        }
    }
}

fn retag_a_group(estate: &mut Estate, rng: &mut Rng) {
    if let Some(id) = any_group(estate, rng) {
        estate.retag_group(&id, names::group_tags(rng));
    }
}

fn recase_a_group(estate: &mut Estate, rng: &mut Rng) {
    let Some((id, name)) =
        any_group(estate, rng).and_then(|id| Some((id.clone(), estate.groups().get(&id)?.name.clone())))
    else {
        return;
    };
    estate.recase_group(&id, &other_case(&name));
}

fn rename_a_subscription(estate: &mut Estate, rng: &mut Rng) {
    if let Some(guid) = any_subscription(estate, rng) {
        let number = rng.below(1_000);
        estate.rename_subscription(&guid, &names::subscription(rng, number));
    }
}

fn retag_a_subscription(estate: &mut Estate, rng: &mut Rng) {
    if let Some(guid) = any_subscription(estate, rng) {
        estate.retag_subscription(&guid, names::group_tags(rng));
    }
}

/// The same name to Azure, in different case.
fn other_case(name: &str) -> String {
    let down = name.to_ascii_lowercase();
    if down == name { name.to_ascii_uppercase() } else { down }
}
