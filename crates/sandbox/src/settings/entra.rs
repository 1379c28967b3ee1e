//! How Microsoft Graph behaves. Where a matter is unproven or reported both ways, a setting says which way it goes.
use std::ops::RangeInclusive;
use std::time::Duration;

use serde_json::Value as Json;

use super::PortSettings;

/// The blueprints of Port's own guide, and the mappings that the project ships.
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
/// Those that delta queries and reads of members need at the least.
pub const LEAST_ROLES: [&str; 3] = ["User.Read.All", "GroupMember.Read.All", "Application.Read.All"];

/// How much there is at the start.
#[derive(Clone, Debug)]
pub struct DirectorySize {
    pub users: usize,
    pub groups: usize,
    /// In all groups together, more or less.
    pub memberships: usize,
    pub applications: usize,
    pub service_principals: usize,
    /// The members of the first groups.
    pub large: Vec<usize>,
}

impl DirectorySize {
    pub fn none() -> Self {
        Self { users: 0, groups: 0, memberships: 0, applications: 0, service_principals: 0, large: Vec::new() }
    }

    /// As large as the largest tenants that are reported.
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
    /// `None` where the token has no `roles` at all. They are in the token: a change takes a new one.
    pub roles: Option<Vec<String>>,
    /// On the sandbox's clock.
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
    /// `getByIds` and `memberOf` take `Directory.Read.All`.
    pub directory_role_needed: bool,
    /// Hidden memberships are refused without `Member.Read.Hidden`, and not merely left out.
    pub hidden_refused: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeltaSettings {
    /// There is none in external tenants and those of Azure AD B2C.
    pub available: bool,
    /// Objects on a page, a group once for each slice of its members.
    pub page: usize,
    /// Members of a group in one place.
    pub slice: RangeInclusive<usize>,
    /// One page of so many, which are two at the least, is empty, and says where the next is.
    pub empty_page_in: Option<usize>,
    pub shuffled: bool,
    pub repeats: Repeats,
    /// So many changes before the link's own come once more.
    pub replayed: u32,
    /// A first round shows what is deleted, as removed.
    pub first_round_removed: bool,
    /// What is restored comes again.
    pub shows_restored: bool,
    /// `$top`, `$expand` and `$orderby` are refused, and not ignored.
    pub refuses_options: bool,
    /// `createdDateTime` of service principals can be selected.
    pub service_principal_created: bool,
    pub link_lifetime: Duration,
    /// The link of each round lives as long as the first, and not only until its own end.
    pub link_renewed: bool,
    /// What a link is answered with that is too old, or from before a reset.
    pub stale: Stale,
    /// Of links to the next page, here and in lists.
    pub page_link_lifetime: Option<Duration>,
}

/// What a round tells of an object that changed more than once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeats {
    /// Its last state.
    Folded,
    /// All its states, each once, from old to new. In a first round some objects come twice, with an older state if they have one.
    OldThenNew,
    /// The same in any order, so that two states of one object contradict.
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
    /// The most on a page, however many are asked for.
    pub page: usize,
    /// What a `$top` above 999 comes to.
    pub above_most: AboveMost,
    /// Members that `$expand` shows, silently.
    pub expanded: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AboveMost {
    Capped,
    /// As if there were none.
    Ignored,
    Refused,
}

#[derive(Clone, Debug)]
pub struct SignInSettings {
    /// Of ten requests so many fail for want of a licence.
    pub unlicensed: u32,
    /// The most on a page; asking for more is an error.
    pub page: usize,
    /// Users that are gone are in a filtered answer.
    pub shows_vanished: bool,
    /// Who never signed in did so in the year 1, and not at no time.
    pub never_is_year_one: bool,
    /// Requests in ten seconds.
    pub rate: Option<u32>,
}

/// How far what an endpoint shows is behind; drawn anew for every request, and for every round of a delta.
#[derive(Clone, Debug)]
pub struct Replicas {
    pub delta: RangeInclusive<Duration>,
    /// Of lists.
    pub list: RangeInclusive<Duration>,
    /// Of `/members` and `memberOf`.
    pub members: RangeInclusive<Duration>,
    /// Of single objects, `getByIds` and `deletedItems`.
    pub object: RangeInclusive<Duration>,
    /// Of what `ConsistencyLevel: eventual` is answered from.
    pub index: RangeInclusive<Duration>,
}

/// Resource units: a bucket that fills again over the period.
#[derive(Clone, Copy, Debug)]
pub struct UnitSettings {
    /// `None`: as the size of the tenant has it.
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
    /// Port has the blueprints of Entra ID as well, and its webhook takes `{"type": "user", "operation": "upsert", "data": {…}}`
    /// and the like for each kind. A delete takes dependents along, or does not.
    pub fn add_entra(&mut self, delete_dependents: bool) {
        let is_batch = self.mapping == super::MAPPING_BATCH;
        let mapping = if is_batch { MAPPING_BATCH } else { MAPPING };
        let dependents = format!("\"deleteDependents\": {delete_dependents}");
        self.mapping = both(&self.mapping, &mapping.replace("\"deleteDependents\": false", &dependents));
        self.blueprints = both(&self.blueprints, BLUEPRINTS);
    }
}

/// Two lists as one. What is not JSON is left for Port to refuse.
fn both(own: &str, more: &str) -> String {
    let list = serde_json::from_str::<Vec<Json>>;
    match (list(own), list(more)) {
        (Ok(own), Ok(more)) => Json::from([own, more].concat()).to_string(),
        _ => own.to_owned(),
    }
}
