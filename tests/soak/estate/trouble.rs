//! What goes wrong in an estate, and with the services on both sides.

use std::sync::Arc;

use sandbox::dates::Date;
use sandbox::estate::{Level, Twin};
use sandbox::faults::{Fault, Rule};
use sandbox::requests::Route;
use sandbox::{life, names};

use super::super::story::{MINUTE, Story};
use super::{Estate, Flip};

impl Story<Estate> {
    pub(super) fn break_connections(&self) {
        let faults = self.sandbox.faults();
        let of_port = self.plot.sink.routes().iter().map(|route| (*route, 0.1));
        for (route, chance) in [(Route::Graph, 0.15), (Route::Subscriptions, 0.1)].into_iter().chain(of_port) {
            faults.add(route, Rule::new(Fault::retry_after(429, "0")).chance(chance / 2.0));
            faults.add(route, Rule::new(Fault::status(503)).chance(chance));
            faults.add(route, Rule::new(Fault::Reset).chance(chance / 2.0));
            // Port has accepted it, but the answer is lost.
            faults.add(route, Rule::new(Fault::ResetInBody).chance(chance / 2.0).applied());
        }
    }

    /// Changes tags, and reverts them some ticks later.
    pub(super) fn flip(&mut self, tick: usize) {
        let mut estate = self.sandbox.estate();
        for flip in self.course.flips.extract_if(.., |flip| flip.back_at <= tick) {
            let _ = estate.retag_group(&flip.id, flip.tags.clone()) || estate.retag_resource(&flip.id, flip.tags);
        }
        let back_at = tick + 1 + self.rng.below(3);
        let other = names::tags(&[("Environment", if self.rng.one_in(2) { "Production" } else { "Test" })]);
        let flipped = if self.rng.one_in(2) {
            life::any_group(&estate, &mut self.rng).map(|id| (estate.groups()[&id].tags.clone(), id))
        } else {
            life::any_resource(&estate, &mut self.rng).map(|id| (estate.resources()[&id].tags.clone(), id))
        };
        if let Some((tags, id)) = flipped {
            let _ = estate.retag_group(&id, other.clone()) || estate.retag_resource(&id, other);
            self.course.flips.push(Flip { back_at, id, tags });
        }
    }

    /// Hides something for up to three hours.
    pub(super) fn blind(&mut self, tick: usize) {
        let mut estate = self.sandbox.estate();
        if tick < self.course.sees_at {
            return;
        }
        estate.sight().clear();
        if tick == 0 {
            estate.set_behind(20 * MINUTE);
        }
        let rng = &mut self.rng;
        let mut ticks = 1 + rng.below(12);
        let subscription = rng.below(estate.subscriptions().len());
        let guid = estate.subscriptions()[subscription].guid.clone();
        let (group, resource) = (life::any_group(&estate, rng), life::any_resource(&estate, rng));
        let sight = estate.sight();
        match (rng.below(9), group, resource) {
            (0, ..) => sight.overlook(&guid),
            (1, ..) => {
                // The subscription's own row and its records are in separate queries: one answer may see it and the
                // other not.
                sight.overlook_sometimes(&guid);
                ticks = ticks.min(3);
            }
            (2, Some(group), _) => sight.hide_row(&group),
            (3, Some(group), _) => sight.hide_rows_within(&group),
            (4, _, Some(resource)) => sight.hide_row(&resource),
            (5, ..) => {
                sight.hide_records(&guid);
                ticks = ticks.min(2);
            }
            (6, ..) => {
                sight.hide_records(&guid);
                sight.hide_rows_within(&format!("/subscriptions/{guid}"));
            }
            _ => {}
        }
        self.course.sees_at = tick + ticks;
    }

    /// For up to three hours, rows appear in steps, or come and go.
    pub(super) fn slow(&mut self, tick: usize) {
        if tick < self.course.sees_at {
            return;
        }
        let rng = &mut self.rng;
        let ticks = 1 + rng.below(9);
        let until = |ticks: usize| self.sandbox.clock().now_ms() + i64::try_from(ticks * 20 * 60_000).unwrap();
        let mut estate = self.sandbox.estate();
        let guid = estate.subscriptions()[rng.below(estate.subscriptions().len())].guid.clone();
        let groups: Vec<Arc<str>> = (0..4).filter_map(|_| life::any_group(&estate, rng)).collect();
        let sight = estate.sight();
        sight.clear();
        match rng.below(4) {
            0 => sight.withhold(&guid, 50, until(ticks)),
            1 => {
                sight.withhold(&guid, 100, until(ticks.div_ceil(2)));
                sight.withhold(&guid, 50, until(ticks));
            }
            2 => groups.iter().for_each(|group| sight.flicker(group)),
            _ => {}
        }
        self.course.sees_at = tick + ticks;
    }

