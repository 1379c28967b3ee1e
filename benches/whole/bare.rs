//! The baseline: a bare loop that posts the same bodies with the same client and does nothing else.
use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use futures::{StreamExt, TryStreamExt, stream};
use reqwest::Client;
use reqwest::header::CONTENT_TYPE;
use tokio::runtime::Builder;

#[derive(Args)]
pub(crate) struct Bare {
    url: String,
    /// A body a line.
    bodies: PathBuf,
    in_flight: usize,
    /// Work on one thread, or on all
    #[arg(long)]
    one_thread: bool,
}

pub(crate) fn run(bare: &Bare) -> io::Result<()> {
    let bodies = Bytes::from(fs::read(&bare.bodies)?);
    let mut runtime = match bare.one_thread {
        true => Builder::new_current_thread(),
        false => Builder::new_multi_thread(),
    };
    runtime.enable_all().build()?.block_on(post(bare, &bodies)).map_err(io::Error::other)
}

async fn post(bare: &Bare, bodies: &Bytes) -> reqwest::Result<()> {
    _ = rustls::crypto::ring::default_provider().install_default();
    let client = Client::builder()
        .user_agent("bare")
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(Duration::from_secs(10))
        .pool_max_idle_per_host(bare.in_flight)
        .build()?;
    let token = match std::env::var("PORT_CLIENT_SECRET") {
        Ok(secret) => Some(sign_in(&client, &bare.url, &secret).await?),
        Err(_) => None,
    };
    let bodies = bodies.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let posts = bodies.map(|body| {
        let request = client.post(&bare.url).header(CONTENT_TYPE, "application/json");
        let request = match &token {
            Some(token) => request.bearer_auth(token),
            None => request,
        };
        let body = Bytes::copy_from_slice(body);
        async move { request.body(body).send().await?.error_for_status()?.bytes().await.map(drop) }
    });
    stream::iter(posts).buffer_unordered(bare.in_flight).try_collect().await
}

/// Gets a token for Port's API.
async fn sign_in(client: &Client, url: &str, secret: &str) -> reqwest::Result<String> {
    let origin = url.split("/v1/").next().unwrap_or_default();
    let id = std::env::var("PORT_CLIENT_ID").unwrap_or_default();
    let body = serde_json::json!({"clientId": id, "clientSecret": secret}).to_string();
    let request = client.post(format!("{origin}/v1/auth/access_token")).header(CONTENT_TYPE, "application/json");
    let answer = request.body(body).send().await?.error_for_status()?.bytes().await?;
    let answer: serde_json::Value = serde_json::from_slice(&answer).unwrap_or_default();
    Ok(answer["accessToken"].as_str().unwrap_or_default().to_owned())
}
