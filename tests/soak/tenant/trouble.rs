//! What goes wrong with Microsoft Graph, and with Port.

use std::time::Duration;

use sandbox::Host;
use sandbox::directory::Kind;
use sandbox::faults::{Fault, Rule};
use sandbox::requests::Route;
use sandbox::settings::{ALL_ROLES, LEAST_ROLES, Repeats, Stale};

use super::super::story::Story;
use super::Trouble;

/// The program's requests to Microsoft Graph.
const ASKED: [Route; 8] = [
    Route::EntraUserDelta,
    Route::EntraGroupDelta,
    Route::EntraApplicationDelta,
    Route::EntraPrincipalDelta,
    Route::EntraMembers,
    Route::EntraMemberOf,
    Route::EntraObject,
    Route::EntraByIds,
];

impl Story<Trouble> {
    pub(super) fn break_connections(&self) {
        let faults = self.sandbox.faults();
        for route in ASKED.into_iter().chain([Route::Webhook]) {
            faults.add(route, Rule::new(Fault::retry_after(429, "0")).chance(0.05));
            faults.add(route, Rule::new(Fault::status(503)).chance(0.1));
            faults.add(route, Rule::new(Fault::Reset).chance(0.05));
            // Applied, but the answer is lost.
            faults.add(route, Rule::new(Fault::ResetInBody).chance(0.05).applied());
        }
    }

    /// Port is down in one of this many ticks.
    pub(super) fn shut_port(&mut self, one_in: usize) {
        let host = self.sandbox.set_up(Host::Port, !self.rng.one_in(one_in));
        self.runtime.block_on(host);
    }

    /// Port accepts requests without answering.
    pub(super) fn lose_answers(&mut self) {
        let faults = self.sandbox.faults();
        faults.clear();
        let fault = if self.rng.one_in(2) { Fault::Late } else { Fault::Reset };
        let rule = Rule::new(fault).applied();
        match self.rng.below(3) {
            0 => drop(faults.add(Route::Webhook, rule.chance(0.3))),
            // For one kind, on every attempt.
            1 => {
                let kind = Kind::TRACKED[self.rng.below(Kind::TRACKED.len())];
                let rule = rule.containing(&format!("\"type\":\"{}\"", kind.name()));
                faults.add(Route::Webhook, rule);
            }
            _ => {}
        }
    }

    /// Invalidates the links of one kind, or of all.
    pub(super) fn reset_links(&mut self, one_in: usize) {
        if !self.rng.one_in(one_in) {
            return;
        }
        let entra = self.sandbox.entra();
        entra.settings().delta.stale = [Stale::NotFound, Stale::Gone, Stale::ResyncRequired][self.rng.below(3)];
        let one = self.rng.below(2 * Kind::TRACKED.len());
        for (place, kind) in Kind::TRACKED.into_iter().enumerate() {
            if one == place || one >= Kind::TRACKED.len() {
                entra.reset(kind);
            }
        }
    }

    pub(super) fn vary_rounds(&mut self) {
        let rng = &mut self.rng;
        let delta = &mut self.sandbox.entra().settings().delta;
        delta.repeats = [Repeats::Folded, Repeats::OldThenNew, Repeats::Conflicting][rng.below(3)];
        delta.replayed = u32::try_from(rng.below(12)).unwrap();
        delta.page = 1 + rng.below(30);
        delta.slice = 1..=1 + rng.below(8);
        delta.empty_page_in = (!rng.one_in(3)).then(|| 2 + rng.below(3));
        delta.shuffled = rng.one_in(2);
        delta.first_round_removed = rng.one_in(2);
        delta.shows_restored = rng.one_in(2);
    }

    /// Restores show or not.
    pub(super) fn hide_restores(&mut self) {
        self.sandbox.entra().settings().delta.shows_restored = self.rng.one_in(2);
    }

    /// Some answers let time pass: an access token lasts a minute, a page link less.
    pub(super) fn let_tokens_expire(&self) {
        let mut entra = self.sandbox.entra().settings();
        entra.token_lifetime = Duration::from_secs(60);
        entra.delta.page_link_lifetime = Some(Duration::from_secs(40));
        // More pages, so more of them are late.
        (entra.delta.page, entra.lists.page) = (8, 5);
        for route in ASKED {
            let clock = self.sandbox.clock().clone();
            let passing = Fault::edit(move |answer| {
                clock.advance(Duration::from_secs(45));
                answer
            });
            self.sandbox.faults().add(route, Rule::new(passing).chance(0.15));
        }
    }

    /// The principal has all roles, the necessary ones, some, or none.
    pub(super) fn change_rights(&mut self) {
        if !self.rng.one_in(2) {
            return;
        }
        let roles = match self.rng.below(4) {
            0 => Some(ALL_ROLES.to_vec()),
            1 => Some(LEAST_ROLES.to_vec()),
            2 => Some(LEAST_ROLES.into_iter().filter(|_| !self.rng.one_in(3)).collect()),
            _ => None,
        };
        self.sandbox.entra().settings().roles = roles.map(|roles| roles.into_iter().map(str::to_owned).collect());
    }

    /// A bit of everything, one thing at a time.
    pub(super) fn mix(&mut self, tick: usize) {
        if tick == 0 {
            self.let_tokens_expire();
        }
        self.compare_at_times();
        match self.rng.below(8) {
            0 => self.reset_links(1),
            1..=3 => self.vary_rounds(),
            4 => self.shut_port(2),
            5 => self.change_rights(),
            6 => self.pause(),
            _ => self.shut_port(usize::MAX),
        }
    }
}
