//! The audit log of actions and rejections. It has no cursor and lags behind.
use std::collections::VecDeque;

use jiff::Timestamp;
use serde_json::{Map, Value as Json, json};

use super::api::{Ask, Outcome, Refusal, done};
use crate::catalog::moment;
use crate::settings::Role;

/// Maximum events kept.
const KEPT: usize = 50_000;
/// Default number of events shown.
const SHOWN: usize = 1000;

#[derive(Default)]
pub(super) struct Audit(VecDeque<(i64, Event)>);

#[derive(Clone, Debug, Default)]
pub(super) struct Event {
    pub action: &'static str,
    pub resource: &'static str,
    pub blueprint: Option<String>,
    pub identifier: Option<String>,
    /// For posts to a webhook: the webhook and the post's id.
    pub webhook: Option<(String, String)>,
    pub by: String,
    /// Why it was rejected.
    pub failure: Option<String>,
}

impl Event {
    fn show(&self, at: i64, place: usize) -> Map<String, Json> {
        let status = if self.failure.is_some() { "FAILURE" } else { "SUCCESS" };
        let origin = if self.webhook.is_some() { "WEBHOOK" } else { "API" };
        let shown = json!({
            "identifier": format!("event_{place}"),
            "action": self.action,
            "resourceType": self.resource,
            "status": status,
            "trigger": {"by": {"orgId": "sandbox", "userId": self.by}, "origin": origin, "at": moment(at)},
            "context": {
                "blueprintIdentifier": self.blueprint,
                "entityIdentifier": self.identifier,
                "webhookId": self.webhook.as_ref().map(|(webhook, _)| webhook),
                "webhookEventId": self.webhook.as_ref().map(|(_, post)| post),
            },
            "message": self.failure,
        });
        shown.as_object().cloned().unwrap_or_default()
    }

    fn is_asked_for(&self, ask: &Ask<'_>) -> bool {
        let is = |name: &str, value: Option<&str>| ask.param(name).is_none_or(|wanted| Some(wanted) == value);
        let webhook = self.webhook.as_ref();
        let entity = self.identifier.as_deref().filter(|_| self.resource == "entity");
        let status = if self.failure.is_some() { "FAILURE" } else { "SUCCESS" };
        let resources = ask.params("resources");
        is("identifier", self.identifier.as_deref())
            && is("entity", entity)
            && is("blueprint", self.blueprint.as_deref())
            && is("run_id", None)
            && is("InstallationId", None)
            && is("webhookId", webhook.map(|(webhook, _)| webhook.as_str()))
            && is("webhookEventId", webhook.map(|(_, post)| post.as_str()))
            && is("action", Some(self.action))
            && is("status", Some(status))
            && (resources.is_empty() || resources.contains(&self.resource))
    }
}

impl Audit {
    pub(super) fn add(&mut self, event: Event) {
        if self.0.len() == KEPT {
            self.0.pop_front();
        }
        self.0.push_back((Timestamp::now().as_millisecond(), event));
    }
}

/// `GET /v1/audit-log`: latest first.
pub(super) fn read(ask: &Ask<'_>) -> Result<Outcome, Refusal> {
    let is_narrow = ["identifier", "entity", "run_id"].iter().any(|name| ask.param(name).is_some());
    if ask.settings.role == Role::Member && !is_narrow {
        return Err(Refusal::forbidden());
    }
    let time = |name: &str| {
        let of = |text: &str| {
            let parsed: Result<Timestamp, _> = text.parse();
            parsed
                .map(Timestamp::as_millisecond)
                .map_err(|_| Refusal::invalid(format!("{name} must match format \"date-time\"")))
        };
        ask.param(name).map(of).transpose()
    };
    let (from, to) = (time("from")?.unwrap_or(i64::MIN), time("to")?.unwrap_or(i64::MAX));
    let limit = ask.param("limit").map_or(Ok(SHOWN), str::parse);
    let limit: usize = limit.map_err(|_| Refusal::invalid("limit must be number".to_owned()))?;
    let visible = Timestamp::now().as_millisecond() - ask.settings.audit_lag.as_millis() as i64;
    let (from, to) = (from, to.min(visible));
    let includes = ask.params("includes");
    let kept = ask.kept();
    let events = kept.audit_log.0.iter().enumerate().rev();
    let events = events.filter(|(_, (at, event))| (from..=to).contains(at) && event.is_asked_for(ask));
    let shown = events.take(limit).map(|(place, (at, event))| {
        let mut shown = event.show(*at, place);
        shown.retain(|name, _| includes.is_empty() || includes.contains(&name.as_str()));
        Json::Object(shown)
    });
    Ok(done("audits", shown.collect()))
}
