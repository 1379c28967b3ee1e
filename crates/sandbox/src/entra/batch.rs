//! `POST /$batch`: up to twenty requests in one, each authorized and answered separately.
use serde::Deserialize;
use serde_json::{Map, Value as Json, json};

use hyper::Method;

use super::{Ask, Plain, Refusal, VERSION, faulty, respond, split};
use crate::lock;

const MOST: usize = 20;

#[derive(Deserialize)]
struct Batch {
    requests: Vec<Part>,
}

#[derive(Deserialize)]
struct Part {
    id: String,
    method: String,
    url: String,
    #[serde(default)]
    headers: Map<String, Json>,
    #[serde(default)]
    body: Json,
}

pub(super) fn answer(ask: &Ask<'_>) -> Result<Vec<u8>, Refusal> {
    let bad = |message: String| Refusal::bad("BadRequest", message);
    let batch: Batch =
        serde_json::from_slice(ask.body).map_err(|error| bad(format!("Invalid batch payload: {error}")))?;
    if batch.requests.len() > MOST {
        let count = batch.requests.len();
        return Err(bad(format!("Number of batch request steps exceeds the maximum value of {MOST}: {count}.")));
    }
    let mut answers: Vec<Json> = batch.requests.iter().map(|part| answer_part(ask, part)).collect();
    // The order is arbitrary.
    lock(&ask.entra.rng).shuffle(&mut answers);
    Ok(json!({"responses": answers}).to_string().into_bytes())
}

fn answer_part(ask: &Ask<'_>, part: &Part) -> Json {
    let header = |name: &str| {
        let found = part.headers.iter().find(|(of, _)| of.eq_ignore_ascii_case(name));
        found.and_then(|(_, value)| value.as_str()).unwrap_or_default()
    };
    let body = if part.body.is_null() { String::new() } else { part.body.to_string() };
    // Parts have no version; the batch's applies.
    let (_, path, query) = split(&format!("/{VERSION}/{}", part.url.trim_start_matches('/')));
    let ask = Ask {
        method: Method::from_bytes(part.method.as_bytes()).unwrap_or_default(),
        path,
        query,
        is_eventual: header("consistencylevel").eq_ignore_ascii_case("eventual"),
        is_minimal: header("prefer").contains("return=minimal"),
        body: body.as_bytes(),
        ..*ask
    };
    let is_batch = ask.path.first().is_some_and(|first| first == "$batch");
    let target = format!("{} {}", part.method, part.url);
    let Plain { status, headers, body } = if is_batch {
        Refusal::no_segment("$batch").plain()
    } else {
        faulty(&ask, &target).unwrap_or_else(|| respond(&ask))
    };
    let mut headers: Map<String, Json> =
        headers.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
    headers.insert("Content-Type".to_owned(), "application/json".into());
    let body: Json = serde_json::from_slice(&body).unwrap_or(Json::Null);
    json!({"id": part.id, "status": status.as_u16(), "headers": headers, "body": body})
}
