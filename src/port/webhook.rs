//! Posting envelopes to Port's webhook, so many at once, in the order that their ranks ask for.

use std::collections::HashSet;
use std::num::NonZeroUsize;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use reqwest::header::{CONTENT_TYPE, DATE, HeaderMap};
use reqwest::{Client, StatusCode, Url};
use serde::de::IgnoredAny;
use tokio::sync::mpsc;
use uuid::Uuid;

use super::envelope::{self, CHUNK, Parcels};
use super::signature::Signer;
use crate::config::{Payload, PortConfig, SecretUrl};
use crate::http::{Answer, Failure, Http, RequestError};
use crate::id::Id;
use crate::secrets;
use crate::sync::change::Change;
use crate::sync::outbox::{Block, Rank};

/// The header that Port's `requestIdentifierPath` can drop repeated deliveries by.
const DELIVERY_ID: &str = "x-delivery-id";

/// Port's answers are a line.
const LARGEST_ANSWER: usize = 64 << 10;

/// What became of one envelope.
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    Accepted,
    /// Port refused this envelope for itself: 400, 413 or 422.
    Refused(RequestError),
    /// It was not delivered.
    Failed(RequestError),
}

/// Why posting ended before everything was posted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WebhookError {
    /// Every other post would fail the same way.
    #[error("Port's webhook says that it is not one, or not yours: {0}")]
    Rejected(RequestError),
    #[error("Port's webhook is down: nothing was accepted for {} s, and at last {error}", .since.as_secs())]
    Down { error: RequestError, since: Duration },
}

/// Port's webhook.
pub(crate) struct Webhook<'a> {
    http: &'a Http,
    client: Client,
    url: Url,
    /// What may be shown of the URL.
    label: String,
    concurrency: NonZeroUsize,
    payload: Payload,
    signer: Option<Signer>,
    health: Mutex<Health>,
}

/// What became of the envelopes of a post.
#[derive(Debug)]
struct Posted {
    outcomes: Vec<(Change, Outcome)>,
    /// Why the others need not be tried.
    end: Result<(), WebhookError>,
}

/// Posts in flight.
struct Flight<F, R> {
    posts: FuturesUnordered<F>,
    /// The ids that they are about.
    ids: HashSet<Id>,
    done: usize,
    record: R,
}

impl<F: Future<Output = Posted>, R: FnMut(&Change, &Outcome)> Flight<F, R> {
    /// Waits until at most so many are in flight.
    async fn land(&mut self, most: usize) -> Result<(), WebhookError> {
        while self.posts.len() > most {
            self.land_one().await?;
        }
        Ok(())
    }

    async fn land_one(&mut self) -> Result<(), WebhookError> {
        match self.posts.next().await {
            Some(posted) => self.settle(posted),
            None => Ok(()),
        }
    }

    fn settle(&mut self, posted: Posted) -> Result<(), WebhookError> {
        for (change, outcome) in posted.outcomes {
            self.ids.remove(&change.id);
            (self.record)(&change, &outcome);
            self.done += 1;
            if self.done.is_multiple_of(CHUNK) {
                tracing::debug!("{} envelopes posted", self.done);
            }
        }
        posted.end
    }
}

/// How long posts in flight may take to end once the run is to stop.
const LANDING: Duration = Duration::from_secs(10);

/// What the posts have learned of the webhook, together.
#[derive(Debug, Default)]
struct Health {
    /// The first failed attempt since it last accepted something.
    failing_since: Option<Instant>,
    /// Attempts that failed since then.
    failures: u32,
    /// Envelopes that failed for good since then.
    given_up: u32,
    /// Port asked for a pause until then.
    pause: Option<Instant>,
    /// Whether this run had anything accepted.
    has_accepted: bool,
    /// Posts that were turned away in a row, and how the last of them was.
    rejected: u32,
    rejection: Option<RequestError>,
}

/// A webhook that accepts nothing for so long, over so many attempts, is down. An attempt may take 20 s to fail, so this
/// shows within about 40 s.
const DOWN_AFTER: Duration = Duration::from_secs(20);
const DOWN_FAILURES: u32 = 3;

/// So is one that failed so many envelopes in a row for good. One alone may be that envelope's fault.
const DOWN_ENVELOPES: u32 = 2;

/// Turned away so often in a row, it is the webhook that is none any more, and not an envelope that a firewall dislikes. One that
/// is looked for in halves is turned away seven times.
const REJECTED_IN_A_ROW: u32 = 10;

