//! All changes to subscriptions, groups and resources in the estate.
use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Value as Json, json};

use super::{Estate, Group, Level, Resource, Subscription, Tags, lower};
use crate::kinds::Kind;
use crate::tables::{self, Change, Name};

impl Estate {
    // Subscriptions.

    /// Adds a subscription that is new or newly readable; returns its GUID.
    pub fn add_subscription(&mut self, name: &str, tags: Tags) -> Arc<str> {
        let guid: Arc<str> = self.rng.guid().into();
        self.subscriptions.push(Subscription::new(guid.clone(), name, tags));
        self.subscription_changed(self.subscriptions.len() - 1, "Create", Vec::new());
        guid
    }

    /// Sets whether the principal can read the subscription. If not, no answer contains any of it.
    pub fn show_subscription(&mut self, guid: &str, visible: bool) -> bool {
        self.set(guid, |subscription| subscription.visible = visible)
    }

    /// Makes Resource Manager list the subscription twice.
    pub fn list_twice(&mut self, guid: &str) -> bool {
        self.set(guid, |subscription| subscription.listed_twice = true)
    }

    /// Sets the state and quota id that Resource Manager lists for the subscription.
    pub fn describe_subscription(&mut self, guid: &str, state: &str, quota_id: &str) -> bool {
        self.set(guid, |subscription| (subscription.state, subscription.quota_id) = (state.into(), quota_id.into()))
    }

    /// Makes Resource Graph know the subscription only from this time, in milliseconds since the epoch.
    pub fn know_from(&mut self, guid: &str, from: i64) -> bool {
        self.set(guid, |subscription| subscription.known_from = from)
    }

    /// Makes Resource Graph never know the subscription.
    pub fn never_know(&mut self, guid: &str) -> bool {
        self.know_from(guid, i64::MAX)
    }

    /// Limits the principal's role to these groups, by lower-case id, instead of the whole subscription.
    pub fn grant_groups(&mut self, guid: &str, groups: impl IntoIterator<Item = Arc<str>>) -> bool {
        self.set(guid, |subscription| subscription.granted = Some(groups.into_iter().collect()))
    }

    fn set(&mut self, guid: &str, set: impl FnOnce(&mut Subscription)) -> bool {
        self.version += 1;
        self.subscriptions.iter_mut().find(|s| *s.guid == *guid).map(set).is_some()
    }

    /// Deletes a subscription and its contents. While visible, it is listed as `Deleted`.
    pub fn delete_subscription(&mut self, guid: &str) -> bool {
        let Some(place) = self.place(guid) else { return false };
        let ungrouped = self.resources.values().filter(|one| one.subscription == place && one.level != Level::Group);
        for id in ungrouped.map(|one| one.id.clone()).collect::<Vec<_>>() {
            self.delete_resource(&id);
        }
        let groups = self.groups.values().filter(|group| group.subscription == place);
        for id in groups.map(|group| group.id.clone()).collect::<Vec<_>>() {
            self.delete_group(&id);
        }
        let subscription = &mut self.subscriptions[place];
        (subscription.deleted, subscription.state) = (true, "Deleted".into());
        self.subscription_changed(place, "Delete", Vec::new());
        true
    }

    pub fn rename_subscription(&mut self, guid: &str, name: &str) -> bool {
        let Some(place) = self.place(guid) else { return false };
        let was = std::mem::replace(&mut self.subscriptions[place].name, name.into());
        self.subscription_changed(place, "Update", vec![("name".into(), json!(*was), json!(name))]);
        true
    }

    pub fn retag_subscription(&mut self, guid: &str, tags: Tags) -> bool {
        let Some(place) = self.place(guid) else { return false };
        let changed = changed_tags(&self.subscriptions[place].tags, &tags);
        self.subscriptions[place].tags = tags;
        self.subscription_changed(place, "Update", changed);
        true
    }

    fn place(&self, guid: &str) -> Option<usize> {
        self.subscriptions.iter().position(|subscription| *subscription.guid == *guid && !subscription.deleted)
    }

