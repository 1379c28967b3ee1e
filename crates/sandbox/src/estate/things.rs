//! The contents of an estate: subscriptions, groups, resources.
use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::Value as Json;

use crate::kinds::Kind;
use crate::sight::is_within;

/// `None` if Azure returns `null`; otherwise an object, possibly empty.
pub type Tags = Option<Arc<Json>>;

#[derive(Debug)]
pub struct Subscription {
    /// In lower case.
    pub guid: Arc<str>,
    pub name: Arc<str>,
    pub tags: Tags,
    /// Whether the principal can read it.
    pub visible: bool,
    /// Resource Manager lists it a second time, with the id in different case.
    pub listed_twice: bool,
    /// As listed by Resource Manager: `Enabled`, `Disabled` and so on; `EnterpriseAgreement_2014-09-01` and so on.
    pub state: Arc<str>,
    pub quota_id: Arc<str>,
    /// When Resource Graph starts to know it.
    pub known_from: i64,
    /// Lower-case ids of the groups that the principal's role is limited to.
    pub granted: Option<BTreeSet<Arc<str>>>,
    /// Deleted; it keeps its index.
    pub deleted: bool,
}

impl Subscription {
    pub(crate) fn new(guid: Arc<str>, name: &str, tags: Tags) -> Self {
        Self {
            guid,
            name: name.into(),
            tags,
            visible: true,
            listed_twice: false,
            state: "Enabled".into(),
            quota_id: "EnterpriseAgreement_2014-09-01".into(),
            known_from: i64::MIN,
            granted: None,
            deleted: false,
        }
    }

    /// Whether Resource Graph covers it for this principal.
    pub(crate) fn is_eligible(&self, now: i64) -> bool {
        self.visible && self.known_from <= now
    }

    /// Whether the principal may read the object with this lower-case id.
    pub(crate) fn grants(&self, id: &str) -> bool {
        self.granted.as_ref().is_none_or(|groups| groups.iter().any(|group| is_within(group, id)))
    }

    pub(crate) fn id(&self) -> String {
        format!("/subscriptions/{}", self.guid)
    }
}

#[derive(Debug)]
pub struct Group {
    /// In lower case, like all keys here.
    pub id: Arc<str>,
    pub subscription: usize,
    pub name: Arc<str>,
    pub location: Arc<str>,
    pub tags: Tags,
    /// Whether `resourcecontainers` has a row for it.
    pub has_row: bool,
    /// Ids of its resources; sorted, so that deleting them is deterministic.
    pub members: BTreeSet<Arc<str>>,
}

impl Group {
    pub(crate) fn display_id(&self, subscription: &Subscription) -> String {
        format!("/subscriptions/{}/resourceGroups/{}", subscription.guid, self.name)
    }
}

/// The scope that contains a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    Group,
    Subscription,
    /// The tenant; the row still names a subscription.
    Tenant,
}

#[derive(Clone, Debug)]
pub struct Resource {
    pub id: Arc<str>,
    pub level: Level,
    /// Its index.
    pub subscription: usize,
    /// Empty if it is in no group.
    pub group: Arc<str>,
    pub kind: Arc<Kind>,
    /// Includes the names of its parents, separated by slashes.
    pub name: Arc<str>,
    pub location: Arc<str>,
    pub tags: Tags,
}

impl Resource {
    /// The value of the `name` column.
    pub fn short_name(&self) -> &str {
        self.name.rsplit('/').next().unwrap_or_default()
    }

    pub(crate) fn display_id(&self, subscription: &Subscription, group: Option<&Group>) -> String {
        let outer = match group {
            Some(group) => group.display_id(subscription),
            None if self.level == Level::Tenant => String::new(),
            None => subscription.id(),
        };
        let mut types = self.kind.name.split('/');
        let provider = types.next().unwrap_or_default();
        let mut id = format!("{outer}/providers/{provider}");
        for (ty, name) in types.zip(self.name.split('/')) {
            id.push('/');
            id.push_str(ty);
            id.push('/');
            id.push_str(name);
        }
        id
    }
}

/// A second row for the same id, which Resource Graph sometimes has.
#[derive(Clone, Debug, Default)]
pub struct Twin {
    /// Whether its id is in different case.
    pub(super) recased: bool,
    /// Its own tags, if different.
    pub(super) tags: Option<Tags>,
}

impl Twin {
    /// An identical row.
    pub fn alike() -> Self {
        Self::default()
    }

    /// The row with its id in different case.
    pub fn recased() -> Self {
        Self { recased: true, tags: None }
    }

    pub fn with_tags(self, tags: Tags) -> Self {
        Self { tags: Some(tags), ..self }
    }
}
