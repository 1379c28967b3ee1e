//! Resource Graph: evaluates a query over what the principal can see, and returns a page of it.
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use hyper::header::{CONTENT_ENCODING, HeaderName, HeaderValue};
use hyper::{Method, StatusCode, http::request::Parts};
use kql::Query;
use serde::Deserialize;

use crate::answers::{Evaluated, Key, gzip};
use crate::arm;
use crate::faults::Shift;
use crate::lock;
use crate::quota::Allowance;
use crate::rng::hash;
use crate::server::{Reply, json as reply, with_header};
use crate::tables::View;
use crate::world::World;

const PATH_AND_VERSION: &str = "api-version=2024-04-01";
const MAX_SUBSCRIPTIONS: usize = 1000;
const MAX_ROWS: usize = 1000;

#[derive(Deserialize)]
struct Body {
    /// `None` for all that the principal can read.
    subscriptions: Option<Vec<String>>,
    query: String,
    #[serde(default)]
    options: Options,
}

#[derive(Default, Deserialize)]
struct Options {
    #[serde(rename = "$top")]
    top: Option<usize>,
    #[serde(rename = "$skipToken")]
    skip_token: Option<String>,
    #[serde(rename = "resultFormat")]
    result_format: Option<String>,
}

/// `POST /providers/Microsoft.ResourceGraph/resources`. `shift` is a fault of the rows.
pub(crate) async fn resources(world: &Arc<World>, parts: &Parts, body: Bytes, shift: Option<Shift>) -> Reply {
    let principal = match world.sign_in.principal(parts) {
        Ok(principal) => principal,
        Err(bad) => return arm::unauthorized(bad),
    };
    if parts.method != Method::POST || !parts.uri.query().is_some_and(|query| query.contains(PATH_AND_VERSION)) {
        return arm::error(StatusCode::BAD_REQUEST, "InvalidApiVersionParameter", PATH_AND_VERSION, &[]);
    }
    let allowance = world.quota.as_ref().map(|quota| quota.take(principal, Instant::now()));
    let mut answer = match allowance {
        Some(allowance) if !allowance.granted => throttled(allowance),
        _ => {
            tokio::time::sleep(world.settings.azure.query_latency).await;
            let accepts_gzip = world.settings.azure.gzip
                && parts
                    .headers
                    .get(hyper::header::ACCEPT_ENCODING)
                    .is_some_and(|accepted| accepted.to_str().is_ok_and(|accepted| accepted.contains("gzip")));
            evaluated(world, body, accepts_gzip, shift).await
        }
    };
    if let Some(allowance) = allowance {
        header(&mut answer, "x-ms-user-quota-remaining", &allowance.remaining.to_string());
        header(&mut answer, "x-ms-user-quota-resets-after", &allowance.clock_face());
    }
    if world.settings.azure.subscription_limit_hit {
        header(&mut answer, "x-ms-tenant-subscription-limit-hit", "true");
    }
    answer
}

fn header(answer: &mut Reply, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        with_header(answer, HeaderName::from_static(name), value);
    }
}

fn throttled(allowance: Allowance) -> Reply {
    let message = "Please provide below info when asking for support. The current subscription has been throttled.";
    let mut answer = arm::error(
        StatusCode::TOO_MANY_REQUESTS,
        "RateLimiting",
        message,
        &[("RateLimiting", "Client application has been throttled.")],
    );
    header(&mut answer, "retry-after", &allowance.seconds().to_string());
    answer
}

/// Evaluates on a blocking thread: a large estate takes a while.
async fn evaluated(world: &Arc<World>, body: Bytes, accepts_gzip: bool, shift: Option<Shift>) -> Reply {
    let kept_as = (body.clone(), accepts_gzip);
    if shift.is_none()
        && let Some(kept) = world.answers.kept(&kept_as)
    {
        return whole(kept, accepts_gzip);
    }
    let its_world = world.clone();
    let page = tokio::task::spawn_blocking(move || {
        let page = page(&its_world, &body, shift)?;
        Ok::<_, Refusal>(if accepts_gzip { gzip(&page) } else { page })
    });
    match page.await {
        Ok(Ok(page)) => {
            let page = Bytes::from(page);
            if world.settings.frozen && shift.is_none() {
                world.answers.keep(kept_as, page.clone());
            }
            whole(page, accepts_gzip)
        }
        Ok(Err(refusal)) => refusal.answer(),
        Err(_) => {
            arm::error(StatusCode::INTERNAL_SERVER_ERROR, "InternalServerError", "the query could not be run", &[])
        }
    }
}