    fn subscription_changed(&mut self, place: usize, kind: &'static str, changed: Vec<(String, Json, Json)>) {
        let id: Arc<str> = self.subscriptions[place].id().into();
        let detected_at = self.tell(&id);
        let row = (kind != "Delete").then(|| tables::subscription_row(&self.subscriptions[place], self.version));
        self.show(Name::Containers, &id, place, row, detected_at);
        let change = Change {
            table: Name::ContainerChanges,
            kind,
            target: &id,
            target_type: "Microsoft.Resources/subscriptions",
            subscription: &self.subscriptions[place].guid.clone(),
            group: &"".into(),
            location: &"".into(),
            detected_at,
            changed,
        };
        self.record(place, &change);
    }

    // Groups.

    /// The new group's id, or `None` if the subscription is unknown or the group exists.
    pub fn create_group(&mut self, guid: &str, name: &str, location: &str, tags: Tags) -> Option<Arc<str>> {
        self.add_group(guid, |group| Group { name: name.into(), location: location.into(), tags, ..group })
    }

    /// Creates a group without a row and record; only its contents have them.
    pub fn create_group_without_row(&mut self, guid: &str, name: &str) -> Option<Arc<str>> {
        self.add_group(guid, |group| Group { name: name.into(), has_row: false, ..group })
    }

    fn add_group(&mut self, guid: &str, fill: impl FnOnce(Group) -> Group) -> Option<Arc<str>> {
        let subscription = self.place(guid)?;
        let (id, name, location) = ("".into(), "".into(), "".into());
        let members = BTreeSet::new();
        let mut group = fill(Group { id, subscription, name, location, tags: None, has_row: true, members });
        let id: Arc<str> = lower(&group.display_id(&self.subscriptions[subscription])).into();
        if self.groups.contains_key(&id) {
            return None;
        }
        group.id = id.clone();
        self.groups.insert(id.clone(), group);
        self.group_changed(&id, "Create", Vec::new());
        Some(id)
    }

    pub fn retag_group(&mut self, id: &str, tags: Tags) -> bool {
        let Some(group) = self.groups.get_mut(id) else { return false };
        let changed = changed_tags(&group.tags, &tags);
        group.tags = tags;
        self.group_changed(id, "Update", changed);
        true
    }

    /// Changes the case of a group's name; other changes are rejected.
    pub(crate) fn recase_group(&mut self, id: &str, name: &str) -> bool {
        let Some(group) = self.groups.get_mut(id) else { return false };
        if lower(name) != lower(&group.name) {
            return false;
        }
        let was = std::mem::replace(&mut group.name, name.into());
        self.group_changed(id, "Update", vec![("name".into(), json!(*was), json!(name))]);
        true
    }

    /// Deletes a group and its contents.
    pub fn delete_group(&mut self, id: &str) -> bool {
        let Some(group) = self.groups.get(id) else { return false };
        for member in group.members.clone() {
            self.delete_resource(&member);
        }
        self.group_changed(id, "Delete", Vec::new());
        self.groups.remove(id);
        true
    }

    /// Deletes a group and its contents; only the group gets a record.
    pub fn delete_group_alone(&mut self, id: &str) -> bool {
        let Some(members) = self.groups.get(id).map(|group| group.members.clone()) else { return false };
        self.unrecorded(|estate| {
            for member in &members {
                estate.delete_resource(member);
            }
        });
        self.delete_group(id)
    }

    fn group_changed(&mut self, id: &str, kind: &'static str, changed: Vec<(String, Json, Json)>) {
        let Some(id) = self.groups.get(id).map(|group| group.id.clone()) else { return };
        let detected_at = self.tell(&id);
        let (group, version) = (&self.groups[&id], self.version);
        if !group.has_row {
            return;
        }
        let subscription = &self.subscriptions[group.subscription];
        let (place, guid) = (group.subscription, subscription.guid.clone());
        let (name, location) = (group.name.clone(), group.location.clone());
        let target = group.display_id(subscription);
        let row = (kind != "Delete").then(|| tables::group_row(subscription, group, version));
        self.show(Name::Containers, &id, place, row, detected_at);
        let change = Change {
            table: Name::ContainerChanges,
            kind,
            target: &target,
            target_type: "Microsoft.Resources/subscriptions/resourceGroups",
            subscription: &guid,
            group: &name,
            location: &location,
            detected_at,
            changed,
        };
        self.record(place, &change);
    }

