//! What was delivered, and from when to read next: the content of the checkpoint file.
//!
//! The file is one JSON object, described in the README. Ids of resources that are only ever compared are kept as hashes;
//! only those of pending resources, which must be asked for again, are kept whole.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use jiff::{SignedDuration, Timestamp};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::change::Subject;
use crate::config::{Scope, TagCondition};
use crate::id::Id;

/// The version of the format. A file of another version is not read.
const VERSION: u32 = 1;

/// Deliveries remembered at most; the newest are kept.
const MOST_DELIVERED: usize = 100_000;

/// A checkpoint this far ahead of Azure's clock was not made by a run.
const FUTURE: SignedDuration = SignedDuration::from_mins(10);

/// The content of a checkpoint file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Checkpoint {
    version: u32,
    /// What it is a checkpoint of. With any other identity it says nothing.
    pub(crate) identity: Identity,
    /// The start of the last full run that succeeded.
    pub(crate) full_at: Option<Timestamp>,
    /// Of each subscription, by its lower-case GUID.
    pub(crate) subscriptions: BTreeMap<String, SubscriptionMark>,
    /// Groups whose entities may be in the catalog, by hash. Kept only with tag filters.
    pub(crate) groups: HashMap<Id, Membership>,
    /// Ids whose record and current row disagree, to be read again.
    pub(crate) pending: BTreeMap<String, Pending>,
    /// The last outcome for each id within the overlap. Empty while a run posts, and so after one that was killed.
    #[serde(with = "as_lines")]
    pub(crate) delivered: HashMap<Id, Delivered>,
}

/// What a checkpoint belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Identity {
    pub(crate) tenant: String,
    /// Of the webhook's URL: a hash, as the URL holds a key.
    pub(crate) webhook: Id,
    pub(crate) resource_types: Vec<String>,
    pub(crate) include: BTreeMap<String, String>,
    pub(crate) exclude: BTreeMap<String, String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct SubscriptionMark {
    /// The start of the last run whose deliveries for it were all accepted; changes before then have been read.
    pub(crate) since: Timestamp,
    /// The content of its last upsert.
    pub(crate) shown: Option<Id>,
    /// That upsert was refused by Port for itself; else accepted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) refused: bool,
    /// It was to be read whole since then, and that did not come to its end.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) unread: bool,
    /// Resource Graph knew nothing of it, as it may not of one that is disabled: once it is active, it is read whole.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) unknown: bool,
}

/// How much of a group may be in the catalog.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Membership {
    /// Some of it, as a parent of a resource that changed, or as far as a run came.
    Partly,
    /// The group and all resources in it.
    Whole,
}

/// A resource whose record and current row disagree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Pending {
    pub(crate) since: Timestamp,
    pub(crate) subject: Subject,
    pub(crate) subscription: String,
}

/// What became of an envelope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Delivered {
    pub(crate) content: Id,
    pub(crate) group: Id,
    /// Refused by Port for itself; else accepted.
    pub(crate) refused: bool,
    /// The start of the run that delivered it.
    pub(crate) at: Timestamp,
}

