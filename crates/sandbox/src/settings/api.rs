//! How Port's own API behaves. Where nothing is published of a matter, a setting says which way it goes.
use std::time::Duration;

pub const PORT_CLIENT_ID: &str = "s4ndb0xPortClient";
pub const PORT_CLIENT_SECRET: &str = "s4ndb0xPortSecret_Must-Not-Show";

#[derive(Clone, Debug)]
pub struct ApiSettings {
    /// Ids that one may sign in with, all with the one secret.
    pub clients: Vec<String>,
    pub token_lifetime: Duration,
    /// What wrong credentials are answered with: 401 or 404.
    pub wrong_credentials: u16,
    /// What the credentials may do.
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
    /// May not look at webhooks, nor at the audit log but by entity.
    Member,
}

#[derive(Clone, Debug)]
pub struct BlueprintSettings {
    /// What a second POST of a blueprint or a webhook is answered with: 409 or 422.
    pub duplicate: u16,
    /// PATCH merges within `schema` and `relations`, and does not replace them.
    pub patch_is_deep: bool,
}

#[derive(Clone, Debug)]
pub struct WebhookSettings {
    /// The webhook that the sandbox starts with; without it there is none until one is set up. Counts at the start alone.
    pub given: bool,
    /// What a POST that makes one is answered with: 200 or 201.
    pub created: u16,
    /// Answers contain the secret.
    pub shows_secret: bool,
    /// PATCH merges within `security`, and does not replace it.
    pub patch_is_deep: bool,
    /// How long after its arrival a post is applied.
    pub lag: Duration,
}

#[derive(Clone, Debug)]
pub struct EntitySettings {
    /// A property that the blueprint does not have is refused, and not dropped in silence.
    pub refuses_unknown: bool,
    /// The format of a property is checked.
    pub checks_formats: bool,
    /// A property and a relation that are required have to be there.
    pub checks_required: bool,
    /// A number is taken for an identifier, and null for a title.
    pub coerces: bool,
    /// A property that is null is removed where entities are merged, and does not stay as it was.
    pub null_removes: bool,
    /// An entity keeps the `$datasource` of who wrote it first.
    pub first_source_stays: bool,
    pub blocking: Blocking,
    /// What a delete that dependents stand in the way of is answered with: 409 or 422.
    pub blocked: u16,
    pub bulk: BulkSettings,
}

/// Which dependents stand in the way of a delete that leaves dependents alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blocking {
    All,
    Required,
}

#[derive(Clone, Debug)]
pub struct BulkSettings {
    /// One entity that does not fit the schema of the request fails all of them.
    pub illegal_fails_all: bool,
    /// A relation to an entity that comes earlier in the same request is found.
    pub sees_itself: bool,
    /// The results come in the opposite order.
    pub reversed: bool,
    /// Entities with this in their identifier are not written, and stand in neither list.
    pub forgets: Option<String>,
    /// Entities with this identifier are not written, and their error has this status.
    pub fails: Vec<(String, u16)>,
    /// Entities with this in their identifier stay where a bulk delete was to take them, and are not in `deletedEntities`.
    pub spares: Option<String>,
    /// A bulk delete of which nothing is there is answered with 404.
    pub absent_is_404: bool,
}

#[derive(Clone, Debug)]
pub struct ReadingSettings {
    /// Pages go by number of entities, so that one that comes or goes shifts them, and not by identifier.
    pub pages_by_offset: bool,
    /// More entities than this are answered with 504 where there are no pages.
    pub unpaged_limit: usize,
    /// Reads without pages are answered with 410.
    pub unpaged_gone: bool,
    /// Entities show what is published and no more: neither their blueprint, nor who wrote them and when.
    pub published_alone: bool,
    /// Blueprints whose entities cannot be read where all are searched.
    pub failed_blueprints: Vec<String>,
}

/// The requests that an organization has, by class of route.
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
    /// A 429 has a `Retry-After`.
    pub retry_after: bool,
}

#[derive(Clone, Copy, Debug)]
pub struct Rate {
    /// In a period.
    pub requests: u32,
    /// At once.
    pub burst: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    /// So many at once, and then as they come back over the period.
    Sliding,
    /// So many in a period that begins with the first; the burst does not matter.
    Fixed,
}

/// What `x-ratelimit-reset` is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reset {
    /// Seconds since the epoch.
    Epoch,
    /// Seconds from now.
    Seconds,
}

impl Default for Rates {
    /// The published ones.
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