impl<'a> Webhook<'a> {
    pub(crate) fn new(config: &PortConfig, url: &SecretUrl, http: &'a Http) -> Result<Self, RequestError> {
        let label = format!("POST to Port's webhook at {}", url.origin());
        let url: Url = url
            .expose()
            .parse()
            .map_err(|_| RequestError::new(label.as_str(), Failure::Unreadable("its URL is not one".into())))?;
        secrets::keep_key_of(&url);
        let PortConfig { concurrency, payload, .. } = *config;
        let signer = config.signing.as_ref().map(Signer::new);
        let client = http.client_for(&url)?;
        Ok(Self { http, client, url, label, concurrency, payload, signer, health: Mutex::default() })
    }

    /// Posts blocks as they come and tells `record` what became of each envelope. It ends early when the webhook as a whole
    /// refuses or is down, or when `stop` is ready: then those in flight may still end.
    ///
    /// Two changes of one id are never in flight together, nor two of different ranks: what arrives last is what stays.
    pub(crate) async fn deliver(
        &self,
        mut blocks: mpsc::Receiver<Block>,
        stop: impl Future,
        record: impl FnMut(&Change, &Outcome),
    ) -> Result<(), WebhookError> {
        let mut flight = Flight { posts: FuturesUnordered::new(), ids: HashSet::new(), done: 0, record };
        let pump = async {
            let mut rank: Option<Rank> = None;
            loop {
                // The only place that waits for both sides: the next block is taken while posts are in flight.
                let block = loop {
                    tokio::select! {
                        Some(posted) = flight.posts.next() => flight.settle(posted)?,
                        block = blocks.recv() => break block,
                    }
                };
                let Some(block) = block else {
                    flight.land(0).await?;
                    return self.verdict();
                };
                if rank.replace(block.rank) != Some(block.rank) {
                    flight.land(0).await?;
                }
                for parcel in Parcels::new(self.payload, block.changes) {
                    // The one point that bounds posts in flight.
                    flight.land(self.concurrency.get() - 1).await?;
                    while parcel.iter().any(|change| flight.ids.contains(&change.id)) {
                        flight.land_one().await?;
                    }
                    flight.ids.extend(parcel.iter().map(|change| change.id));
                    flight.posts.push(self.post(parcel));
                }
            }
        };
        tokio::select! {
            result = pump => return result,
            _ = stop => {}
        }
        if tokio::time::timeout(LANDING, flight.land(0)).await.is_err() {
            tracing::warn!("{} posts were still in flight", flight.posts.len());
        }
        Ok(())
    }

    /// What turned some posts away was the webhook, if it took none.
    pub(crate) fn verdict(&self) -> Result<(), WebhookError> {
        let health = self.health();
        match &health.rejection {
            Some(error) if !health.has_accepted => Err(WebhookError::Rejected(error.clone())),
            _ => Ok(()),
        }
    }

    async fn post(&self, parcel: Vec<Change>) -> Posted {
        in_halves(parcel, |part| self.send(envelope::body(self.payload, part))).await
    }

    /// Posts one body, again where that may help. Every attempt carries the same delivery id.
    pub(crate) async fn send(&self, body: Bytes) -> Result<Outcome, WebhookError> {
        let delivery = Uuid::new_v4().to_string();
        let again = |error: &RequestError| error.is_transient() && !self.health().is_down();
        match self.http.retrying(None, again, || self.attempt(body.clone(), &delivery)).await {
            Ok(()) => Ok(Outcome::Accepted),
            Err(error) => self.judge(error),
        }
    }

    async fn attempt(&self, body: Bytes, delivery: &str) -> Result<(), RequestError> {
        loop {
            let pause = self.health().pause();
            let Some(wait) = pause else { break };
            tokio::time::sleep(wait).await;
        }
        let mut request =
            self.client.post(self.url.clone()).header(CONTENT_TYPE, "application/json").header(DELIVERY_ID, delivery);
        let signature = self.signer.as_ref().map(|signer| signer.sign(&body));
        if let (Some(signer), Some(signature)) = (&self.signer, &signature) {
            request = request.header(signer.header(), signature);
        }
        let request = request.body(body);
        let limits = self.http.limits();
        let result = match self.http.attempt(request, limits.post_timeout, LARGEST_ANSWER).await {
            Ok(answer) => {
                if let Some(asked) = throttled(answer.status, &answer.headers, SystemTime::now()) {
                    let wait = asked.min(limits.retry_after_max);
                    let capped = if wait < asked {
                        format!(", not the {} s it asks for", asked.as_secs())
                    } else {
                        String::new()
                    };
                    tracing::info!("Port's rate limit is used up; waiting {} s{capped}", wait.as_secs());
                    self.health().pause_for(wait);
                }
                answer.success().and_then(|answer| is_ports(&answer))
            }
            Err(failure) => Err(failure),
        };
        let result = result.map_err(|failure| RequestError::new(self.label.as_str(), failure));
        if let (Err(_), Some(signature)) = (&result, signature.as_ref().and_then(|signature| signature.to_str().ok())) {
            secrets::keep_signature(signature);
        }
        match &result {
            Ok(()) => self.health().accepted(),
            Err(error) if error.is_transient() && error.status() != Some(StatusCode::TOO_MANY_REQUESTS) => {
                self.health().failed();
            }
            Err(_) => {}
        }
        result
    }

