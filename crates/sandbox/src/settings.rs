//! The settings of a sandbox: the size of the estate, the lag of records, the speed and strictness of services.
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
/// The tokens with which a GitHub job, an Azure Pipelines job and an App Service app request their tokens.
pub const GITHUB_TOKEN: &str = "s4ndb0xGithubToken_Must-Not-Show";
pub const PIPELINE_TOKEN: &str = "s4ndb0xPipelineToken_Must-Not-Show";
pub const IDENTITY_HEADER: &str = "s4ndb0xIdentityHeader_Must-Not-Show";
pub const WEBHOOK_KEY: &str = "wbhk5andB0xKey";

/// The guide's blueprints, and the shipped mapping for one envelope per body.
pub(crate) const BLUEPRINTS: &str = include_str!("../../../examples/port/blueprints.json");
pub const MAPPING: &str = include_str!("../../../examples/port/mapping.json");
/// The same mapping for several envelopes per body.
pub const MAPPING_BATCH: &str = include_str!("../../../examples/port/mapping-batch.json");

#[derive(Clone, Debug)]
pub struct Settings {
    pub seed: u64,
    pub clock: Clock,
    pub estate: EstateSize,
    pub lags: Lags,
    /// Promises that the estate will not change, so that answers can be cached.
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

/// How long after a change its record and the current row show it; random for each change.
#[derive(Clone, Debug)]
pub struct Lags {
    pub record: RangeInclusive<Duration>,
    pub row: RangeInclusive<Duration>,
}

#[derive(Clone, Debug)]
pub struct AzureSettings {
    pub token_lifetime: Duration,
    /// A client assertion that sign-in accepts instead of the secret.
    pub client_assertion: Option<String>,
    pub secret_expired: bool,
    /// Subscriptions per page of the list.
    pub listing_page: usize,
    pub quota: Option<QuotaSettings>,
    /// Maximum rows per page of Resource Graph, whatever the request asks for.
    pub page_rows: usize,
    /// Rejects queries that join or union more tables than this with the first.
    pub remote_tables: usize,
    /// Rejects Resource Graph answers larger than this.
    pub payload_limit: usize,
    pub gzip: bool,
    /// Announces that more subscriptions were in scope than Resource Graph covers.
    pub subscription_limit_hit: bool,
    pub query_latency: Duration,
    /// For sign-in and the list of subscriptions.
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
    /// Counts posts without applying them.
    pub sink: bool,
    /// Keeps every accepted body, for tests that inspect envelopes.
    pub record: bool,
    pub security: Option<Security>,
    /// jq over `{body, headers, queryParams}`; requests with a value seen before are dropped.
    pub identifier_path: Option<String>,
    pub dangling: Dangling,
    /// An entity deleted without its dependents stays in their relations.
    pub keeps_deleted: bool,
    pub rate_limit: Option<RateLimit>,
    pub body_limit: usize,
    pub post_latency: Duration,
    pub api: ApiSettings,
}

/// How Port verifies a body: an HMAC-SHA256 in hexadecimal, with a prefix, in a header.
#[derive(Clone, Debug)]
pub struct Security {
    pub secret: String,
    pub header: String,
    pub prefix: String,
}

/// What to do with an entity that relates to a missing one. Port's webhook page does not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dangling {
    /// Keeps the relation and records it in the audit log.
    Keep,
    /// Rejects the entity.
    Refuse,
    /// Creates the related entity, empty.
    Create,
}

/// Requests that Port accepts in a period.
#[derive(Clone, Copy, Debug)]
pub struct RateLimit {
    pub requests: u32,
    pub period: Duration,
}

#[derive(Clone, Debug)]
pub struct NetSettings {
    /// Ports of the sign-in host, Resource Manager, the webhook host, Port's API host and Microsoft Graph; 0 for any
    /// free port.
    pub ports: [u16; 5],
    pub http2: bool,
    /// Concurrent requests on an HTTP/2 connection; others wait.
    pub streams: u32,
    /// The years in which the hosts' certificate is valid.
    pub certificate_years: Range<i32>,
    /// Serves from the sandbox's own threads instead of the caller's runtime.
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
