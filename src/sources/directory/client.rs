//! Requests to Microsoft Graph, and the pages it returns.

use std::cell::Cell;
use std::collections::HashMap;

use bytes::Bytes;
use governor::{DefaultDirectRateLimiter, Quota};
use jiff::Timestamp;
use reqwest::Url;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use serde_json::value::RawValue;

use super::error::DirectoryError;
use crate::azure::api::{Api, Effort, Unlimited};
use crate::config::EntraKind;
use crate::error::Cause;
use crate::http::{self, RequestError};

/// Ids per request ("directoryObject: getByIds", Microsoft Graph v1.0 reference).
const MOST_IDS: usize = 1000;

/// How often to try a request that fails for lack of a licence: even in a licensed tenant, some answers claim that
/// there is none.
const TRIES: usize = 3;

/// Microsoft Graph.
pub(super) struct Client {
    api: Api,
    sign_ins: Option<DefaultDirectRateLimiter>,
    requests: Cell<u64>,
    rows: Cell<u64>,
}

/// A page of a list or of a delta. It links to the next page or, at the end of a delta, to the next round.
#[derive(Deserialize)]
pub(super) struct Page {
    #[serde(default)]
    pub(super) value: Vec<Box<RawValue>>,
    #[serde(rename = "@odata.nextLink", default)]
    pub(super) next: Option<String>,
    #[serde(rename = "@odata.deltaLink", default)]
    pub(super) delta: Option<String>,
}

impl Client {
    pub(super) fn new(api: Api) -> Self {
        let sign_ins = Quota::with_period(api.limits().sign_ins_apart).map(DefaultDirectRateLimiter::direct);
        Self { api, sign_ins, requests: Cell::new(0), rows: Cell::new(0) }
    }

    /// Requests answered so far.
    pub(super) fn requests(&self) -> u64 {
        self.requests.get()
    }

    /// Objects, and members of groups, in those answers.
    pub(super) fn rows(&self) -> u64 {
        self.rows.get()
    }

    /// The time on Graph's clock when it first answered.
    pub(super) fn first_date(&self) -> Option<Timestamp> {
        self.api.first_date()
    }

    /// Whether answers show the members of groups that hide them.
    pub(super) async fn shows_hidden(&self) -> bool {
        self.api.has_role("Member.Read.Hidden").await
    }

    /// The URL of a path in version 1.0.
    pub(super) fn url(&self, kind: EntraKind, path: &str) -> Result<Url, DirectoryError> {
        self.api.url(&format!("/v1.0/{path}")).map_err(|error| DirectoryError::new(kind, error.into()))
    }

    /// A URL from Graph. It is requested with the access token, so it may only lead to Graph.
    pub(super) fn link(&self, kind: EntraKind, link: &str) -> Result<Url, DirectoryError> {
        let url = link.parse().map_err(|error| unreadable(kind, Cause::told("a link is not a URL", error)))?;
        self.api.own(url).map_err(|error| DirectoryError::new(kind, error.into()))
    }

    /// Reads sign-ins, one request at a time.
    pub(super) async fn sign_ins<T: DeserializeOwned>(&self, url: Url) -> Result<T, DirectoryError> {
        let mut tries = 0;
        loop {
            if let Some(rate) = &self.sign_ins {
                rate.until_ready().await;
            }
            tries += 1;
            match self.get(EntraKind::SignIn, url.clone()).await {
                Err(error) if error.is_unlicensed() && tries < TRIES => {}
                answer => return answer,
            }
        }
    }

    pub(super) async fn page(&self, kind: EntraKind, url: Url) -> Result<Page, DirectoryError> {
        let page: Page = self.get(kind, url).await?;
        if page.next.is_some() && page.delta.is_some() {
            return Err(unreadable(kind, "a page has both a next link and a delta link"));
        }
        self.rows.set(self.rows.get() + page.value.len() as u64);
        Ok(page)
    }

    pub(super) async fn get<T: DeserializeOwned>(&self, kind: EntraKind, url: Url) -> Result<T, DirectoryError> {
        // A link holds a token of several hundred characters, which is noise in a log.
        let label = format!("GET {}{}", url.origin().ascii_serialization(), url.path());
        let answer = self.api.get(url, &label).await.map_err(|error| DirectoryError::new(kind, error))?;
        self.requests.set(self.requests.get() + 1);
        answer.json().map_err(|failure| DirectoryError::new(kind, RequestError::new(label, failure).into()))
    }

    /// Which of these GUIDs exist ("directoryObject: getByIds" returns only those), with the names that users sign in
    /// with.
    pub(super) async fn names(
        &self,
        kind: EntraKind,
        guids: &[impl AsRef<str>],
    ) -> Result<HashMap<String, Option<String>>, DirectoryError> {
        #[derive(Deserialize)]
        struct Named {
            id: String,
            #[serde(rename = "userPrincipalName", default)]
            name: Option<String>,
        }
        #[derive(Deserialize)]
        struct List {
            value: Vec<Named>,
        }
        let of_type = if EntraKind::APART.contains(&kind) { EntraKind::User } else { kind };
        let mut existing = HashMap::new();
        for some in guids.chunks(MOST_IDS) {
            let some: Vec<&str> = some.iter().map(AsRef::as_ref).collect();
            let url = self.url(kind, "directoryObjects/getByIds")?;
            let label = http::label("POST", &url);
            let body = Bytes::from(json!({"ids": some, "types": [of_type.name()]}).to_string());
            let answer = self.api.post(url, body, &Unlimited, Effort::Full).await;
            let answer = answer.map_err(|error| DirectoryError::new(kind, error))?;
            self.requests.set(self.requests.get() + 1);
            let list = answer.unpack().and_then(|answer| answer.json());
            let list: List =
                list.map_err(|failure| DirectoryError::new(kind, RequestError::new(label, failure).into()))?;
            existing.extend(list.value.into_iter().map(|named| (named.id.to_lowercase(), named.name)));
        }
        Ok(existing)
    }
}

pub(super) fn unreadable(kind: EntraKind, cause: impl Into<Cause>) -> DirectoryError {
    DirectoryError::Unreadable { kind, source: cause.into() }
}