    /// Whose fault a failure is: the body's, the webhook's, or that of the way there.
    fn judge(&self, error: RequestError) -> Result<Outcome, WebhookError> {
        if matches!(error.status().map(|status| status.as_u16()), Some(400 | 413 | 422)) {
            Ok(Outcome::Refused(error))
        } else if is_rejection(&error) {
            if self.health().rejected(&error) { Err(WebhookError::Rejected(error)) } else { Ok(Outcome::Failed(error)) }
        } else {
            match self.health().gave_up() {
                Some(since) => Err(WebhookError::Down { error, since }),
                None => Ok(Outcome::Failed(error)),
            }
        }
    }

    fn health(&self) -> std::sync::MutexGuard<'_, Health> {
        // A panic while it is held leaves plain numbers, which are as good as before.
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes a success for Port's only where it looks like one: it answers 202 ("Webhook", Port's documentation), and whatever
/// else it may come to say is JSON. A page of a proxy or of another host is neither.
fn is_ports(answer: &Answer) -> Result<(), Failure> {
    if answer.status == StatusCode::ACCEPTED || answer.json::<IgnoredAny>().is_ok() {
        return Ok(());
    }
    let kind = answer.headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or("no content type");
    Err(Failure::Unreadable(format!("status {} with {kind} is not what Port answers", answer.status.as_u16())))
}

/// Whether somebody else answered, or Port for somebody else; or something on the way that dislikes what is sent.
fn is_rejection(error: &RequestError) -> bool {
    match &error.failure {
        Failure::Status(_) => !error.is_transient(),
        Failure::Unreadable(_) => true,
        _ => false,
    }
}

/// Sends a parcel; where it is refused as a whole, its halves one after the other, until what is wrong stands alone.
async fn in_halves<F>(parcel: Vec<Change>, send: impl Fn(&[Change]) -> F) -> Posted
where
    F: Future<Output = Result<Outcome, WebhookError>>,
{
    let mut outcomes = Vec::with_capacity(parcel.len());
    // The next one last.
    let mut parts = vec![parcel];
    while let Some(mut part) = parts.pop() {
        match send(&part).await {
            Ok(Outcome::Refused(error) | Outcome::Failed(error)) if part.len() > 1 && !error.is_transient() => {
                tracing::debug!("{} envelopes in one body: {error}; sending them in halves", part.len());
                let second = part.split_off(part.len() / 2);
                parts.extend([second, part]);
            }
            Ok(outcome) => outcomes.extend(part.into_iter().map(|change| (change, outcome.clone()))),
            Err(error) => return Posted { outcomes, end: Err(error) },
        }
    }
    Posted { outcomes, end: Ok(()) }
}

impl Health {
    fn accepted(&mut self) {
        self.failing_since = None;
        self.failures = 0;
        self.given_up = 0;
        self.has_accepted = true;
        self.rejected = 0;
    }

    /// One more post was turned away; whether that shows that the webhook is none.
    fn rejected(&mut self, error: &RequestError) -> bool {
        self.rejected += 1;
        self.rejection = Some(error.clone());
        self.rejected >= REJECTED_IN_A_ROW
    }

    fn failed(&mut self) {
        self.failing_since.get_or_insert_with(Instant::now);
        self.failures += 1;
    }

    fn is_down(&self) -> bool {
        self.failures >= DOWN_FAILURES && self.failing_since.is_some_and(|since| since.elapsed() >= DOWN_AFTER)
    }

    /// One more envelope failed for good; since when nothing was accepted, if that shows that the webhook is down.
    fn gave_up(&mut self) -> Option<Duration> {
        self.given_up += 1;
        let down = self.given_up >= DOWN_ENVELOPES || self.is_down();
        down.then(|| self.failing_since.map_or(Duration::ZERO, |since| since.elapsed()))
    }

    fn pause_for(&mut self, wait: Duration) {
        let until = Instant::now() + wait;
        self.pause = Some(self.pause.map_or(until, |pause| pause.max(until)));
    }

