//! The sink of a story's entities, and what goes wrong on the way.

use sandbox::faults::{Fault, Rule};
use sandbox::requests::Route;
use sandbox::rng::Rng;
use sandbox::settings::ApiSettings;
use sandbox::{Host, Sandbox};

use super::super::story::Story;
use super::{Estate, Trouble};

/// A second client id that Port knows.
pub(super) const OTHER_CLIENT: &str = "an0therPortClient";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sink {
    Webhook,
    /// Port's API. Except in the calm story, it throttles, fails after writing, drops entities and revokes tokens.
    Api,
}

impl Sink {
    pub(super) fn change(self, settings: &mut ApiSettings) {
        // Port's limits use real time.
        settings.rates = None;
        settings.clients.push(OTHER_CLIENT.to_owned());
    }

    /// The environment that makes the program write to this sink.
    pub(super) fn environment(self, sandbox: &Sandbox) -> Vec<(String, String)> {
        match self {
            Self::Webhook => Vec::new(),
            Self::Api => {
                let no_webhook = ("PORT_WEBHOOK_INGEST_URL".to_owned(), String::new());
                sandbox.port_env().into_iter().chain([no_webhook]).collect()
            }
        }
    }

    pub(super) fn host(self) -> Host {
        match self {
            Self::Webhook => Host::Port,
            Self::Api => Host::PortApi,
        }
    }

    /// The routes that write and delete entities in Port.
    pub(super) fn routes(self) -> &'static [Route] {
        match self {
            Self::Webhook => &[Route::Webhook],
            Self::Api => &[Route::PortBulk, Route::PortDelete],
        }
    }

    /// Text in a request's body that refers to this entity, and not to another one that relates to it.
    pub(super) fn mention(self, id: &str) -> String {
        match self {
            Self::Webhook => format!("\"resourceId\":\"{id}\""),
            Self::Api => format!("\"identifier\":\"{id}\""),
        }
    }

    /// The most changes in one request.
    pub(super) fn carries(self) -> u64 {
        match self {
            Self::Webhook => 1,
            Self::Api => 100,
        }
    }
}

impl Story<Estate> {
    /// Clears all faults except those that Port's API always has.
    pub(super) fn clear_faults(&self) {
        self.sandbox.faults().clear();
        if self.plot.sink == Sink::Api && self.plot.trouble != Trouble::None {
            self.break_api();
        }
    }

    fn break_api(&self) {
        let faults = self.sandbox.faults();
        for route in [Route::PortBulk, Route::PortDelete] {
            faults.add(route, Rule::new(Fault::retry_after(429, "0")).chance(0.05));
            faults.add(route, Rule::new(Fault::status(503)).chance(0.05));
            faults.add(route, Rule::new(Fault::Reset).chance(0.03));
            // Applied, but the answer is lost.
            faults.add(route, Rule::new(Fault::status(500)).chance(0.05).applied());
            faults.add(route, Rule::new(Fault::ResetInBody).chance(0.05).applied());
            faults.add(route, Rule::new(Fault::Revoked).chance(0.02));
        }
        // Fails for groups; their contents then have nothing to relate to.
        faults.add(Route::PortBulk, Rule::new(Fault::status(500)).containing("\"subscription\":").chance(0.1));
        faults.add(Route::PortToken, Rule::new(Fault::status(503)).chance(0.1));
    }

    /// Changes what bulk requests drop, and the form of their answers.
    pub(super) fn forget(&mut self) {
        if self.plot.trouble == Trouble::None {
            return;
        }
        let some = |rng: &mut Rng| ["vaults", "storage", "-a", "rg-"][rng.below(4)].to_owned();
        let rng = &mut self.rng;
        let bulk = &mut self.sandbox.port().api_settings().entities.bulk;
        bulk.forgets = rng.one_in(3).then(|| some(rng));
        bulk.spares = rng.one_in(3).then(|| some(rng));
        bulk.reversed = rng.one_in(2);
        bulk.absent_is_404 = rng.one_in(2);
        bulk.sees_itself = rng.one_in(2);
    }

    /// From now on, Port fails on an entity or rejects it.
    pub(super) fn refuse(&mut self, id: &str, status: u16) {
        // Either only this entity or its whole request.
        if self.plot.sink == Sink::Api && self.rng.one_in(2) {
            let bulk = &mut self.sandbox.port().api_settings().entities.bulk;
            return bulk.fails.push((id.to_owned(), status));
        }
        for route in self.plot.sink.routes() {
            let rule = Rule::new(Fault::status(status)).containing(&self.plot.sink.mention(id));
            self.sandbox.faults().add(*route, rule);
        }
    }

    /// Port accepts all entities again.
    pub(super) fn take_all(&self) {
        let bulk = &mut self.sandbox.port().api_settings().entities.bulk;
        (bulk.forgets, bulk.spares) = (None, None);
        bulk.fails.clear();
    }
}
