//! What all services share, and the path of a request: through the log and the faults to its service.
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::Instant;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use hyper::header::{ACCEPT_ENCODING, DATE, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Request, StatusCode};

use crate::answers::Answers;
use crate::arm;
use crate::clock::Clock;
use crate::dates::Dates;
use crate::directory::{self, Directory};
use crate::entra::{self, Entra};
use crate::estate::Estate;
use crate::faults::{Fault, Faults, Shift, echo, fail, quote};
use crate::graph;
use crate::life;
use crate::lock;
use crate::port::{self, Port};
use crate::quota::Quota;
use crate::requests::{Entry, Requests, Route};
use crate::rng::Rng;
use crate::server::{HangUp, Reply, json};
use crate::settings::Settings;
use crate::signin::{Audience, SignIn};

pub(crate) struct World {
    pub settings: Settings,
    pub clock: Clock,
    pub estate: Mutex<Estate>,
    directory: Mutex<Directory>,
    pub sign_in: SignIn,
    pub quota: Option<Quota>,
    pub answers: Answers,
    pub shuffle: Mutex<Rng>,
    pub port: Port,
    pub entra: Entra,
    pub faults: Faults,
    pub dates: Dates,
    pub requests: Requests,
    /// Resource Manager's origin; known once its port is.
    pub arm: OnceLock<String>,
}

impl World {
    pub(crate) fn new(settings: Settings) -> Result<Self, String> {
        let mut estate = Estate::new(settings.seed, settings.clock.clone(), settings.lags.clone());
        life::fill(&mut estate, &mut Rng::new(settings.seed), &settings.estate);
        let mut directory = Directory::new(settings.seed, settings.clock.clone());
        directory::life::fill(&mut directory, &mut Rng::new(settings.seed), &settings.directory);
        Ok(Self {
            clock: settings.clock.clone(),
            estate: Mutex::new(estate),
            directory: Mutex::new(directory),
            sign_in: SignIn::new(&settings.azure, settings.seed),
            quota: settings.azure.quota.map(Quota::new),
            answers: Answers::default(),
            shuffle: Mutex::new(Rng::new(settings.seed)),
            port: Port::start(settings.port.clone())?,
            entra: Entra::new(settings.entra.clone(), settings.seed),
            faults: Faults::new(settings.seed),
            dates: Dates::default(),
            requests: Requests::default(),
            arm: OnceLock::new(),
            settings,
        })
    }

