//! How Port's own API behaves. Where the documentation is silent, a setting decides.
use std::time::Duration;

pub const PORT_CLIENT_ID: &str = "s4ndb0xPortClient";
pub const PORT_CLIENT_SECRET: &str = "s4ndb0xPortSecret_Must-Not-Show";

#[derive(Clone, Debug)]
pub struct ApiSettings {
    /// Client ids that may sign in, all with the same secret.
    pub clients: Vec<String>,
    pub token_lifetime: Duration,
    /// The status for wrong credentials: 401 or 404.
    pub wrong_credentials: u16,
    /// The rights of the credentials.
    pub role: Role,
    pub latency: Duration,
    pub body_limit: usize,
    pub rates: Option<Rates>,
    pub audit_lag: Duration,
    pub blueprints: BlueprintSettings,
    pub webhooks: WebhookSettings,
    pub entities: EntitySettings,
    pub reading: ReadingSettings,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Admin,
    /// May not read webhooks, and may read the audit log only by entity.
    Member,
}

#[derive(Clone, Debug)]
pub struct BlueprintSettings {
    /// The status for a second POST of a blueprint or webhook: 409 or 422.
    pub duplicate: u16,
    /// PATCH merges into `schema` and `relations` instead of replacing them.
    pub patch_is_deep: bool,
}

#[derive(Clone, Debug)]
pub struct WebhookSettings {
    /// Whether the sandbox starts with a webhook. Only read at the start.
    pub given: bool,
    /// The status for a POST that creates one: 200 or 201.
    pub created: u16,
    /// Whether answers contain the secret.
    pub shows_secret: bool,
    /// PATCH merges into `security` instead of replacing it.
    pub patch_is_deep: bool,
    /// The delay until a post is applied.
    pub lag: Duration,
}

#[derive(Clone, Debug)]
pub struct EntitySettings {
    /// Rejects properties that the blueprint lacks instead of silently dropping them.
    pub refuses_unknown: bool,
    /// Checks the formats of properties.
    pub checks_formats: bool,
    /// Checks that required properties and relations are present.
    pub checks_required: bool,
    /// Accepts a number as identifier and null as title.
    pub coerces: bool,
    /// When merging, removes null properties instead of keeping the old value.
    pub null_removes: bool,
    /// An entity keeps the `$datasource` of its first author.
    pub first_source_stays: bool,
    pub blocking: Blocking,
    /// The status for a delete that is blocked by dependents: 409 or 422.
    pub blocked: u16,
    pub bulk: BulkSettings,
}

/// Which dependents block a delete that keeps dependents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blocking {
    All,
    Required,
}

#[derive(Clone, Debug)]
pub struct BulkSettings {
    /// One entity that violates the request's schema fails all of them.
    pub illegal_fails_all: bool,
    /// Relations to earlier entities in the same request are resolved.
    pub sees_itself: bool,
    /// Returns the results in reverse order.
    pub reversed: bool,
    /// Entities with this in their identifier are not written and are in neither list.
    pub forgets: Option<String>,
    /// Entities with this identifier are not written; their error has this status.
    pub fails: Vec<(String, u16)>,
    /// A bulk delete keeps entities with this in their identifier and omits them from `deletedEntities`.
    pub spares: Option<String>,
    /// A bulk delete answers 404 if none of the entities exist.
    pub absent_is_404: bool,
}

#[derive(Clone, Debug)]
pub struct ReadingSettings {
    /// Pages use offsets instead of identifiers, so that changes shift them.
    pub pages_by_offset: bool,
    /// Reads without pages answer 504 above this many entities.
    pub unpaged_limit: usize,
    /// Reads without pages answer 410.
    pub unpaged_gone: bool,
    /// Entities only have the documented fields: no blueprint, authors or times.
    pub published_alone: bool,
    /// Blueprints whose entities cannot be read in a search over all blueprints.
    pub failed_blueprints: Vec<String>,
}

/// The rate limits of an organization, by class of route.
#[derive(Clone, Debug)]
pub struct Rates {
    pub period: Duration,
    pub unauthenticated: Rate,
    pub entities: Rate,
    pub blueprints: Rate,
    pub search: Rate,
    pub upsert: Rate,
    pub bulk: Rate,
    pub other: Rate,
    pub window: Window,
    pub reset: Reset,
    /// Whether a 429 has a `Retry-After`.
    pub retry_after: bool,
}

#[derive(Clone, Copy, Debug)]
pub struct Rate {
    /// Per period.
    pub requests: u32,
    /// Maximum burst.
    pub burst: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    /// A burst, then refilled over the period.
    Sliding,
    /// A fixed number in a period that begins with the first request; the burst is ignored.
    Fixed,
}

/// The form of `x-ratelimit-reset`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reset {
    /// Seconds since the epoch.
    Epoch,
    /// Seconds from now.
    Seconds,
}

impl Default for Rates {
    /// The published limits.
    fn default() -> Self {
        let rate = |requests, burst| Rate { requests, burst };
        Self {
            period: Duration::from_secs(300),
            unauthenticated: rate(100, 10),
            entities: rate(35_000, 3_500),
            blueprints: rate(15_000, 1_500),
            search: rate(35_000, 3_500),
            upsert: rate(10_000, 200),
            bulk: rate(35_000, 3_500),
            other: rate(15_000, 1_500),
            window: Window::Sliding,
            reset: Reset::Epoch,
            retry_after: true,
        }
    }
}

impl Default for ApiSettings {
    fn default() -> Self {
        Self {
            clients: vec![PORT_CLIENT_ID.to_owned()],
            token_lifetime: Duration::from_secs(3 * 3600),
            wrong_credentials: 401,
            role: Role::Admin,
            latency: Duration::ZERO,
            body_limit: 1024 * 1024,
            rates: Some(Rates::default()),
            audit_lag: Duration::ZERO,
            blueprints: BlueprintSettings { duplicate: 409, patch_is_deep: false },
            webhooks: WebhookSettings {
                given: true,
                created: 201,
                shows_secret: false,
                patch_is_deep: false,
                lag: Duration::ZERO,
            },
            entities: EntitySettings {
                refuses_unknown: true,
                checks_formats: true,
                checks_required: true,
                coerces: true,
                null_removes: true,
                first_source_stays: false,
                blocking: Blocking::All,
                blocked: 409,
                bulk: BulkSettings {
                    illegal_fails_all: true,
                    sees_itself: true,
                    reversed: false,
                    forgets: None,
                    fails: Vec::new(),
                    spares: None,
                    absent_is_404: true,
                },
            },
            reading: ReadingSettings {
                pages_by_offset: false,
                unpaged_limit: 10_000,
                unpaged_gone: false,
                published_alone: false,
                failed_blueprints: Vec::new(),
            },
        }
    }
}