/// Why a checkpoint cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unusable {
    #[error("there is none yet")]
    Missing,
    #[error("it is corrupt ({0})")]
    Corrupt(String),
    #[error("it is of format version {0}, and this program reads version {VERSION}")]
    Version(u64),
    #[error("it is from the future: {0} is later than it is in Azure")]
    Future(Timestamp),
    #[error("it is of another tenant")]
    Tenant,
    #[error("it is of another webhook")]
    Webhook,
    #[error("it is of another scope: {0}")]
    Scope(&'static str),
    /// More likely a misspelt variable than a wish.
    #[error("it was made with {0}, which is not set any more")]
    FilterGone(&'static str),
}

impl Checkpoint {
    pub(crate) fn new(identity: Identity) -> Self {
        Self {
            version: VERSION,
            identity,
            full_at: None,
            subscriptions: BTreeMap::new(),
            groups: HashMap::new(),
            pending: BTreeMap::new(),
            delivered: HashMap::new(),
        }
    }

    /// From the bytes of a file; it must be of this identity.
    pub(crate) fn parse(bytes: &[u8], identity: &Identity) -> Result<Self, Unusable> {
        let checkpoint = Self::parse_any(bytes)?;
        checkpoint.identity.matches(identity)?;
        Ok(checkpoint)
    }

    /// From the bytes of a file, whatever its identity.
    pub(crate) fn parse_any(bytes: &[u8]) -> Result<Self, Unusable> {
        #[derive(Deserialize)]
        struct AnyVersion {
            version: u64,
        }
        let corrupt = |error: serde_json::Error| Unusable::Corrupt(error.to_string());
        let AnyVersion { version } = serde_json::from_slice(bytes).map_err(corrupt)?;
        if version != u64::from(VERSION) {
            return Err(Unusable::Version(version));
        }
        serde_json::from_slice(bytes).map_err(corrupt)
    }

    /// Forgets every delivery, and what was read, as a full run does: what it posts is told apart by nothing, and what it does
    /// not come to is still to be read whole.
    pub(crate) fn begin_anew(&mut self) {
        self.delivered.clear();
        for mark in self.subscriptions.values_mut() {
            mark.unread = true;
        }
    }

    /// Whether it was made before now, as Azure's clock has it.
    pub(crate) fn check_time(&self, now: Timestamp) -> Result<(), Unusable> {
        let latest = self.subscriptions.values().map(|mark| mark.since).chain(self.full_at).max();
        match latest {
            Some(latest) if latest.duration_since(now) > FUTURE => Err(Unusable::Future(latest)),
            _ => Ok(()),
        }
    }

    /// The bytes of a file; `remembering` deliveries, or with that memory emptied.
    pub(crate) fn to_bytes(&self, remembering: bool) -> Result<Vec<u8>, serde_json::Error> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Emptied<'a> {
            version: u32,
            identity: &'a Identity,
            full_at: Option<Timestamp>,
            subscriptions: &'a BTreeMap<String, SubscriptionMark>,
            groups: &'a HashMap<Id, Membership>,
            pending: &'a BTreeMap<String, Pending>,
            delivered: [(); 0],
        }
        if remembering {
            return serde_json::to_vec(self);
        }
        let Self { version, identity, full_at, subscriptions, groups, pending, delivered: _ } = self;
        serde_json::to_vec(&Emptied {
            version: *version,
            identity,
            full_at: *full_at,
            subscriptions,
            groups,
            pending,
            delivered: [],
        })
    }

    /// Forgets deliveries that no run will read again, and the oldest of too many.
    ///
    /// A record is no newer than the run that delivered it, so once that run's start is out of every subscription's overlap,
    /// the record is.
    pub(crate) fn prune(&mut self, overlap: SignedDuration) {
        if let Some(oldest) = self.subscriptions.values().map(|mark| mark.since).min() {
            self.delivered.retain(|_, delivered| oldest.duration_since(delivered.at) <= overlap);
        }
        if self.delivered.len() > MOST_DELIVERED {
            let mut times: Vec<Timestamp> = self.delivered.values().map(|delivered| delivered.at).collect();
            times.sort_unstable_by(|a, b| b.cmp(a));
            if let Some(&cut) = times.get(MOST_DELIVERED - 1) {
                let mut at_cut = times.iter().take(MOST_DELIVERED).filter(|at| **at == cut).count();
                self.delivered.retain(|_, delivered| {
                    delivered.at > cut
                        || (delivered.at == cut && at_cut.checked_sub(1).map(|left| at_cut = left).is_some())
                });
            }
        }
    }
}

impl Identity {
    pub(crate) fn new(tenant: &str, webhook: &str, scope: &Scope) -> Self {
        let conditions = |conditions: &[TagCondition]| {
            conditions.iter().map(|one| (one.name.to_lowercase(), one.value.to_lowercase())).collect()
        };
        Self {
            tenant: tenant.to_lowercase(),
            webhook: Id::of_exactly(webhook),
            resource_types: scope.resource_types.iter().map(|one| one.as_str().to_owned()).collect(),
            include: conditions(&scope.tag_filters.include),
            exclude: conditions(&scope.tag_filters.exclude),
        }
    }

    /// Takes the webhook from a checkpoint's bytes, for a dry run that was told of none.
    pub(crate) fn adopt_webhook(&mut self, bytes: &[u8]) {
        #[derive(Deserialize)]
        struct Owner {
            identity: Webhook,
        }
        #[derive(Deserialize)]
        struct Webhook {
            webhook: Id,
        }
        if let Ok(owner) = serde_json::from_slice::<Owner>(bytes) {
            self.webhook = owner.identity.webhook;
        }
    }

    /// Whether a checkpoint of this identity can serve a run of that one.
    fn matches(&self, run: &Self) -> Result<(), Unusable> {
        const TYPES: &str = "RESOURCE_TYPES";
        const TAGS: &str = "RESOURCE_GROUP_TAG_FILTERS";
        let tags = |identity: &Self| (identity.include.clone(), identity.exclude.clone());
        let has_tags = |identity: &Self| !identity.include.is_empty() || !identity.exclude.is_empty();
        if self.tenant != run.tenant {
            Err(Unusable::Tenant)
        } else if self.webhook != run.webhook {
            Err(Unusable::Webhook)
        } else if !self.resource_types.is_empty() && run.resource_types.is_empty() {
            Err(Unusable::FilterGone(TYPES))
        } else if has_tags(self) && !has_tags(run) {
            Err(Unusable::FilterGone(TAGS))
        } else if self.resource_types != run.resource_types {
            Err(Unusable::Scope("RESOURCE_TYPES has changed"))
        } else if tags(self) != tags(run) {
            Err(Unusable::Scope("RESOURCE_GROUP_TAG_FILTERS has changed"))
        } else {
            Ok(())
        }
    }
}

