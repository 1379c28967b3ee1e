//! Entra ID: which kinds can be read, and which roles are missing for the others.

use std::sync::Arc;

use super::output::Told;
use crate::azure::api::Api;
use crate::config::{Config, Entra, EntraKind};
use crate::engine::Sight;
use crate::error::{Exit, Problem};
use crate::http::Http;
use crate::run::Mapped;
use crate::sources::directory::Directory;

const WHAT: &str = "Entra ID";

/// Requests the first page of each kind to sync.
pub(super) async fn entra(config: &Config, http: &Arc<Http>) -> Told {
    let mut told = Told::new();
    // Errors in the file are reported under Port.
    let mapped = config.port.mapping_file.as_deref().and_then(|file| Mapped::read(file).ok());
    let entra = Mapped::entra(mapped.as_ref(), config.entra.as_ref());
    if entra.kinds.is_empty() {
        return told;
    }
    let api = match Api::microsoft_graph(&config.azure, Arc::clone(http)) {
        Ok(api) => api,
        Err(error) => {
            told.wrong(WHAT, &error);
            return told;
        }
    };
    let has_sign_ins = entra.sign_ins && entra.kinds.contains(&EntraKind::User);
    let directory = Directory::new(api, Entra { sign_ins: false, ..entra }, &config.azure.tenant_id);
    directory.open(|_| None).await;
    let readable = directory.shards().into_iter().filter(|(_, sight, _)| *sight == Sight::Covered);
    let readable: Vec<&str> = readable.filter_map(|(id, ..)| Some(EntraKind::of(&id)?.plural())).collect();
    if !readable.is_empty() {
        told.ok(WHAT, format!("{} can be read", readable.join(", ")));
    }
    let mut failures = directory.take_failures();
    // A failed sign-in affects every kind, so it is reported once.
    if let Some(place) = failures.iter().position(|error| error.exit() == Exit::Credentials) {
        failures = vec![failures.swap_remove(place)];
    }
    for error in &failures {
        told.wrong(WHAT, error);
    }
    if has_sign_ins && failures.is_empty() {
        match directory.look_at_sign_ins().await {
            Ok(None) => told.ok(WHAT, "sign-ins can be read"),
            Ok(Some(why)) => told.note(WHAT, format!("sign-ins cannot be read without a licence: {why}")),
            Err(error) => told.wrong(WHAT, &error),
        }
    }
    told
}
