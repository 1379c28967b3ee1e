//! What a sandbox can be told: how large an estate, how late its records, how slow and how strict its services.
mod api;
mod entra;

use std::ops::{Range, RangeInclusive};
use std::time::Duration;

use crate::clock::Clock;
pub use api::*;
pub use entra::*;

pub const TENANT: &str = "7d0f1c0a-3a52-4b0e-9a6c-5b1de0c0ffee";
pub const CLIENT: &str = "c11e47a0-0000-4000-8000-5a4db0c0ffee";
pub const SECRET: &str = "s4ndb0x~Secret.Value-That_Must-Not-Show";
/// What a job of GitHub's, a job of Azure Pipelines, and an app in App Service have to ask for tokens with.
pub const GITHUB_TOKEN: &str = "s4ndb0xGithubToken_Must-Not-Show";
pub const PIPELINE_TOKEN: &str = "s4ndb0xPipelineToken_Must-Not-Show";
pub const IDENTITY_HEADER: &str = "s4ndb0xIdentityHeader_Must-Not-Show";
pub const WEBHOOK_KEY: &str = "wbhk5andB0xKey";

/// The guide's blueprints, and the mapping that the project ships for one envelope a body.
pub(crate) const BLUEPRINTS: &str = include_str!("../../../examples/port/blueprints.json");
pub const MAPPING: &str = include_str!("../../../examples/port/mapping.json");
/// The same mapping for a body of many envelopes.
pub const MAPPING_BATCH: &str = include_str!("../../../examples/port/mapping-batch.json");

#[derive(Clone, Debug)]
pub struct Settings {
    pub seed: u64,
    pub clock: Clock,
    pub estate: EstateSize,
    pub lags: Lags,
    /// Promises that the estate will not change, so that an answer can be kept and served again from memory.
    pub frozen: bool,
    pub azure: AzureSettings,
    pub directory: DirectorySize,
    pub entra: EntraSettings,
    pub port: PortSettings,
    pub net: NetSettings,
}

#[derive(Clone, Debug)]
pub struct EstateSize {
    pub subscriptions: usize,
    pub groups: usize,
    pub resources: usize,
}

/// How long after a change its record, and the current row, come to show it; drawn anew for every change.
#[derive(Clone, Debug)]
pub struct Lags {
    pub record: RangeInclusive<Duration>,
    pub row: RangeInclusive<Duration>,
}

#[derive(Clone, Debug)]
pub struct AzureSettings {
    pub token_lifetime: Duration,
    /// A client assertion that sign-in takes instead of the secret.
    pub client_assertion: Option<String>,
    pub secret_expired: bool,
    /// Subscriptions on a page of the listing.
    pub listing_page: usize,
    pub quota: Option<QuotaSettings>,
    /// Rows that Resource Graph puts on a page at the most, however many are asked for.
    pub page_rows: usize,
    /// A query that joins or unites more tables than this with its first is refused.
    pub remote_tables: usize,
    /// A Resource Graph answer larger than this is refused.
    pub payload_limit: usize,
    pub gzip: bool,
    /// Announce that more subscriptions were in scope than Resource Graph looks at.
    pub subscription_limit_hit: bool,
    pub query_latency: Duration,
    /// Of sign-in and of the subscription listing.
    pub other_latency: Duration,
}

/// A fixed window that opens with the first query after the last one closed.
#[derive(Clone, Copy, Debug)]
pub struct QuotaSettings {
    pub queries: u32,
    pub window: Duration,
}

#[derive(Clone, Debug)]
pub struct PortSettings {
    /// JSON, as pasted into Port's webhook page.
    pub mapping: String,
    /// JSON array of blueprints.
    pub blueprints: String,
    /// Count what arrives, and apply none of it.
    pub sink: bool,
    /// Keep every accepted body, for tests that look at envelopes.
    pub record: bool,
    pub security: Option<Security>,
    /// jq over `{body, headers, queryParams}`; a request with a value seen before is dropped.
    pub identifier_path: Option<String>,
    pub dangling: Dangling,
    /// An entity that is deleted without its dependents stays in their relations.
    pub keeps_deleted: bool,
    pub rate_limit: Option<RateLimit>,
    pub body_limit: usize,
    pub post_latency: Duration,
    pub api: ApiSettings,
}

/// How Port verifies a body: an HMAC-SHA256 in hexadecimal, behind a prefix, in a header.
#[derive(Clone, Debug)]
pub struct Security {
    pub secret: String,
    pub header: String,
    pub prefix: String,
}

/// What happens to an entity that relates to one that is not there. Port's webhook page does not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dangling {
    /// The relation is kept, and noted in the audit log.
    Keep,
    /// The entity is refused.
    Refuse,
    /// A bare entity is made of what it relates to.
    Create,
}

/// Requests that Port takes in a period.
#[derive(Clone, Copy, Debug)]
pub struct RateLimit {
    pub requests: u32,
    pub period: Duration,
}

#[derive(Clone, Debug)]
pub struct NetSettings {
    /// Ports of the sign-in host, Resource Manager, the webhook host, the host of Port's API and Microsoft Graph; 0 for any that
    /// is free.
    pub ports: [u16; 5],
    pub http2: bool,
    /// Requests that a connection of HTTP/2 takes at once; all others wait.
    pub streams: u32,
    /// The years in which the certificate of the hosts is valid.
    pub certificate_years: Range<i32>,
    /// Serve from threads of the sandbox's own, and not from the caller's runtime.
    pub own_runtime: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            seed: 1,
            clock: Clock::real(),
            estate: EstateSize { subscriptions: 3, groups: 12, resources: 120 },
            lags: Lags { record: Duration::ZERO..=Duration::ZERO, row: Duration::ZERO..=Duration::ZERO },
            frozen: false,
            azure: AzureSettings {
                token_lifetime: Duration::from_secs(3600),
                client_assertion: None,
                secret_expired: false,
                listing_page: 100,
                quota: Some(QuotaSettings { queries: 15, window: Duration::from_secs(5) }),
                page_rows: 1000,
                remote_tables: 3,
                payload_limit: 16 * 1024 * 1024,
                gzip: true,
                subscription_limit_hit: false,
                query_latency: Duration::ZERO,
                other_latency: Duration::ZERO,
            },
            directory: DirectorySize::default(),
            entra: EntraSettings::default(),
            port: PortSettings {
                mapping: MAPPING.to_owned(),
                blueprints: BLUEPRINTS.to_owned(),
                sink: false,
                record: false,
                security: None,
                identifier_path: None,
                dangling: Dangling::Keep,
                keeps_deleted: false,
                rate_limit: None,
                body_limit: 512 * 1024,
                post_latency: Duration::ZERO,
                api: ApiSettings::default(),
            },
            net: NetSettings {
                ports: [0; 5],
                http2: true,
                streams: 200,
                certificate_years: 1975..4096,
                own_runtime: false,
            },
        }
    }
}
