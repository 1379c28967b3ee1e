//! Resource Graph's tables: their columns, how rows are made from the truth, and what a request sees of them.
//!
//! The case of ids in Azure is unreliable: it differs between tables and between versions of a row. Here it depends on
//! a hash of the id, table and version, so that it varies but is the same in every run.
use std::sync::{Arc, LazyLock, Mutex};

use kql::{Column, Table, Tables, Type, Value};
use serde_json::{Value as Json, json};

use crate::clock::{Clock, iso};
use crate::estate::{Estate, Group, Resource, Subscription, Tags};
use crate::history::Row;
use crate::lock;
use crate::rng::hash;
use crate::settings::TENANT;

pub(crate) const GROUP_TYPE: &str = "microsoft.resources/subscriptions/resourcegroups";
pub(crate) const SUBSCRIPTION_TYPE: &str = "microsoft.resources/subscriptions";

/// The four tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Name {
    Resources,
    Containers,
    ResourceChanges,
    ContainerChanges,
}

impl Name {
    fn parse(name: &str) -> Option<Self> {
        [
            ("resources", Self::Resources),
            ("resourcecontainers", Self::Containers),
            ("resourcechanges", Self::ResourceChanges),
            ("resourcecontainerchanges", Self::ContainerChanges),
        ]
        .into_iter()
        .find_map(|(known, table)| known.eq_ignore_ascii_case(name).then_some(table))
    }
}

static COLUMNS: LazyLock<Arc<[Column]>> = LazyLock::new(|| {
    let strings =
        ["id", "name", "type", "tenantId", "kind", "location", "resourceGroup", "subscriptionId", "managedBy"];
    let dynamics = ["sku", "plan", "properties", "tags", "identity", "zones", "extendedLocation"];
    let column = |ty| move |name: &str| Column { name: name.into(), ty };
    strings.into_iter().map(column(Type::String)).chain(dynamics.into_iter().map(column(Type::Dynamic))).collect()
});

/// What a request sees of the tables: the subscriptions that it asked for and may read.
pub(crate) struct View<'a> {
    pub estate: &'a Mutex<Estate>,
    pub clock: &'a Clock,
    /// For each subscription of the estate, by index, whether it is read.
    pub reads: Vec<bool>,
    /// A hash of the query and its time, which seeds random choices.
    pub moment: u64,
}

impl Tables for View<'_> {
    fn table(&self, name: &str) -> Option<Table> {
        let table = Name::parse(name)?;
        let rows = lock(self.estate).rows(table, self.clock.now_ms(), self.moment, |owner| {
            owner.is_none_or(|place| self.reads.get(place).copied().unwrap_or(false))
        });
        Some(Table { columns: COLUMNS.clone(), rows })
    }

    fn now_ms(&self) -> i64 {
        self.clock.now_ms()
    }
}

fn column(name: &str) -> usize {
    COLUMNS.iter().position(|column| &*column.name == name).unwrap_or(usize::MAX)
}

/// The id of a row, as written in it.
pub(crate) fn id_of(row: &Row) -> &str {
    match row.first() {
        Some(Value::String(id)) => id,
        _ => "",
    }
}

/// A second row for the same id, optionally with the id in different case or with other tags.
pub(crate) fn twin(row: &Row, recased: bool, tags: Option<&Tags>) -> Row {
    let mut cells = row.to_vec();
    if recased {
        let id = id_of(row);
        let down = id.to_ascii_lowercase();
        cells[column("id")] = Value::String(if down == id { id.to_ascii_uppercase() } else { down }.into());
    }
    if let Some(tags) = tags {
        cells[column("tags")] = tags.clone().map_or(Value::Null, Value::Dynamic);
    }
    cells.into()
}

/// The cells that tables fill in; all others are empty.
struct Cells {
    id: Arc<str>,
    name: Arc<str>,
    ty: Arc<str>,
    kind: Arc<str>,
    location: Arc<str>,
    group: Arc<str>,
    subscription: Arc<str>,
    sku: Option<Arc<Json>>,
    properties: Arc<Json>,
    tags: Tags,
}