    /// Oddities of the tenant are permanent; those of the service end some ticks later.
    pub(super) fn tenant(&mut self, tick: usize) {
        let mut estate = self.sandbox.estate();
        let rng = &mut self.rng;
        if tick == 0 {
            let stranger = estate.add_subscription("Access to Azure Active Directory", None);
            estate.describe_subscription(&stranger, "Enabled", "AAD_2015-09-01");
            estate.never_know(&stranger);
        }
        if rng.one_in(6) {
            let twin = if rng.one_in(2) { Twin::alike() } else { Twin::recased() };
            let of = if rng.one_in(3) { life::any_group(&estate, rng) } else { life::any_resource(&estate, rng) };
            if let Some(id) = of {
                estate.show_twice(&id, twin);
            }
        }
        let guid = estate.subscriptions()[rng.below(estate.subscriptions().len())].guid.clone();
        if rng.one_in(8) {
            let name = format!("own-{tick}");
            let level = if rng.one_in(2) { Level::Subscription } else { Level::Tenant };
            _ = estate.create_resource_at(level, &guid, "Microsoft.Security/pricings", &name, None);
        }
        if rng.one_in(24) {
            let late = estate.add_subscription(&format!("Late {tick}"), None);
            _ = estate.create_group(&late, "rg-late", "eastus", None);
            let from = self.sandbox.clock().now_ms() + i64::try_from(rng.below(12) * 20 * 60_000).unwrap();
            estate.know_from(&late, from);
        }
        drop(estate);
        if tick < self.course.sees_at {
            return;
        }
        self.clear_faults();
        let hour = 60 * 60_000;
        let faults = self.sandbox.faults();
        self.sandbox.dates().set_all(&Date::True);
        let ask = |rule: Rule| {
            _ = faults.add(Route::Graph, rule);
        };
        match self.rng.below(9) {
            0 => ask(Rule::new(Fault::status(504)).over(2)),
            1 => ask(Rule::new(Fault::Reset).naming(&guid)),
            2 => ask(Rule::new(Fault::lacking(60)).parts().times(4)),
            3 => ask(Rule::new(Fault::with_error()).times(2)),
            4 => ask(Rule::new(Fault::miscounted(1)).times(2)),
            5 => ask(Rule::new(Fault::truncation("maybe".into())).times(2)),
            6 => self.sandbox.dates().set_all(&Date::Off([hour, -hour][self.rng.below(2)])),
            7 => self.sandbox.dates().set_all(&Date::Jumping(vec![0, 3 * hour, -3 * hour])),
            _ => {}
        }
        self.course.sees_at = tick + 1 + self.rng.below(4);
    }

    pub(super) fn silence(&mut self) {
        if self.rng.one_in(3) {
            life::unseen(&mut self.sandbox.estate(), &mut self.rng);
        }
    }

    /// Adds something that Resource Graph or Port fails on, or repairs everything.
    pub(super) fn poison(&mut self) {
        if self.rng.one_in(8) {
            self.clear_faults();
            self.take_all();
            self.sandbox.estate().sight().clear();
        }
        if !self.rng.one_in(4) {
            return;
        }
        let mut estate = self.sandbox.estate();
        let rng = &mut self.rng;
        let picked = if rng.one_in(4) { life::any_group(&estate, rng) } else { life::any_resource(&estate, rng) };
        let Some(id) = picked else { return };
        let tags = names::tags(&[("Environment", "Production"), ("poisoned", "yes")]);
        let _ = estate.retag_group(&id, tags.clone()) || estate.retag_resource(&id, tags);
        let kind = rng.below(4);
        if kind == 0 {
            return estate.sight().poison(&id);
        }
        drop(estate);
        match kind {
            1 => self.refuse(&id, 500),
            2 => {
                let rule = Rule::new(Fault::short()).chance(0.3).times(20);
                self.sandbox.faults().add(Route::Graph, rule);
            }
            _ => {
                self.refuse(&id, 422);
                self.course.refused.push(id.to_string());
            }
        }
    }

    /// Subscriptions leave the listing and return.
    pub(super) fn flap(&mut self) {
        let mut estate = self.sandbox.estate();
        let all: Vec<(Arc<str>, bool)> =
            estate.subscriptions().iter().map(|one| (one.guid.clone(), one.visible)).collect();
        // One stays, because a run without any ends at once.
        for (guid, visible) in &all[1..] {
            if self.rng.one_in(4) {
                estate.show_subscription(guid, !visible);
            }
        }
    }

    /// Port accepts requests without answering.
    pub(super) fn lose(&mut self) {
        self.clear_faults();
        let fault = if self.rng.one_in(2) { Fault::Late } else { Fault::Reset };
        let rule = Rule::new(fault).applied();
        let group = life::any_group(&self.sandbox.estate(), &mut self.rng);
        let rule = match (self.rng.below(3), group) {
            (0, _) => rule.chance(0.3),
            // For a group and everything in it, on every attempt.
            (1, Some(group)) => rule.containing(&group),
            _ => return,
        };
        for route in self.plot.sink.routes() {
            self.sandbox.faults().add(*route, rule.clone());
        }
    }
}