/// A delivery as one line: shorter than an object, and there may be many.
impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(id, delivered) = self;
        let outcome = if delivered.refused { 'r' } else { 'a' };
        write!(f, "{id} {} {} {outcome} {}", delivered.content, delivered.group, delivered.at.as_millisecond())
    }
}

struct Line<'a>(&'a Id, &'a Delivered);

fn parse_line(line: &str) -> Option<(Id, Delivered)> {
    let mut words = line.split(' ');
    let id = words.next()?.parse().ok()?;
    let content = words.next()?.parse().ok()?;
    let group = words.next()?.parse().ok()?;
    let refused = match words.next()? {
        "a" => false,
        "r" => true,
        _ => return None,
    };
    let at = Timestamp::from_millisecond(words.next()?.parse().ok()?).ok()?;
    words.next().is_none().then_some((id, Delivered { content, group, refused, at }))
}

mod as_lines {
    use super::*;

    pub(super) fn serialize<S: Serializer>(map: &HashMap<Id, Delivered>, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(map.iter().map(|(id, delivered)| Line(id, delivered).to_string()))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<HashMap<Id, Delivered>, D::Error> {
        let lines: Vec<std::borrow::Cow<'de, str>> = Vec::deserialize(deserializer)?;
        lines.iter().map(|line| parse_line(line).ok_or_else(|| D::Error::custom("not a delivery"))).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::TagFilters;

    fn scope(types: &str, tag: Option<(&str, &str)>) -> Scope {
        let condition = |(name, value): (&str, &str)| TagCondition { name: name.into(), value: value.into() };
        Scope {
            resource_types: types.split_terminator(',').map(|name| name.parse().unwrap()).collect(),
            tag_filters: TagFilters { include: tag.map(condition).into_iter().collect(), exclude: vec![] },
            change_actor: false,
        }
    }

    fn identity(scope: &Scope) -> Identity {
        Identity::new("tenant", "https://ingest.example/key", scope)
    }

    #[test]
    fn tag_filters_that_differ_in_case_only_are_the_same_scope() {
        let one = identity(&scope("", Some(("Environment", "Production"))));
        assert_eq!(one.matches(&identity(&scope("", Some(("environment", "PRODUCTION"))))), Ok(()));
    }

    #[test]
    fn a_filter_that_changed_is_another_scope_and_one_that_is_gone_is_suspect() {
        let was = identity(&scope("a/b", Some(("env", "prod"))));
        let now = |types, tag| was.matches(&identity(&scope(types, tag)));
        assert!(matches!(now("a/c", Some(("env", "prod"))), Err(Unusable::Scope(_))));
        assert!(matches!(now("a/b", Some(("env", "test"))), Err(Unusable::Scope(_))));
        assert_eq!(now("", Some(("env", "prod"))), Err(Unusable::FilterGone("RESOURCE_TYPES")));
        assert_eq!(now("a/b", None), Err(Unusable::FilterGone("RESOURCE_GROUP_TAG_FILTERS")));
        let bare = identity(&scope("", None));
        assert!(matches!(bare.matches(&was), Err(Unusable::Scope(_))), "a filter that is new is a wish");
    }

    #[test]
    fn a_checkpoint_of_another_tenant_or_webhook_is_not_used() {
        let scope = scope("", None);
        let was = identity(&scope);
        assert_eq!(was.matches(&Identity::new("other", "https://ingest.example/key", &scope)), Err(Unusable::Tenant));
        assert_eq!(was.matches(&Identity::new("tenant", "https://ingest.example/Key", &scope)), Err(Unusable::Webhook));
    }

    #[test]
    fn a_dry_run_that_was_told_of_no_webhook_goes_by_that_of_the_checkpoint() {
        let scope = scope("", None);
        let bytes = Checkpoint::new(identity(&scope)).to_bytes(true).unwrap();
        let mut told_of_none = Identity::new("tenant", "", &scope);
        assert!(Checkpoint::parse(&bytes, &told_of_none).is_err());
        told_of_none.adopt_webhook(&bytes);
        assert!(Checkpoint::parse(&bytes, &told_of_none).is_ok());
    }

    #[test]
    fn what_is_no_checkpoint_is_called_corrupt_and_a_later_version_is_named() {
        let identity = identity(&scope("", None));
        for bytes in [&b""[..], b"{", b"[]", b"{\"version\":1}", b"\xff", b"{\"version\":\"1\"}"] {
            assert!(matches!(Checkpoint::parse(bytes, &identity), Err(Unusable::Corrupt(_))), "{bytes:?}");
        }
        assert_eq!(Checkpoint::parse(b"{\"version\":2,\"more\":[]}", &identity), Err(Unusable::Version(2)));
    }

    #[test]
    fn a_checkpoint_from_the_future_is_not_used() {
        let mut checkpoint = Checkpoint::new(identity(&scope("", None)));
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        checkpoint.full_at = Some(now + SignedDuration::from_mins(5));
        assert_eq!(checkpoint.check_time(now), Ok(()));
        checkpoint.full_at = Some(now + SignedDuration::from_mins(15));
        assert!(matches!(checkpoint.check_time(now), Err(Unusable::Future(_))));
    }

    fn time() -> impl Strategy<Value = Timestamp> {
        (0..2_000_000_000_000_i64).prop_map(|ms| Timestamp::from_millisecond(ms).unwrap())
    }

    fn id() -> impl Strategy<Value = Id> {
        "[a-z]{1,8}".prop_map(|text| Id::of(&text))
    }

    prop_compose! {
        fn delivered()(content in "[a-z]{0,4}", group in id(), refused in any::<bool>(), at in time()) -> Delivered {
            Delivered { content: Id::hash(&[content.as_bytes()]), group, refused, at }
        }
    }

    prop_compose! {
        fn mark()(
            since in time(), shown in prop::option::of(id()), refused: bool, unread: bool, unknown: bool
        ) -> SubscriptionMark {
            SubscriptionMark { since, shown, refused, unread, unknown }
        }
    }

    prop_compose! {
        fn checkpoint()(
            full_at in prop::option::of(time()),
            subscriptions in prop::collection::btree_map("[a-f0-9-]{1,36}", mark(), 0..4),
            groups in prop::collection::hash_map(id(), prop::sample::select(vec![Membership::Partly, Membership::Whole]), 0..4),
            pending in prop::collection::btree_map(any::<String>(), time(), 0..3),
            delivered in prop::collection::hash_map(id(), delivered(), 0..20),
        ) -> Checkpoint {
            let mut checkpoint = Checkpoint::new(identity(&scope("a/b", None)));
            checkpoint.full_at = full_at;
            checkpoint.subscriptions =
                subscriptions;
            checkpoint.groups = groups;
            checkpoint.pending = pending
                .into_iter()
                .map(|(id, since)| (id, Pending { since, subject: Subject::Resource, subscription: "s".into() }))
                .collect();
            checkpoint.delivered = delivered;
            checkpoint
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_what_is_read(checkpoint in checkpoint()) {
            let bytes = checkpoint.to_bytes(true).unwrap();
            prop_assert_eq!(Checkpoint::parse(&bytes, &checkpoint.identity).unwrap(), checkpoint);
        }

        #[test]
        fn emptying_the_memory_changes_nothing_else(checkpoint in checkpoint()) {
            let bytes = checkpoint.to_bytes(false).unwrap();
            let emptied = Checkpoint { delivered: HashMap::new(), ..checkpoint };
            prop_assert_eq!(Checkpoint::parse(&bytes, &emptied.identity).unwrap(), emptied);
        }

        #[test]
        fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), cut in 0..400_usize, checkpoint in checkpoint()) {
            _ = Checkpoint::parse(&bytes, &checkpoint.identity);
            let mut torn = checkpoint.to_bytes(true).unwrap();
            torn.truncate(cut);
            _ = Checkpoint::parse(&torn, &checkpoint.identity);
        }

        #[test]
        fn pruning_forgets_nothing_that_may_be_read_again(mut checkpoint in checkpoint(), minutes in 0..1440_i64) {
            let overlap = SignedDuration::from_mins(minutes);
            let before = checkpoint.clone();
            checkpoint.prune(overlap);
            for (id, delivered) in &before.delivered {
                let read_again = before.subscriptions.values().any(|mark| delivered.at >= mark.since - overlap);
                prop_assert!(!read_again || checkpoint.delivered.contains_key(id));
            }
        }
    }

    #[test]
    fn only_the_newest_deliveries_are_kept() {
        let mut checkpoint = Checkpoint::new(identity(&scope("", None)));
        let at = |n: usize| Timestamp::from_millisecond(n.try_into().unwrap()).unwrap();
        for n in 0..MOST_DELIVERED + 10 {
            let delivered = Delivered { content: Id::hash(&[]), group: Id::of("g"), refused: false, at: at(n) };
            checkpoint.delivered.insert(Id::of(&n.to_string()), delivered);
        }
        checkpoint.prune(SignedDuration::from_hours(1));
        assert_eq!(checkpoint.delivered.len(), MOST_DELIVERED);
        assert!(checkpoint.delivered.values().all(|delivered| delivered.at >= at(10)));
    }
}