    /// Entra ID, after purging what is due.
    pub(crate) fn tenant(&self) -> MutexGuard<'_, Directory> {
        let mut directory = lock(&self.directory);
        directory.expire();
        directory
    }

    pub(crate) fn arm_origin(&self) -> &str {
        self.arm.get().map_or("", String::as_str)
    }

    /// Answers a request to the sign-in host.
    pub(crate) async fn sign_in(self: Arc<Self>, request: Request<Incoming>) -> Result<Reply, HangUp> {
        self.pass(Route::Token, request, async |parts, body, _| {
            tokio::time::sleep(self.settings.azure.other_latency).await;
            let settings = self.entra.settings().clone();
            let graph = Audience { origin: self.entra.origin(), settings, now: self.clock.now_ms() };
            self.sign_in.answer(&parts, &body, self.arm_origin(), &graph)
        })
        .await
    }

    /// Answers a request to Resource Manager.
    pub(crate) async fn manage(self: Arc<Self>, request: Request<Incoming>) -> Result<Reply, HangUp> {
        let path = request.uri().path().trim_end_matches('/');
        let answer = if path.eq_ignore_ascii_case("/subscriptions") {
            self.pass(Route::Subscriptions, request, async |parts, _, _| {
                tokio::time::sleep(self.settings.azure.other_latency).await;
                arm::subscriptions(&self, &parts)
            })
            .await?
        } else if path.eq_ignore_ascii_case("/providers/Microsoft.ResourceGraph/resources") {
            self.pass(Route::Graph, request, async |parts, body, shift| {
                graph::resources(&self, &parts, body, shift).await
            })
            .await?
        } else if path.len() > "/subscriptions/".len()
            && path.get(..15).is_some_and(|start| start.eq_ignore_ascii_case("/subscriptions/"))
        {
            self.pass(Route::Resource, request, async |parts, _, _| arm::by_id::get(&self, &parts)).await?
        } else {
            let message = "The sandbox has no such resource.";
            self.dated(Route::Subscriptions, arm::error(StatusCode::NOT_FOUND, "InvalidResourceType", message, &[]))
        };
        Ok(arm::finish(answer))
    }

    /// Answers a post to Port's webhook.
    pub(crate) async fn ingest(self: Arc<Self>, request: Request<Incoming>) -> Result<Reply, HangUp> {
        let counts_only = self.settings.port.sink && self.settings.port.rate_limit.is_none();
        if counts_only && !self.faults.any(Route::Webhook) {
            return self.sink(request).await;
        }
        self.pass(Route::Webhook, request, async |parts, body, _| {
            tokio::time::sleep(self.settings.port.post_latency).await;
            self.port.accept(&parts, body)
        })
        .await
    }

    /// Answers a request to Port's API.
    pub(crate) async fn port_api(self: Arc<Self>, request: Request<Incoming>) -> Result<Reply, HangUp> {
        let route = port::route(request.method(), request.uri().path());
        self.pass(route, request, async |parts, body, _| {
            let latency = self.port.api_settings().latency;
            tokio::time::sleep(latency).await;
            self.port.answer(&parts, &body).await
        })
        .await
    }

    /// Answers a request to Microsoft Graph.
    pub(crate) async fn microsoft_graph(self: Arc<Self>, request: Request<Incoming>) -> Result<Reply, HangUp> {
        let route = entra::route(request.uri());
        self.pass(route, request, async |parts, body, _| {
            let latency = self.entra.settings().latency;
            tokio::time::sleep(latency).await;
            entra::answer(&self, &parts, &body)
        })
        .await
    }

    /// Takes a body without keeping or logging it, so that benches do not measure the sandbox.
    async fn sink(&self, request: Request<Incoming>) -> Result<Reply, HangUp> {
        let _in_flight = self.requests.begin(Route::Webhook);
        let (parts, mut body) = request.into_parts();
        if let Err((status, body)) = self.port.admit(&parts) {
            return Ok(self.dated(Route::Webhook, json(status, body)));
        }
        let mut length = 0;
        while !body.is_end_stream() {
            let Some(frame) = body.frame().await else { break };
            length += frame.map_err(|_| HangUp)?.data_ref().map_or(0, Bytes::len);
        }
        if !self.settings.port.post_latency.is_zero() {
            tokio::time::sleep(self.settings.port.post_latency).await;
        }
        if length > self.settings.port.body_limit {
            return Ok(self.dated(Route::Webhook, port::too_large()));
        }
        self.port.count(length);
        Ok(self.dated(Route::Webhook, port::accepted()))
    }

    async fn pass<A, F>(&self, route: Route, request: Request<Incoming>, answer: A) -> Result<Reply, HangUp>
    where
        A: FnOnce(Parts, Bytes, Option<Shift>) -> F,
        F: Future<Output = Reply>,
    {
        let _in_flight = self.requests.begin(route);
        let at = Instant::now();
        let (mut parts, body) = request.into_parts();
        let body = body.collect().await.map_err(|_| HangUp)?.to_bytes();
        let is_of_api = Route::PORT.contains(&route);
        let is_noted = if is_of_api { self.settings.port.record } else { route != Route::Webhook };
        let noted = if is_noted { body.clone() } else { Bytes::new() };
        let has_target = is_of_api || Route::ENTRA.contains(&route);
        let path = parts.uri.path_and_query().map_or("", |path| path.as_str());
        let target = if has_target { format!("{} {path}", parts.method) } else { String::new() };
        let reply = match self.faults.pick(route, &target, &body) {
            None => Ok(answer(parts, body, None).await),
            Some((Fault::Echo(status), _)) => Ok(echo(status, &parts, &body)),
            Some((Fault::Quote(status, quoting), _)) => Ok(quote(status, &quoting, &parts, &body)),
            Some((Fault::Late, _)) => {
                self.port.keep_back(route, parts, body);
                Err(HangUp)
            }
            Some((Fault::Revoked, _)) => {
                self.port.revoke_token();
                Ok(answer(parts, body, None).await)
            }
            Some((fault, applied)) => {
                // Faults that edit the answer need it uncompressed.
                parts.headers.remove(ACCEPT_ENCODING);
                let shift = if let Fault::Unstable(shift) = fault { Some(shift) } else { None };
                fail(fault, applied, answer(parts, body, shift)).await
            }
        };
        let status = reply.as_ref().ok().map(|reply| reply.status().as_u16());
        self.requests.log(Entry { route, at, status, target, body: noted });
        reply.map(|reply| self.dated(route, reply))
    }

    /// Adds the date of its route to a reply that has none.
    fn dated(&self, route: Route, mut reply: Reply) -> Reply {
        let machine = Clock::real();
        let clock = if matches!(route, Route::Subscriptions | Route::Graph) || Route::ENTRA.contains(&route) {
            &self.clock
        } else {
            &machine
        };
        if let Some(Ok(date)) = self.dates.next(route, clock).map(HeaderValue::try_from) {
            reply.headers_mut().entry(DATE).or_insert(date);
        }
        reply
    }
}