    // Resources.

    /// The new resource's id, or `None` if the group is unknown or the resource exists. The name of a nested type
    /// includes its parents': `server/database`.
    pub fn create_resource(
        &mut self,
        group: &str,
        ty: &str,
        name: &str,
        location: &str,
        tags: Tags,
    ) -> Option<Arc<str>> {
        let kind = self.kind(ty);
        let group = self.groups.get(group)?;
        self.add_resource(Resource {
            id: "".into(),
            level: Level::Group,
            subscription: group.subscription,
            group: group.id.clone(),
            kind,
            name: name.into(),
            location: location.into(),
            tags,
        })
    }

    /// The same for a resource outside groups: directly in the subscription or the tenant.
    pub fn create_resource_at(
        &mut self,
        level: Level,
        guid: &str,
        ty: &str,
        name: &str,
        tags: Tags,
    ) -> Option<Arc<str>> {
        let subscription = self.place(guid).filter(|_| level != Level::Group)?;
        let kind = self.kind(ty);
        let (id, group, location) = ("".into(), "".into(), "global".into());
        self.add_resource(Resource { id, level, subscription, group, kind, name: name.into(), location, tags })
    }

    fn kind(&mut self, ty: &str) -> Arc<Kind> {
        self.kinds.entry(lower(ty)).or_insert_with(|| Arc::new(Kind::new(ty))).clone()
    }

    /// Adds a resource at its stated location, under the resulting id.
    fn add_resource(&mut self, resource: Resource) -> Option<Arc<str>> {
        let mut group = self.groups.get_mut(&resource.group);
        let id = resource.display_id(&self.subscriptions[resource.subscription], group.as_deref());
        let id: Arc<str> = lower(&id).into();
        if self.resources.contains_key(&id) {
            return None;
        }
        if let Some(group) = &mut group {
            group.members.insert(id.clone());
        }
        self.resources.insert(id.clone(), Resource { id: id.clone(), ..resource });
        self.resource_changed(&id, "Create", Vec::new());
        Some(id)
    }

    /// Makes a change that no column of the catalog shows.
    pub fn touch_resource(&mut self, id: &str) -> bool {
        let changed = vec![("properties.minimumTlsVersion".into(), json!("1.2"), json!("1.3"))];
        self.resource_changed(id, "Update", changed)
    }

    pub fn retag_resource(&mut self, id: &str, tags: Tags) -> bool {
        let Some(resource) = self.resources.get_mut(id) else { return false };
        let changed = changed_tags(&resource.tags, &tags);
        resource.tags = tags;
        self.resource_changed(id, "Update", changed)
    }

    /// Changes the case of a resource's name; other changes are rejected.
    pub fn recase_resource(&mut self, id: &str, name: &str) -> bool {
        let Some(resource) = self.resources.get_mut(id) else { return false };
        if lower(name) != lower(&resource.name) {
            return false;
        }
        let was = std::mem::replace(&mut resource.name, name.into());
        self.resource_changed(id, "Update", vec![("name".into(), json!(*was), json!(name))])
    }

    pub fn delete_resource(&mut self, id: &str) -> bool {
        if !self.resource_changed(id, "Delete", Vec::new()) {
            return false;
        }
        if let Some(resource) = self.resources.swap_remove(id)
            && let Some(group) = self.groups.get_mut(&resource.group)
        {
            group.members.remove(&resource.id);
        }
        true
    }

