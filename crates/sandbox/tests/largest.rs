//! A large tenant: the time and memory to create it and to read all of it. By default it is a tenth of the largest;
//! `LARGEST=1 cargo test --release -p azure-incremental-sandbox --test largest -- --nocapture` prints the figures for
//! that.
#![allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "the figures are what it is for")]

use std::collections::HashMap;
use std::time::{Duration, Instant};

use reqwest::Client;
use sandbox::directory::Kind;
use sandbox::requests::Route;
use sandbox::settings::{CLIENT, DirectorySize, EstateSize, SECRET, Settings, TENANT};
use sandbox::{Host, Sandbox};
use serde_json::Value as Json;

/// Current and peak memory of this process in MiB; 0 if unknown.
fn memory() -> (u64, u64) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let of = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok()).unwrap_or_default() / 1024
    };
    (of("VmRSS:"), of("VmHWM:"))
}

struct Reading {
    client: Client,
    token: String,
}

impl Reading {
    async fn of(sandbox: &Sandbox) -> Self {
        let client = sandbox.client().unwrap().timeout(Duration::from_secs(60)).build().unwrap();
        let scope = format!("{}/.default", sandbox.origin(Host::MicrosoftGraph));
        let form =
            [("grant_type", "client_credentials"), ("client_id", CLIENT), ("client_secret", SECRET), ("scope", &scope)];
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let url = format!("{}/{TENANT}/oauth2/v2.0/token", sandbox.origin(Host::SignIn));
        let answer: Json = client.post(url).body(body).send().await.unwrap().json().await.unwrap();
        Self { client, token: answer["access_token"].as_str().unwrap().to_owned() }
    }

    /// Visits every item from a link to the last page; returns the number of pages.
    async fn all(&self, from: String, mut each: impl FnMut(&Json)) -> usize {
        let (mut pages, mut url) = (0, from);
        loop {
            let answer = self.client.get(url).bearer_auth(&self.token).send().await.unwrap();
            let page: Json = answer.json().await.unwrap();
            page["value"].as_array().unwrap().iter().for_each(&mut each);
            pages += 1;
            match page["@odata.nextLink"].as_str() {
                Some(next) => url = next.to_owned(),
                None => return pages,
            }
        }
    }
}

#[tokio::test]
async fn a_large_tenant_is_made_and_read_to_its_end() {
    let started = Instant::now();
    let mut size = DirectorySize::largest();
    if std::env::var_os("LARGEST").is_none() {
        for number in [&mut size.users, &mut size.groups, &mut size.memberships].into_iter().chain(&mut size.large) {
            *number /= 10;
        }
    }
    let mut settings = Settings {
        estate: EstateSize { subscriptions: 0, groups: 0, resources: 0 },
        directory: size.clone(),
        ..Settings::default()
    };
    settings.entra.units = None;
    let sandbox = Sandbox::start(settings).await.unwrap();
    let made = started.elapsed();
    println!("made in {:.1} s, {} MiB", made.as_secs_f64(), memory().0);
    let origin = sandbox.origin(Host::MicrosoftGraph);
    let reading = Reading::of(&sandbox).await;

    let started = Instant::now();
    let mut users = 0;
    let select = "userPrincipalName,displayName,givenName,surname,mail,jobTitle,department,accountEnabled,userType";
    let pages = reading.all(format!("{origin}/v1.0/users/delta?$select={select}"), |_| users += 1).await;
    assert_eq!((users, pages), (size.users, size.users / 200));
    println!("users: {pages} pages in {:.1} s", started.elapsed().as_secs_f64());

    let started = Instant::now();
    let mut members: HashMap<String, usize> = HashMap::new();
    let count = |group: &Json| {
        let slice = group["members@delta"].as_array().map_or(0, Vec::len);
        *members.entry(group["id"].as_str().unwrap().to_owned()).or_default() += slice;
    };
    let pages = reading.all(format!("{origin}/v1.0/groups/delta?$select=displayName,members"), count).await;
    let groups = sandbox.tenant().ids(Kind::Group);
    let of = |place: usize| members[&groups[place].to_string()];
    assert_eq!((members.len(), of(0)), (size.groups, size.large[0]));
    // One in twelve groups has a device, a contact and the like in addition to users.
    assert!((size.large[1]..size.large[1] + 5).contains(&of(1)), "{}", of(1));
    let all: usize = members.values().sum();
    assert!(all.abs_diff(size.memberships) < size.memberships / 20, "{all}");
    println!("groups: {pages} pages and {all} memberships in {:.1} s", started.elapsed().as_secs_f64());

    let started = Instant::now();
    let mut listed = 0;
    let large = format!("{origin}/v1.0/groups/{}/members?$select=id&$top=999", groups[0]);
    let pages = reading.all(large, |_| listed += 1).await;
    assert_eq!((listed, pages), (size.large[0], size.large[0].div_ceil(999)));
    println!("members of one: {pages} pages in {:.1} s", started.elapsed().as_secs_f64());

    let started = Instant::now();
    let listed = reading.all(format!("{origin}/v1.0/users?$select=id&$top=999"), |_| {}).await;
    assert_eq!(listed, size.users.div_ceil(999));
    println!("users listed: {listed} pages in {:.1} s", started.elapsed().as_secs_f64());
    let requests: u64 = Route::ENTRA.iter().map(|route| sandbox.requests().count(*route)).sum();
    println!("{requests} requests, {} units, {} MiB at the most", sandbox.entra().units(), memory().1);
}
