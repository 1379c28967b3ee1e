//! Microsoft Graph as clients see it: over TLS, with a token for it.
#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test that panics has failed, which is what it is for"
)]

mod batches;
mod catalog;
mod deltas;
mod following;
mod lists;
mod memberships;
mod replicas;
mod rights;
mod rounds;
mod sign_ins;
mod throttling;
mod tokens;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use reqwest::header::HeaderMap;
use reqwest::{Client, Method};
use sandbox::clock::Clock;
use sandbox::directory::{GroupKind, Id, Kind};
use sandbox::settings::{CLIENT, DirectorySize, EntraSettings, EstateSize, SECRET, Settings, TENANT};
use sandbox::{Host, Sandbox};
use serde_json::{Value as Json, json};

const USERS: &str = "/v1.0/users/delta?$select=displayName,department";
const GROUPS: &str = "/v1.0/groups/delta?$select=displayName,members";

struct Asking {
    sandbox: Sandbox,
    client: Client,
    token: String,
}

/// A status, headers and body.
struct Answer {
    status: u16,
    headers: HeaderMap,
    body: Json,
}

/// All items of a round, by page, and the link to the next round.
struct Round {
    pages: Vec<Vec<Json>>,
    link: String,
}

fn settings(change: impl FnOnce(&mut EntraSettings)) -> Settings {
    let mut settings = Settings {
        clock: Clock::at(1_700_000_000_000),
        estate: EstateSize { subscriptions: 0, groups: 0, resources: 0 },
        directory: DirectorySize::none(),
        ..Settings::default()
    };
    change(&mut settings.entra);
    settings
}

impl Asking {
    /// With an empty directory.
    async fn new() -> Self {
        Self::with(|_| {}).await
    }

    async fn with(change: impl FnOnce(&mut EntraSettings)) -> Self {
        Self::of(settings(change)).await
    }

    /// Signs in.
    async fn of(settings: Settings) -> Self {
        let sandbox = Sandbox::start(settings).await.unwrap();
        let client = sandbox.client().unwrap().timeout(Duration::from_secs(20)).build().unwrap();
        let mut asking = Self { sandbox, client, token: String::new() };
        asking.sign_in().await;
        asking
    }

    async fn sign_in(&mut self) {
        let scope = format!("{}/.default", self.sandbox.origin(Host::MicrosoftGraph));
        let form =
            [("grant_type", "client_credentials"), ("client_id", CLIENT), ("client_secret", SECRET), ("scope", &scope)];
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let url = format!("{}/{TENANT}/oauth2/v2.0/token", self.sandbox.origin(Host::SignIn));
        let answer: Json = self.client.post(url).body(body).send().await.unwrap().json().await.unwrap();
        self.token = answer["access_token"].as_str().unwrap().to_owned();
    }

    async fn ask(&self, method: Method, url: &str, headers: &[(&'static str, &str)], body: &Json) -> Answer {
        let url = if url.starts_with('/') { self.sandbox.origin(Host::MicrosoftGraph) + url } else { url.to_owned() };
        let mut request = self.client.request(method, url).bearer_auth(&self.token);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if !body.is_null() {
            request = request.body(body.to_string());
        }
        let answer = request.send().await.unwrap();
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        Answer { status, headers, body: answer.json().await.unwrap() }
    }

    async fn get(&self, url: &str) -> Answer {
        self.ask(Method::GET, url, &[], &Json::Null).await
    }

    /// The same with the header that advanced queries need.
    async fn get_eventual(&self, url: &str) -> Answer {
        self.ask(Method::GET, url, &[("consistencylevel", "eventual")], &Json::Null).await
    }

    async fn post(&self, url: &str, body: &Json) -> Answer {
        self.ask(Method::POST, url, &[], body).await
    }

    /// Reads a round from a path or link to its end.
    async fn round(&self, from: &str) -> Round {
        let (mut pages, mut url) = (Vec::new(), from.to_owned());
        loop {
            let page = self.get(&url).await.ok();
            pages.push(page["value"].as_array().unwrap().clone());
            let (next, link) = (page["@odata.nextLink"].as_str(), page["@odata.deltaLink"].as_str());
            assert_ne!(next.is_some(), link.is_some(), "a page has one link: {page}");
            match next {
                Some(next) => url = next.to_owned(),
                None => return Round { pages, link: link.unwrap().to_owned() },
            }
        }
    }

    /// All items of a list.
    async fn list(&self, path: &str) -> Vec<Json> {
        let (mut items, mut url) = (Vec::new(), path.to_owned());
        loop {
            let page = self.get(&url).await.ok();
            items.extend(page["value"].as_array().unwrap().iter().cloned());
            match page["@odata.nextLink"].as_str() {
                Some(next) => url = next.to_owned(),
                None => return items,
            }
        }
    }

    async fn refused(&self, url: &str, status: u16, code: &str) -> String {
        self.get(url).await.is(status, code)
    }

    fn set(&self, change: impl FnOnce(&mut EntraSettings)) {
        change(&mut self.sandbox.entra().settings());
    }

    fn user(&self, name: &str) -> Id {
        self.sandbox.tenant().create_user(name)
    }

    /// A group with this many new users.
    fn group_of(&self, members: usize) -> (Id, Vec<Id>) {
        let mut tenant = self.sandbox.tenant();
        let group = tenant.create_group("group", GroupKind::Security);
        let users: Vec<Id> = (0..members).map(|number| tenant.create_user(&format!("User {number}"))).collect();
        for user in &users {
            tenant.join(group, *user);
        }
        (group, users)
    }
}

impl Answer {
    fn ok(self) -> Json {
        assert_eq!(self.status, 200, "{}", self.body);
        self.body
    }

    /// The message of an error.
    fn is(self, status: u16, code: &str) -> String {
        assert_eq!((self.status, self.body["error"]["code"].as_str()), (status, Some(code)), "{}", self.body);
        self.body["error"]["message"].as_str().unwrap().to_owned()
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

impl Round {
    fn items(&self) -> impl Iterator<Item = &Json> {
        self.pages.iter().flatten()
    }

    fn ids(&self) -> BTreeSet<String> {
        self.items().map(id_of).collect()
    }

    /// The only item.
    fn only(&self) -> &Json {
        let items: Vec<&Json> = self.items().collect();
        assert_eq!(items.len(), 1, "{items:?}");
        items[0]
    }

    /// The members that joined or left each group: whether they are in it now.
    fn members(&self) -> BTreeMap<String, BTreeMap<String, bool>> {
        let mut groups: BTreeMap<String, BTreeMap<String, bool>> = BTreeMap::new();
        for item in self.items() {
            let members = groups.entry(id_of(item)).or_default();
            for member in item["members@delta"].as_array().into_iter().flatten() {
                members.insert(id_of(member), member.get("@removed").is_none());
            }
        }
        groups
    }
}

fn id_of(item: &Json) -> String {
    item["id"].as_str().unwrap().to_owned()
}

fn texts(ids: &[Id]) -> BTreeSet<String> {
    ids.iter().map(Id::to_string).collect()
}

fn removed(id: Id, reason: &str) -> Json {
    json!({"id": id.to_string(), "@removed": {"reason": reason}})
}

/// This field of each value.
fn field<'a>(items: impl IntoIterator<Item = &'a Json>, name: &str) -> Vec<&'a Json> {
    items.into_iter().map(|item| &item[name]).collect()
}

fn path_of(kind: Kind, id: Id) -> String {
    format!("/v1.0/{}/{id}", kind.segment())
}
