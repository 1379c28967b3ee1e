//! The sandbox: an Azure estate with its history, the services that show it, and a Port that keeps a catalog.
//!
//! ```text
//!                 life ─▶ estate ─▶ history ─▶ tables ─▶ kql
//!                           │                     │
//!  signin · arm · graph ◀───┼──── world ──────────┘        (five origins over TLS: server; what goes wrong: faults)
//!                           │       │
//!        expected ◀─────────┤       ├──▶ port ─▶ mapping ─▶ catalog
//!                           │       └──▶ its own API ─────────┘
//!      entra ◀── directory ◀┘
//! ```
//!
//! `graph` is Resource Graph, `entra` is Microsoft Graph. The truth is in `estate` and `directory`. What the services
//! show lags behind it, as with the real ones. The expected catalog is computed directly from the truth, so that a test
//! can compare both ends.
#![allow(clippy::indexing_slicing, reason = "a sandbox that panics fails its test, which is what it is for")]

mod answers;
mod arm;
mod catalog;
pub mod clock;
pub mod dates;
pub mod directory;
pub mod entra;
pub mod estate;
pub mod expected;
pub mod faults;
mod graph;
mod history;
mod kinds;
pub mod life;
mod mapping;
pub mod names;
pub mod port;
mod quota;
pub mod requests;
pub mod rng;
mod server;
pub mod settings;
pub mod sight;
pub mod signin;
mod tables;
mod world;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tempfile::TempDir;
use tokio::runtime::{Handle, Runtime};

use clock::Clock;
use dates::Dates;
use directory::Directory;
use entra::Entra;
use estate::Estate;
use expected::{DirectoryScope, Expected, Scope, diff, expected, expected_of_directory, was_out};
use faults::Faults;
use port::Port;
use requests::Requests;
use server::{Authority, Door};
use settings::{CLIENT, PORT_CLIENT_ID, PORT_CLIENT_SECRET, SECRET, Settings, TENANT, WEBHOOK_KEY};
use signin::SignIn;
use world::World;

/// A running sandbox; dropping it stops everything.
pub struct Sandbox {
    world: Arc<World>,
    doors: [Door; 5],
    directory: TempDir,
    /// Dropped last, without waiting for hanging tasks.
    runtime: Option<Runtime>,
}

/// The sandbox's hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Host {
    SignIn,
    ResourceManager,
    /// The webhook host.
    Port,
    PortApi,
    MicrosoftGraph,
}

impl Sandbox {
    pub async fn start(settings: Settings) -> io::Result<Self> {
        let net = settings.net.clone();
        let world = Arc::new(World::new(settings).map_err(io::Error::other)?);
        let runtime = if net.own_runtime {
            Some(tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?)
        } else {
            None
        };
        let handle = runtime.as_ref().map_or_else(Handle::current, |runtime| runtime.handle().clone());
        let authority = Authority::new(&net)?;
        let [sign_in, manager, ingest, api, graph] = net.ports;
        let doors = [
            Door::open(&handle, sign_in, &authority, route(&world, World::sign_in))?,
            Door::open(&handle, manager, &authority, route(&world, World::manage))?,
            Door::open(&handle, ingest, &authority, route(&world, World::ingest))?,
            Door::open(&handle, api, &authority, route(&world, World::port_api))?,
            Door::open(&handle, graph, &authority, route(&world, World::microsoft_graph))?,
        ];
        let _ = world.arm.set(doors[Host::ResourceManager as usize].origin());
        world.entra.set_origin(doors[Host::MicrosoftGraph as usize].origin());
        world.port.set_origin(doors[Host::Port as usize].origin());
        let directory = tempfile::Builder::new().prefix("azure-incremental-sandbox-").tempdir()?;
        std::fs::write(directory.path().join(AUTHORITY_FILE), authority.pem)?;
        Ok(Self { world, doors, directory, runtime })
    }