impl Default for Cells {
    fn default() -> Self {
        let [id, name, ty, kind, location, group, subscription] = std::array::from_fn(|_| empty());
        let (sku, properties, tags) = (None, Arc::new(Json::Null), None);
        Self { id, name, ty, kind, location, group, subscription, sku, properties, tags }
    }
}

/// Shared by all cells without text.
fn empty() -> Arc<str> {
    static EMPTY: LazyLock<Arc<str>> = LazyLock::new(|| "".into());
    EMPTY.clone()
}

impl Cells {
    fn row(self) -> Row {
        static TENANT_CELL: LazyLock<Arc<str>> = LazyLock::new(|| TENANT.into());
        let dynamic = |value: Option<Arc<Json>>| value.map_or(Value::Null, Value::Dynamic);
        Arc::from([
            Value::String(self.id),
            Value::String(self.name),
            Value::String(self.ty),
            Value::String(TENANT_CELL.clone()),
            Value::String(self.kind),
            Value::String(self.location),
            Value::String(self.group),
            Value::String(self.subscription),
            Value::String(empty()),
            dynamic(self.sku),
            Value::Null,
            Value::Dynamic(self.properties),
            dynamic(self.tags),
            Value::Null,
            Value::Null,
            Value::Null,
        ])
    }
}

pub(crate) fn resource_row(
    subscription: &Subscription,
    group: Option<&Group>,
    resource: &Resource,
    version: u64,
) -> Row {
    let odd = Odd::new(&resource.id, Name::Resources, version);
    let is_nested = resource.name.contains('/');
    Cells {
        id: odd.id(&resource.display_id(subscription, group)).into(),
        name: if is_nested { resource.short_name().into() } else { resource.name.clone() },
        ty: resource.kind.lower.clone(),
        kind: resource.kind.flavour.clone(),
        location: resource.location.clone(),
        group: group.map_or_else(empty, |group| odd.case(&group.name)),
        subscription: subscription.guid.clone(),
        sku: resource.kind.sku.clone(),
        properties: resource.kind.properties.clone(),
        tags: resource.tags.clone(),
    }
    .row()
}

pub(crate) fn group_row(subscription: &Subscription, group: &Group, version: u64) -> Row {
    let odd = Odd::new(&group.id, Name::Containers, version);
    Cells {
        id: odd.id(&group.display_id(subscription)).into(),
        name: group.name.clone(),
        ty: GROUP_TYPE.into(),
        location: group.location.clone(),
        group: odd.case(&group.name),
        subscription: subscription.guid.clone(),
        properties: Arc::new(json!({"provisioningState": "Succeeded"})),
        tags: group.tags.clone(),
        ..Cells::default()
    }
    .row()
}

pub(crate) fn subscription_row(subscription: &Subscription, version: u64) -> Row {
    let id = subscription.id();
    Cells {
        id: Odd::new(&id, Name::Containers, version).id(&id).into(),
        name: subscription.name.clone(),
        ty: SUBSCRIPTION_TYPE.into(),
        subscription: subscription.guid.clone(),
        properties: Arc::new(json!({"state": *subscription.state, "managementGroupAncestorsChain": []})),
        tags: subscription.tags.clone(),
        ..Cells::default()
    }
    .row()
}

pub(crate) fn management_group_row(name: &str) -> Row {
    Cells {
        id: format!("/providers/Microsoft.Management/managementGroups/{name}").into(),
        name: name.into(),
        ty: "microsoft.management/managementgroups".into(),
        properties: Arc::new(json!({"displayName": name, "details": {"parent": null}})),
        ..Cells::default()
    }
    .row()
}

