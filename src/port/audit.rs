//! Port's audit log: what Port refused of a webhook's posts ("Get audit logs", Port's API reference).
//!
//! The query is documented, but the shape of an event is not: neither where it names the entity nor how it describes
//! the error. So names and texts are searched for anywhere in an event.

use jiff::Timestamp;
use reqwest::StatusCode;
use serde_json::Value;

use super::{Port, PortError};

/// Maximum events per request; there is no cursor.
const MOST: &str = "1000";

/// A failure event in the audit log.
pub(crate) struct Refusal(Value);

impl Refusal {
    /// The time of the event, by Port's clock.
    pub(crate) fn at(&self) -> Option<Timestamp> {
        let trigger = self.0.get("trigger").and_then(|trigger| trigger.get("at"));
        [trigger, self.0.get("createdAt"), self.0.get("at")].into_iter().flatten().find_map(Value::as_str)?.parse().ok()
    }

    /// Whether it is about this entity.
    pub(crate) fn names(&self, identifier: &str) -> bool {
        any_text(&self.0, &|text| text == identifier) || self.reason().contains(identifier)
    }

    /// Port's explanation.
    pub(crate) fn reason(&self) -> String {
        let said = ["message", "error"].into_iter().find_map(|name| self.0.get(name).filter(|said| !said.is_null()));
        match said {
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
            None => "the audit log does not say why".to_owned(),
        }
    }
}

fn any_text(value: &Value, is_it: &impl Fn(&str) -> bool) -> bool {
    match value {
        Value::String(text) => is_it(text),
        Value::Array(items) => items.iter().any(|item| any_text(item, is_it)),
        Value::Object(fields) => fields.values().any(|field| any_text(field, is_it)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

impl Port {
    /// Posts to a webhook that were refused since then. `None` if the credentials may not read the audit log, which
    /// only an administrator may.
    pub(crate) async fn refusals(&self, webhook: &str, since: Timestamp) -> Result<Option<Vec<Refusal>>, PortError> {
        let mut url = self.url(["v1", "audit-log"]);
        url.query_pairs_mut()
            .append_pair("webhookId", webhook)
            .append_pair("status", "FAILURE")
            .append_pair("from", &since.to_string())
            .append_pair("limit", MOST);
        match self.objects(url, "audits").await {
            Ok(events) => Ok(Some(events.into_iter().map(Value::Object).map(Refusal).collect())),
            Err(error) if error.request.status() == Some(StatusCode::FORBIDDEN) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_event_names_an_entity_wherever_that_stands() {
        for event in [
            json!({"context": {"blueprint": "b", "entity": "/x"}}),
            json!({"context": {"entityIdentifier": "/x"}}),
            json!({"identifier": "/x"}),
            json!({"additionalData": [{"body": {"identifier": "/x"}}]}),
            json!({"message": "\"identifier\": \"/x\" must match the pattern"}),
        ] {
            assert!(Refusal(event.clone()).names("/x"), "{event}");
            assert!(!Refusal(event.clone()).names("/y"), "{event}");
        }
        assert!(!Refusal(json!({"context": {"entity": "/x/y"}})).names("/x"));
    }

    #[test]
    fn the_reason_and_the_time_are_those_of_the_event() {
        let event = Refusal(json!({"trigger": {"at": "2026-01-01T00:00:00Z"}, "message": "no such relation"}));
        assert_eq!(event.reason(), "no such relation");
        assert_eq!(event.at(), "2026-01-01T00:00:00Z".parse().ok());
        assert_eq!(Refusal(json!({"message": [{"path": "/a"}]})).reason(), r#"[{"path":"/a"}]"#);
        assert_eq!(Refusal(json!({"message": null})).at(), None);
    }
}
