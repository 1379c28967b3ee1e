//! What there is in an estate: subscriptions, groups, resources.
use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::Value as Json;

use crate::kinds::Kind;
use crate::sight::is_within;

/// `None` where Azure says `null`; else an object, which may be empty.
pub type Tags = Option<Arc<Json>>;

#[derive(Debug)]
pub struct Subscription {
    /// In lower case.
    pub guid: Arc<str>,
    pub name: Arc<str>,
    pub tags: Tags,
    /// Whether the principal can read it.
    pub visible: bool,
    /// Resource Manager lists it a second time, its id in the other case.
    pub listed_twice: bool,
    /// As Resource Manager lists them: `Enabled`, `Disabled` and so on; `EnterpriseAgreement_2014-09-01` and so on.
    pub state: Arc<str>,
    pub quota_id: Arc<str>,
    /// From which moment on Resource Graph knows it.
    pub known_from: i64,
    /// Lower-case ids of the groups that the principal's role is on, where it is not on the whole.
    pub granted: Option<BTreeSet<Arc<str>>>,
    /// It was deleted; what has a place keeps it.
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

    /// Whether Resource Graph looks at it for this principal.
    pub(crate) fn is_eligible(&self, now: i64) -> bool {
        self.visible && self.known_from <= now
    }

    /// Whether the principal may read what has this lower-case id in it.
    pub(crate) fn grants(&self, id: &str) -> bool {
        self.granted.as_ref().is_none_or(|groups| groups.iter().any(|group| is_within(group, id)))
    }

    pub(crate) fn id(&self) -> String {
        format!("/subscriptions/{}", self.guid)
    }
}

#[derive(Debug)]
pub struct Group {
    /// In lower case, as all keys here.
    pub id: Arc<str>,
    pub subscription: usize,
    pub name: Arc<str>,
    pub location: Arc<str>,
    pub tags: Tags,
    /// `resourcecontainers` has a row of it.
    pub has_row: bool,
    /// Ids of the resources in it; ordered, so that deleting them is the same in every run.
    pub members: BTreeSet<Arc<str>>,
}

impl Group {
    pub(crate) fn display_id(&self, subscription: &Subscription) -> String {
        format!("/subscriptions/{}/resourceGroups/{}", subscription.guid, self.name)
    }
}

/// What a resource is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    Group,
    Subscription,
    /// The tenant; its row names a subscription all the same.
    Tenant,
}

#[derive(Clone, Debug)]
pub struct Resource {
    pub id: Arc<str>,
    pub level: Level,
    /// By its place.
    pub subscription: usize,
    /// Empty where it is in none.
    pub group: Arc<str>,
    pub kind: Arc<Kind>,
    /// With those of its parents before it, behind a slash each.
    pub name: Arc<str>,
    pub location: Arc<str>,
    pub tags: Tags,
}

impl Resource {
    /// What the `name` column shows.
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

/// A second row for an id that has one, as Resource Graph sometimes holds it.
#[derive(Clone, Debug, Default)]
pub struct Twin {
    /// Whether its id is written in the other case.
    pub(super) recased: bool,
    /// Its own tags, where they are others.
    pub(super) tags: Option<Tags>,
}

impl Twin {
    /// The same row once more.
    pub fn alike() -> Self {
        Self::default()
    }

    /// The row with its id in the other case.
    pub fn recased() -> Self {
        Self { recased: true, tags: None }
    }

    pub fn with_tags(self, tags: Tags) -> Self {
        Self { tags: Some(tags), ..self }
    }
}
