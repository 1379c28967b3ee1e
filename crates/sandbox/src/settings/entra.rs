//! How Microsoft Graph behaves. Where behaviour is unverified or reports conflict, a setting decides.
use std::ops::RangeInclusive;
use std::time::Duration;

use serde_json::Value as Json;

use super::PortSettings;

/// The blueprints from Port's own guide, and the shipped mappings.
const BLUEPRINTS: &str = include_str!("../../../../examples/port/entra/blueprints.json");
const MAPPING: &str = include_str!("../../../../examples/port/entra/mapping.json");
const MAPPING_BATCH: &str = include_str!("../../../../examples/port/entra/mapping-batch.json");

/// The roles that Port's own guide asks for, and those for what it leaves out.
pub const ALL_ROLES: [&str; 6] = [
    "User.Read.All",
    "Group.Read.All",
    "Application.Read.All",
    "Directory.Read.All",
    "AuditLog.Read.All",
    "Member.Read.Hidden",
];
/// The minimum roles for delta queries and reads of members.
pub const LEAST_ROLES: [&str; 3] = ["User.Read.All", "GroupMember.Read.All", "Application.Read.All"];

/// The initial number of objects.
#[derive(Clone, Debug)]
pub struct DirectorySize {
    pub users: usize,
    pub groups: usize,
    /// In all groups together, approximately.
    pub memberships: usize,
    pub applications: usize,
    pub service_principals: usize,
    /// The number of members of the first groups.
    pub large: Vec<usize>,
}

impl DirectorySize {
    pub fn none() -> Self {
        Self { users: 0, groups: 0, memberships: 0, applications: 0, service_principals: 0, large: Vec::new() }
    }

    /// As large as the largest tenants reported.
    pub fn largest() -> Self {
        Self {
            users: 500_000,
            groups: 50_000,
            memberships: 2_000_000,
            applications: 2_000,
            service_principals: 5_000,
            large: vec![100_000, 13_500],
        }
    }
}

impl Default for DirectorySize {
    fn default() -> Self {
        Self { users: 60, groups: 12, memberships: 150, applications: 8, service_principals: 14, large: Vec::new() }
    }
}

#[derive(Clone, Debug)]
pub struct EntraSettings {
    /// `None` for a token without `roles`. They are part of the token, so a change needs a new one.
    pub roles: Option<Vec<String>>,
    /// By the sandbox's clock.
    pub token_lifetime: Duration,
    pub latency: Duration,
    pub rights: RightsSettings,
    pub delta: DeltaSettings,
    pub lists: ListSettings,
    pub sign_ins: SignInSettings,
    pub replicas: Replicas,
    pub units: Option<UnitSettings>,
}