    /// Deletes a resource and creates it again under the same id, with other tags.
    pub fn recreate_resource(&mut self, id: &str, tags: Tags) -> bool {
        let Some(resource) = self.resources.get(id) else { return false };
        let again = Resource { tags, ..resource.clone() };
        self.delete_resource(id);
        self.add_resource(again).is_some()
    }

    /// Moves a resource into another group: deletes the old id and creates a new one, which is returned.
    pub(crate) fn move_resource(&mut self, id: &str, group: &str) -> Option<Arc<str>> {
        let resource = self.resources.get(id)?;
        if *resource.group == *group || !self.groups.contains_key(group) {
            return None;
        }
        let (kind, name) = (resource.kind.name.clone(), resource.name.clone());
        let (location, tags) = (resource.location.clone(), resource.tags.clone());
        let moved = self.create_resource(group, &kind, &name, &location, tags)?;
        self.delete_resource(id);
        Some(moved)
    }

    fn resource_changed(&mut self, id: &str, kind: &'static str, changed: Vec<(String, Json, Json)>) -> bool {
        let Some(id) = self.resources.get(id).map(|resource| resource.id.clone()) else { return false };
        let detected_at = self.tell(&id);
        let (resource, version) = (&self.resources[&id], self.version);
        let (group, place) = (self.groups.get(&resource.group), resource.subscription);
        let subscription = &self.subscriptions[place];
        let row = (kind != "Delete").then(|| tables::resource_row(subscription, group, resource, version));
        if self.ancient {
            self.show(Name::Resources, &id, place, row, detected_at);
            return true;
        }
        let (guid, target) = (subscription.guid.clone(), resource.display_id(subscription, group));
        let name = group.map_or_else(|| "".into(), |group| group.name.clone());
        let location = resource.location.clone();
        let target_type = resource.kind.name.clone();
        self.show(Name::Resources, &id, place, row, detected_at);
        let change = Change {
            table: Name::ResourceChanges,
            kind,
            target: &target,
            target_type: &target_type,
            subscription: &guid,
            group: &name,
            location: &location,
            detected_at,
            changed,
        };
        self.record(place, &change);
        true
    }

    /// Records a change of a child of a resource, such as `firewallRules`, or of an extension, such as
    /// `Microsoft.Authorization/locks`. Neither has a row.
    pub fn record_child(&mut self, resource: &str, ty: &str, name: &str, kind: &'static str) -> bool {
        let Some(parent) = self.resources.get(resource) else { return false };
        let (place, group) = (parent.subscription, self.groups.get(&parent.group));
        let subscription = &self.subscriptions[place];
        let above = parent.display_id(subscription, group);
        let (target, target_type) = if ty.contains('/') {
            (format!("{above}/providers/{ty}/{name}"), ty.to_owned())
        } else {
            (format!("{above}/{ty}/{name}"), format!("{}/{ty}", parent.kind.name))
        };
        let (guid, location) = (subscription.guid.clone(), parent.location.clone());
        let group = group.map_or_else(|| "".into(), |group| group.name.clone());
        let detected_at = self.tell(&lower(&target).into());
        let change = Change {
            table: Name::ResourceChanges,
            kind,
            target: &target,
            target_type: &target_type,
            subscription: &guid,
            group: &group,
            location: &location,
            detected_at,
            changed: Vec::new(),
        };
        self.record(place, &change);
        true
    }
}

fn changed_tags(was: &Tags, is: &Tags) -> Vec<(String, Json, Json)> {
    let empty = serde_json::Map::new();
    let object = |tags: &Tags| tags.as_deref().and_then(Json::as_object).unwrap_or(&empty).clone();
    let (was, is) = (object(was), object(is));
    let keys: BTreeSet<&String> = was.keys().chain(is.keys()).collect();
    let value = |tags: &serde_json::Map<String, Json>, key: &String| tags.get(key).cloned().unwrap_or(Json::Null);
    keys.into_iter()
        .filter(|key| was.get(*key) != is.get(*key))
        .map(|key| (format!("tags.{key}"), value(&was, key), value(&is, key)))
        .collect()
}