    /// How long to wait before the next post.
    fn pause(&mut self) -> Option<Duration> {
        let wait = self.pause?.checked_duration_since(Instant::now()).filter(|wait| !wait.is_zero());
        if wait.is_none() {
            self.pause = None;
        }
        wait
    }
}

/// How long Port asks everybody to wait: its limit is used up until `x-ratelimit-reset`, in epoch seconds ("Rate limits",
/// Port's API reference), by Port's own clock where it tells it.
fn throttled(status: StatusCode, headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let number = |name: &str| headers.get(name)?.to_str().ok()?.trim().parse::<u64>().ok();
    if status != StatusCode::TOO_MANY_REQUESTS && number("x-ratelimit-remaining") != Some(0) {
        return None;
    }
    let reset = number("x-ratelimit-reset")?;
    let theirs = headers.get(DATE).and_then(|date| date.to_str().ok());
    let theirs = theirs.and_then(|date| jiff::fmt::rfc2822::parse(date).ok());
    let now = match theirs {
        Some(date) => u64::try_from(date.timestamp().as_second()).ok()?,
        None => now.duration_since(UNIX_EPOCH).ok()?.as_secs(),
    };
    Some(Duration::from_secs(reset.saturating_sub(now)))
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use futures::FutureExt;
    use proptest::prelude::*;

    use super::*;
    use crate::azure::graph::Row;

    fn parcel(size: usize) -> Vec<Change> {
        let row = |name| format!(r#"{{"resourceId":"/subscriptions/s/{name}","type":"a/b"}}"#);
        (0..size).map(|name| Change::parse(row(name).into()).unwrap()).collect()
    }

    fn refusal() -> RequestError {
        RequestError::new("POST", Failure::Unreadable("no".into()))
    }

    /// What becomes of a parcel at a webhook that refuses bodies with any of `bad` in them, and the sizes of the bodies.
    fn post(size: usize, bad: &HashSet<Id>) -> (Posted, Vec<usize>) {
        let bodies = RefCell::new(Vec::new());
        let posted = in_halves(parcel(size), |part| {
            bodies.borrow_mut().push(part.len());
            let refused = part.iter().any(|change| bad.contains(&change.id));
            std::future::ready(Ok(if refused { Outcome::Refused(refusal()) } else { Outcome::Accepted }))
        });
        let posted = posted.now_or_never().unwrap();
        (posted, bodies.into_inner())
    }

    #[test]
    fn a_parcel_that_is_taken_is_one_body() {
        let (posted, bodies) = post(100, &HashSet::new());
        assert_eq!((posted.outcomes.len(), bodies), (100, vec![100]));
    }

    #[test]
    fn a_bad_envelope_is_found_in_ever_smaller_halves() {
        let bad = HashSet::from([parcel(8)[2].id]);
        let (posted, bodies) = post(8, &bad);
        assert_eq!(bodies, [8, 4, 2, 2, 1, 1, 4]);
        let refused: Vec<bool> =
            posted.outcomes.iter().map(|(_, outcome)| matches!(outcome, Outcome::Refused(_))).collect();
        assert_eq!(refused, [false, false, true, false, false, false, false, false]);
    }

    #[test]
    fn what_was_accepted_before_the_webhook_went_away_is_told() {
        let sent = RefCell::new(0);
        let posted = in_halves(parcel(4), |part| {
            *sent.borrow_mut() += 1;
            std::future::ready(match (*sent.borrow(), part.len()) {
                (1, _) => Ok(Outcome::Refused(refusal())),
                (2, _) => Ok(Outcome::Accepted),
                _ => Err(WebhookError::Rejected(refusal())),
            })
        });
        let posted = posted.now_or_never().unwrap();
        assert_eq!(posted.outcomes.len(), 2);
        assert!(matches!(posted.end, Err(WebhookError::Rejected(_))));
    }

    proptest! {
        #[test]
        fn just_the_bad_envelopes_are_refused_and_the_order_is_kept(
            flags in prop::collection::vec(prop::bool::weighted(0.05), 1..=100)
        ) {
            let changes = parcel(flags.len());
            let bad: HashSet<Id> =
                changes.iter().zip(&flags).filter(|(_, bad)| **bad).map(|(change, _)| change.id).collect();
            let (posted, bodies) = post(flags.len(), &bad);
            prop_assert_eq!(posted.outcomes.len(), flags.len());
            for ((change, outcome), (expected, bad)) in posted.outcomes.iter().zip(changes.iter().zip(&flags)) {
                prop_assert_eq!(change.id, expected.id);
                prop_assert_eq!(matches!(outcome, Outcome::Refused(_)), *bad);
            }
            prop_assert!(bodies.len() <= 1 + bad.len() * 14, "two bodies for each of at most seven halvings");
        }
    }
}