/// A change, as its record shows it.
pub(crate) struct Change<'a> {
    pub table: Name,
    /// `Create`, `Update` or `Delete`.
    pub kind: &'static str,
    pub target: &'a str,
    pub target_type: &'a str,
    pub subscription: &'a Arc<str>,
    pub group: &'a Arc<str>,
    pub location: &'a Arc<str>,
    pub detected_at: i64,
    /// The changed properties: path, old value, new value.
    pub changed: Vec<(String, Json, Json)>,
}

impl Change<'_> {
    /// The record's row; `brief` gives it without its details.
    pub(crate) fn row(&self, version: u64, brief: bool) -> Row {
        let odd = Odd::new(self.target, self.table, version);
        let target = odd.id(self.target);
        let guid = crate::rng::Rng::new(version ^ hash(&[self.target.as_bytes()])).guid();
        let changed = if brief { &[] } else { self.changed.as_slice() };
        let changes: serde_json::Map<String, Json> = changed
            .iter()
            .map(|(path, was, is)| {
                let how = match (was, is) {
                    (Json::Null, _) => "Insert",
                    (_, Json::Null) => "Remove",
                    _ => "Update",
                };
                let change = json!({
                    "previousValue": was, "newValue": is,
                    "changeCategory": "User", "propertyChangeType": how, "isTruncated": "false",
                });
                (path.clone(), change)
            })
            .collect();
        let properties = json!({
            "targetResourceId": target,
            "targetResourceType": odd.other_case(self.target_type),
            "changeType": self.kind,
            "changeAttributes": {
                "timestamp": iso(self.detected_at),
                "correlationId": guid,
                "changesCount": changes.len(),
                "previousResourceSnapshotId": format!("08585{:020}", version),
                "newResourceSnapshotId": format!("08585{:020}", version + 1),
                "changedBy": if brief { "Unspecified" } else { "ops@example.com" },
                "changedByType": if brief { "Unspecified" } else { "User" },
                "clientType": if brief { "Unspecified" } else { "ARM Template" },
                "operation": if brief { "Unspecified" } else { "Microsoft.Resources/deployments/write" },
            },
            "changes": changes,
        });
        Cells {
            id: format!("{target}/providers/Microsoft.Resources/changes/{guid}").into(),
            name: guid.into(),
            ty: "microsoft.resources/changes".into(),
            location: if odd.flips(5) { empty() } else { self.location.clone() },
            group: odd.case(self.group),
            subscription: self.subscription.clone(),
            properties: Arc::new(properties),
            ..Cells::default()
        }
        .row()
    }
}

/// The unusual case of one version of a row.
struct Odd(u64);

impl Odd {
    fn new(id: &str, table: Name, version: u64) -> Self {
        Self(hash(&[id.to_lowercase().as_bytes(), &[table as u8], &version.to_le_bytes()]))
    }

    fn flips(&self, bit: u32) -> bool {
        self.0 >> (32 + bit) & 1 == 1
    }

    /// An id with the case that some service chose.
    fn id(&self, id: &str) -> String {
        match self.0 % 8 {
            0 => id.to_ascii_lowercase(),
            1 => id.replacen("/resourceGroups/", "/resourcegroups/", 1),
            2 => id.to_ascii_uppercase(),
            3 => {
                // The subscription's GUID.
                let guid = id.split('/').nth(2).unwrap_or_default();
                id.replacen(guid, &guid.to_ascii_uppercase(), 1)
            }
            4 => id.replacen("/Microsoft.", "/microsoft.", 1),
            _ => id.to_owned(),
        }
    }

    fn case(&self, name: &Arc<str>) -> Arc<str> {
        match self.0 >> 8 & 3 {
            0 => name.to_ascii_lowercase().into(),
            1 => name.to_ascii_uppercase().into(),
            _ => name.clone(),
        }
    }

    fn other_case(&self, name: &str) -> String {
        match self.0 >> 16 & 3 {
            0 => name.to_ascii_lowercase(),
            1 => name.replace("Microsoft", "microsoft"),
            _ => name.to_owned(),
        }
    }
}