    /// The environment variables that point the program at this sandbox.
    pub fn env(&self) -> Vec<(String, String)> {
        [
            ("AZURE_TENANT_ID", TENANT.to_owned()),
            ("AZURE_CLIENT_ID", CLIENT.to_owned()),
            ("AZURE_CLIENT_SECRET", SECRET.to_owned()),
            ("PORT_WEBHOOK_INGEST_URL", self.webhook_url()),
            ("AZURE_AUTHORITY_HOST", self.origin(Host::SignIn)),
            ("AZURE_RESOURCE_MANAGER_ENDPOINT", self.origin(Host::ResourceManager)),
            ("MICROSOFT_GRAPH_ENDPOINT", self.origin(Host::MicrosoftGraph)),
            ("SSL_CERT_FILE", self.authority_file().display().to_string()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into()
    }

    /// The variables that point the program at Port's API instead of the webhook.
    pub fn port_env(&self) -> Vec<(String, String)> {
        [
            ("PORT_CLIENT_ID", PORT_CLIENT_ID.to_owned()),
            ("PORT_CLIENT_SECRET", PORT_CLIENT_SECRET.to_owned()),
            ("PORT_BASE_URL", self.origin(Host::PortApi)),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into()
    }

    /// `https://127.0.0.1:port`.
    pub fn origin(&self, host: Host) -> String {
        self.doors[host as usize].origin()
    }

    pub fn webhook_url(&self) -> String {
        format!("{}/{WEBHOOK_KEY}", self.origin(Host::Port))
    }

    /// The CA certificate of all hosts, in PEM.
    pub fn authority_file(&self) -> PathBuf {
        self.directory.path().join(AUTHORITY_FILE)
    }

    /// A client that trusts the sandbox.
    pub fn client(&self) -> io::Result<reqwest::ClientBuilder> {
        // Already installed if another client was built.
        _ = rustls::crypto::ring::default_provider().install_default();
        let authority = reqwest::Certificate::from_pem(&std::fs::read(self.authority_file())?);
        Ok(reqwest::Client::builder().tls_certs_only([authority.map_err(io::Error::other)?]))
    }

    /// A directory that is deleted with the sandbox.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Cuts all connections of a host and refuses new ones, or makes it available again.
    pub async fn set_up(&self, host: Host, up: bool) {
        self.doors[host as usize].set_open(up).await;
    }

    /// How many connections a host has accepted.
    pub fn connections(&self, host: Host) -> u64 {
        self.doors[host as usize].connections()
    }

    pub fn clock(&self) -> &Clock {
        &self.world.clock
    }

    /// The truth in Entra ID; the services wait while it is locked.
    pub fn tenant(&self) -> MutexGuard<'_, Directory> {
        self.world.tenant()
    }

    /// The truth; the services wait while it is locked.
    pub fn estate(&self) -> MutexGuard<'_, Estate> {
        lock(&self.world.estate)
    }

    pub fn sign_in(&self) -> &SignIn {
        &self.world.sign_in
    }

    pub fn port(&self) -> &Port {
        &self.world.port
    }

    /// Microsoft Graph.
    pub fn entra(&self) -> &Entra {
        &self.world.entra
    }

    pub fn faults(&self) -> &Faults {
        &self.world.faults
    }

    /// The `Date` headers of answers.
    pub fn dates(&self) -> &Dates {
        &self.world.dates
    }

    pub fn requests(&self) -> &Requests {
        &self.world.requests
    }

    /// The catalog as it should be now.
    pub fn expected(&self, scope: &Scope) -> Expected {
        expected(&self.estate(), scope)
    }

    /// The same for Entra ID.
    pub fn expected_of_tenant(&self, scope: &DirectoryScope) -> Expected {
        expected_of_directory(&self.tenant(), scope)
    }

    /// Whether an object of Entra ID did not exist, or was out of scope, at any time in the last `age`.
    pub fn was_out_of_scope(&self, id: directory::Id, scope: &DirectoryScope, age: Duration) -> bool {
        was_out(&self.tenant(), scope, id, age)
    }

    /// The differences from the expected catalog, once everything accepted is applied.
    pub async fn diff(&self, scope: &Scope) -> Vec<String> {
        self.port().settle().await;
        let expected = self.expected(scope);
        self.port().with_catalog(|catalog| diff(catalog, &expected))
    }

    /// The same for Entra ID.
    pub async fn diff_of_tenant(&self, scope: &DirectoryScope) -> Vec<String> {
        self.port().settle().await;
        let expected = self.expected_of_tenant(scope);
        self.port().with_catalog(|catalog| diff(catalog, &expected))
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

const AUTHORITY_FILE: &str = "authority.pem";

/// The handler of one origin, which hyper calls for each request.
fn route<F>(
    world: &Arc<World>,
    answer: fn(Arc<World>, hyper::Request<hyper::body::Incoming>) -> F,
) -> impl Fn(hyper::Request<hyper::body::Incoming>) -> F + Clone + Send + Sync + 'static
where
    F: 'static,
{
    let world = world.clone();
    move |request| answer(world.clone(), request)
}

/// Ignores poisoning: a panic is reported where it happens.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