#[derive(Clone, Debug)]
pub struct RightsSettings {
    /// `getByIds` and `memberOf` need `Directory.Read.All`.
    pub directory_role_needed: bool,
    /// Without `Member.Read.Hidden`, rejects hidden memberships instead of leaving them out.
    pub hidden_refused: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeltaSettings {
    /// Not available in external tenants and those of Azure AD B2C.
    pub available: bool,
    /// Objects per page; a group counts once for each slice of its members.
    pub page: usize,
    /// Members of a group in one slice.
    pub slice: RangeInclusive<usize>,
    /// One page in this many, at least two, is empty and links to the next.
    pub empty_page_in: Option<usize>,
    pub shuffled: bool,
    pub repeats: Repeats,
    /// Repeats this many changes from before the link.
    pub replayed: u32,
    /// A first round includes deleted objects, as removed.
    pub first_round_removed: bool,
    /// Restored objects are returned again.
    pub shows_restored: bool,
    /// Rejects `$top`, `$expand` and `$orderby` instead of ignoring them.
    pub refuses_options: bool,
    /// Whether `createdDateTime` of service principals can be selected.
    pub service_principal_created: bool,
    pub link_lifetime: Duration,
    /// The link of each round lives as long as the first one, instead of expiring with it.
    pub link_renewed: bool,
    /// The answer to a link that is too old, or from before a reset.
    pub stale: Stale,
    /// For links to the next page, here and in lists.
    pub page_link_lifetime: Option<Duration>,
}

/// What a round returns for an object that changed more than once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeats {
    /// Its final state.
    Folded,
    /// All its states, each once, from old to new. In a first round some objects come twice, with an older state if
    /// they have one.
    OldThenNew,
    /// The same in any order, so that states of one object conflict.
    Conflicting,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stale {
    /// 400 `syncStateNotFound`.
    NotFound,
    /// 410 with a `Location`.
    Gone,
    /// 410 `resyncRequired` with a `Location`.
    ResyncRequired,
}

#[derive(Clone, Debug)]
pub struct ListSettings {
    /// Maximum page size, whatever the request asks for.
    pub page: usize,
    /// What happens with a `$top` above 999.
    pub above_most: AboveMost,
    /// Members that `$expand` silently limits the list to.
    pub expanded: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AboveMost {
    Capped,
    /// As if there were no `$top`.
    Ignored,
    Refused,
}

#[derive(Clone, Debug)]
pub struct SignInSettings {
    /// This many of ten requests fail for lack of a licence.
    pub unlicensed: u32,
    /// Maximum page size; asking for more is an error.
    pub page: usize,
    /// Filtered answers include deleted users.
    pub shows_vanished: bool,
    /// Users who never signed in have a date in the year 1 instead of none.
    pub never_is_year_one: bool,
    /// Requests per ten seconds.
    pub rate: Option<u32>,
}

/// How far each endpoint lags behind; random for every request, and for every round of a delta.
#[derive(Clone, Debug)]
pub struct Replicas {
    pub delta: RangeInclusive<Duration>,
    /// For lists.
    pub list: RangeInclusive<Duration>,
    /// For `/members` and `memberOf`.
    pub members: RangeInclusive<Duration>,
    /// For single objects, `getByIds` and `deletedItems`.
    pub object: RangeInclusive<Duration>,
    /// For answers to `ConsistencyLevel: eventual`.
    pub index: RangeInclusive<Duration>,
}

/// Resource units: a bucket that refills over the period.
#[derive(Clone, Copy, Debug)]
pub struct UnitSettings {
    /// `None` to depend on the size of the tenant.
    pub units: Option<u32>,
    pub period: Duration,
    pub retry_after: RetryAfter,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryAfter {
    Seconds,
    Absent,
    Empty,
}

pub const NO_LAG: RangeInclusive<Duration> = Duration::ZERO..=Duration::ZERO;

impl Default for EntraSettings {
    fn default() -> Self {
        Self {
            roles: Some(ALL_ROLES.map(str::to_owned).into()),
            token_lifetime: Duration::from_secs(3600),
            latency: Duration::ZERO,
            rights: RightsSettings { directory_role_needed: true, hidden_refused: false },
            delta: DeltaSettings {
                available: true,
                page: 200,
                slice: 100..=1000,
                empty_page_in: None,
                shuffled: true,
                repeats: Repeats::Folded,
                replayed: 0,
                first_round_removed: false,
                shows_restored: true,
                refuses_options: false,
                service_principal_created: false,
                link_lifetime: Duration::from_secs(7 * 24 * 3600),
                link_renewed: true,
                stale: Stale::NotFound,
                page_link_lifetime: None,
            },
            lists: ListSettings { page: 999, above_most: AboveMost::Capped, expanded: 20 },
            sign_ins: SignInSettings {
                unlicensed: 0,
                page: 500,
                shows_vanished: true,
                never_is_year_one: false,
                rate: Some(5),
            },
            replicas: Replicas { delta: NO_LAG, list: NO_LAG, members: NO_LAG, object: NO_LAG, index: NO_LAG },
            units: Some(UnitSettings {
                units: None,
                period: Duration::from_secs(10),
                retry_after: RetryAfter::Seconds,
            }),
        }
    }
}

impl PortSettings {
    /// Adds Entra ID's blueprints to Port, and mapping entries to its webhook for
    /// `{"type": "user", "operation": "upsert", "data": {…}}` and the like for each kind. `delete_dependents`: whether
    /// a delete includes dependents.
    pub fn add_entra(&mut self, delete_dependents: bool) {
        let is_batch = self.mapping == super::MAPPING_BATCH;
        let mapping = if is_batch { MAPPING_BATCH } else { MAPPING };
        let dependents = format!("\"deleteDependents\": {delete_dependents}");
        self.mapping = both(&self.mapping, &mapping.replace("\"deleteDependents\": false", &dependents));
        self.blueprints = both(&self.blueprints, BLUEPRINTS);
    }
}

/// Concatenates two lists. Invalid JSON is left for Port to reject.
fn both(own: &str, more: &str) -> String {
    let list = serde_json::from_str::<Vec<Json>>;
    match (list(own), list(more)) {
        (Ok(own), Ok(more)) => Json::from([own, more].concat()).to_string(),
        _ => own.to_owned(),
    }
}