fn whole(page: Bytes, gzipped: bool) -> Reply {
    let mut answer = reply(StatusCode::OK, page);
    if gzipped {
        with_header(&mut answer, CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    answer
}

/// Why Resource Graph rejects a request.
enum Refusal {
    /// With the code of the error's details.
    Refused(&'static str, String),
    /// It fails on a row.
    Broken,
}

impl Refusal {
    fn answer(&self) -> Reply {
        let Self::Refused(code, text) = self else {
            let message = "An unexpected error occurred.";
            return arm::error(StatusCode::INTERNAL_SERVER_ERROR, "InternalServerError", message, &[]);
        };
        let message = "Please provide below info when asking for support: timestamp = now, correlationId = sandbox.";
        arm::error(StatusCode::BAD_REQUEST, "BadRequest", message, &[(code, text)])
    }
}

fn page(world: &World, body: &[u8], shift: Option<Shift>) -> Result<Vec<u8>, Refusal> {
    let invalid = |text: String| Refusal::Refused("InvalidRequest", text);
    let body: Body =
        serde_json::from_slice(body).map_err(|error| invalid(format!("The request body is invalid: {error}")))?;
    let asked = body.subscriptions.as_deref();
    if asked.is_some_and(|asked| asked.is_empty() || asked.len() > MAX_SUBSCRIPTIONS) {
        return Err(invalid(format!("Between 1 and {MAX_SUBSCRIPTIONS} subscriptions can be queried at once.")));
    }
    if body.options.result_format.as_deref().is_some_and(|format| format != "objectArray") {
        return Err(invalid("The sandbox answers in the format 'objectArray' only.".to_owned()));
    }
    let top = body.options.top.unwrap_or(MAX_ROWS);
    if top == 0 || top > MAX_ROWS {
        return Err(Refusal::Refused(
            "InvalidPageSize",
            format!("$top must be between 1 and {MAX_ROWS}, and is {top}."),
        ));
    }
    let evaluated = evaluate(world, &body.query, asked)?;
    let identity = evaluated.identity;
    let from = match &body.options.skip_token {
        None => 0,
        Some(token) => read_token(token, identity).ok_or_else(|| {
            Refusal::Refused("InvalidSkipToken", "The skip token is not one of this query's.".to_owned())
        })?,
    };
    let next = |from: usize| format!("{from:08x}{identity:016x}");
    let mut order = evaluated.order(&mut lock(&world.shuffle));
    if let Some(Shift::Lacking(percent)) = shift {
        evaluated.leave_out(&mut order, percent);
    }
    let answer = evaluated.page(&order, from, top.min(world.settings.azure.page_rows), shift, next);
    let limit = world.settings.azure.payload_limit;
    if answer.len() > limit {
        let text = format!("Response payload size is {}, and has exceeded the limit of {limit}.", answer.len());
        return Err(Refusal::Refused("ResponsePayloadTooLarge", text));
    }
    Ok(answer)
}

fn read_token(token: &str, identity: u64) -> Option<usize> {
    let (from, of) = token.split_at_checked(8)?;
    (of == format!("{identity:016x}")).then(|| usize::from_str_radix(from, 16).ok())?
}

fn evaluate(world: &World, text: &str, asked: Option<&[String]>) -> Result<Arc<Evaluated>, Refusal> {
    let identity = hash(&[text.as_bytes(), format!("{asked:?}").as_bytes()]);
    let (reads, version, now, moment, is_none_eligible) = {
        let estate = lock(&world.estate);
        let asked: Option<std::collections::HashSet<String>> =
            asked.map(|asked| asked.iter().map(|guid| guid.to_ascii_lowercase()).collect());
        let is_asked = |guid: &str| asked.as_ref().is_none_or(|asked| asked.contains(guid));
        let now = if world.settings.frozen { 0 } else { estate.now_ms() };
        let moment = hash(&[&identity.to_le_bytes(), &now.to_le_bytes()]);
        let is_read = |guid: &str| is_asked(guid) && !estate.overlooks(guid, moment);
        let all = || estate.subscriptions().iter();
        let reads = all().map(|s| estate.is_eligible(s) && is_read(&s.guid)).collect();
        let is_none_eligible = asked.is_some() && !all().any(|s| estate.is_eligible(s) && is_asked(&s.guid));
        (reads, estate.version(), now, moment, is_none_eligible)
    };
    if is_none_eligible {
        let given = asked.unwrap_or_default().join("', '");
        let text =
            format!("There must be at least one subscription that is eligible to contain resources. Given: '{given}'.");
        return Err(Refusal::Refused("NoValidSubscriptionsInQueryRequest", text));
    }
    let key = Key { identity, version, now };
    if let Some(evaluated) = world.answers.recent(&key) {
        return Ok(evaluated);
    }
    let query = Query::parse(text).map_err(|error| Refusal::Refused("ParserFailure", error.to_string()))?;
    let most = world.settings.azure.remote_tables;
    if query.remote_tables() > most {
        let text = format!("The query joins or unites more than {most} tables with its first.");
        return Err(Refusal::Refused("DisallowedMaxNumberOfRemoteTables", text));
    }
    let view = View { estate: &world.estate, clock: &world.clock, reads, moment };
    let answer = query.run(&view).map_err(|error| Refusal::Refused("InvalidQuery", error.to_string()))?;
    if lock(&world.estate).is_poisoned(text, &answer) {
        return Err(Refusal::Broken);
    }
    // For summaries, the service documents only the first page.
    let one_page = query.limits() || query.summarizes_last();
    let evaluated = Arc::new(Evaluated::new(answer, identity, one_page));
    // With a running clock, the same query never repeats exactly.
    if world.settings.frozen || world.clock.is_virtual() {
        world.answers.remember(key, evaluated.clone());
    }
    Ok(evaluated)
}
