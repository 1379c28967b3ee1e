//! What befalls a day.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use sandbox::Host;
use sandbox::dates::Date;
use sandbox::estate::{Level, Tags, Twin};
use sandbox::faults::{Fault, Rule};
use sandbox::requests::Route;
use sandbox::rng::Rng;
use sandbox::{life, names};

use super::story::{MINUTE, Story};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    None,
    /// Ticks come up to an hour late, or are dropped.
    Ticks,
    /// 429, 503 and broken connections on both sides.
    Errors,
    /// Port is down for runs on end.
    Outages,
    /// Runs are cut off.
    Kills,
    /// A tag filter.
    Tags,
    TagsAndKills,
    /// A type filter.
    Types,
    /// 3,000 changes between two ticks.
    Burst,
    /// Subscriptions appear, vanish and come back.
    Subscriptions,
    /// Two workflows with different filters feed one catalog.
    TwoWorkflows,
    /// The checkpoint is an older one, lost or damaged, while tags and names change and change back.
    Rollbacks,
    /// Resource Graph does not look at subscriptions, or does not show rows or records; its replicas differ.
    Blindness,
    /// Rows of a subscription show in steps, and those of groups flicker.
    Slowness,
    /// Child resources have records, and never a row.
    Children,
    /// What Azure really answers: rows that are twice, subscriptions that it does not know, questions that are too heavy, answers
    /// that contradict themselves, dates that are off.
    Tenant,
    /// Changes have no record.
    Silence,
    /// Rows break queries; Port rejects some envelopes, and fails with others.
    Poison,
    /// The webhook's URL, the secret and the filters change and change back.
    Identity,
    /// Subscriptions drop out of the listing and return; groups enter and leave the scope.
    Flapping,
    /// Port applies posts and does not answer, or applies them after the run.
    Lost,
    /// Entities are written over Port's API, which throttles, fails after it has written, forgets entities and revokes tokens, while
    /// runs are cut off.
    Entities,
    /// All that does not take the checkpoint's word.
    Mixed,
}

impl Trouble {
    /// How late rows are. A checkpoint that went back cannot tell a row that is late from one that changed back.
    pub(crate) fn row_lag(self) -> RangeInclusive<Duration> {
        let latest = if self == Self::Rollbacks { 0 } else { 10 };
        Duration::ZERO..=latest * MINUTE
    }

    /// How late records are. What is hidden for a while on top of that has to be within the overlap.
    pub(crate) fn record_lag(self) -> RangeInclusive<Duration> {
        let latest = match self {
            Self::Rollbacks | Self::Blindness | Self::Mixed => 45,
            _ => 60,
        };
        Duration::ZERO..=latest * MINUTE
    }

    /// Whether what happened is left to the daily comparison, in part.
    pub(crate) fn is_left_to_a_full_run(self) -> bool {
        matches!(self, Self::Silence | Self::Mixed)
    }

    /// How often everything is compared, in hours.
    pub(crate) fn full_every(self) -> u8 {
        match self {
            Self::Blindness
            | Self::Slowness
            | Self::Tenant
            | Self::Silence
            | Self::Poison
            | Self::Flapping
            | Self::Lost
            | Self::Entities
            | Self::Mixed => 5,
            _ => 24,
        }
    }

    /// A run in so many is cut off.
    fn kills(self) -> usize {
        match self {
            Self::Kills | Self::TagsAndKills => 2,
            Self::Rollbacks | Self::Identity | Self::Flapping | Self::Entities | Self::Mixed => 4,
            _ => usize::MAX,
        }
    }
}

/// Something that is to be as it was.
pub(crate) struct Flip {
    back_at: usize,
    id: Arc<str>,
    tags: Tags,
}

/// What a story keeps of its trouble.
#[derive(Default)]
pub(crate) struct Course {
    /// The checkpoint as the last runs left it.
    snapshots: Vec<Vec<u8>>,
    flips: Vec<Flip>,
    /// The tick at which Resource Graph shows everything again.
    sees_at: usize,
    /// What Port has been made to reject.
    pub(crate) refused: Vec<String>,
}

const SNAPSHOTS: usize = 24;
/// Records of child resources in a tick.
const CHILDREN: usize = 30;

impl Story {
    /// After how many steps a run is cut off, if it is.
    pub(crate) fn cut(&mut self) -> Option<u64> {
        self.rng.one_in(self.trouble.kills()).then(|| self.rng.below(usize::try_from(self.steps).unwrap()) as u64)
    }

    pub(crate) fn trouble_begins(&mut self, tick: usize) {
        match self.trouble {
            Trouble::Errors if tick == 0 => self.break_connections(),
            Trouble::Outages => {
                let down = self.rng.one_in(3);
                let host = self.sandbox.set_up(Host::Port, !down);
                self.runtime.block_on(host);
            }
            Trouble::Rollbacks => {
                self.flip(tick);
                self.roll_back();
            }
            Trouble::Blindness => self.blind(tick),
            Trouble::Slowness => self.slow(tick),
            Trouble::Children => life::children(&mut self.sandbox.estate(), &mut self.rng, CHILDREN),
            Trouble::Tenant => self.tenant(tick),
            Trouble::Silence => self.silence(),
            Trouble::Poison => self.poison(),
            Trouble::Identity => {
                self.flip(tick);
                if self.rng.one_in(8) {
                    self.active = vec![self.rng.below(self.workflows.len())];
                }
            }
            Trouble::Flapping => {
                self.flip(tick);
                self.flap();
            }
            Trouble::Lost => self.lose(),
            Trouble::Entities => {
                if tick == 0 {
                    self.break_api();
                }
                self.forget();
            }
            Trouble::Mixed => {
                self.flip(tick);
                self.blind(tick);
                match self.rng.below(8) {
                    0 => self.silence(),
                    1..=2 => self.poison(),
                    3 => self.flap(),
                    4 => self.lose(),
                    _ => {}
                }
            }
            _ => {}
        }
    }

    /// Everything is right from now on, and shows.
    pub(crate) fn trouble_ends(&mut self) {
        self.sandbox.faults().clear();
        self.runtime.block_on(self.sandbox.set_up(Host::Port, true));
        self.sandbox.port().apply_late();
        let bulk = &mut self.sandbox.port().api_settings().entities.bulk;
        (bulk.forgets, bulk.spares) = (None, None);
        let mut estate = self.sandbox.estate();
        if matches!(self.trouble, Trouble::Flapping | Trouble::Mixed) {
            let all: Vec<Arc<str>> = estate.subscriptions().iter().map(|one| one.guid.clone()).collect();
            for guid in all {
                estate.show_subscription(&guid, true);
            }
        }
        self.sandbox.dates().set_all(&Date::True);
        estate.catch_up();
        if self.trouble == Trouble::Identity {
            self.active = vec![0];
        }
    }

    fn break_connections(&self) {
        let faults = self.sandbox.faults();
        for (route, chance) in [(Route::Graph, 0.15), (Route::Subscriptions, 0.1), (Route::Webhook, 0.1)] {
            faults.add(route, Rule::new(Fault::retry_after(429, "0")).chance(chance / 2.0));
            faults.add(route, Rule::new(Fault::status(503)).chance(chance));
            faults.add(route, Rule::new(Fault::Reset).chance(chance / 2.0));
            // Port has taken it, and nobody hears of it.
            faults.add(route, Rule::new(Fault::ResetInBody).chance(chance / 2.0).applied());
        }
    }

    fn break_api(&self) {
        let faults = self.sandbox.faults();
        for route in [Route::PortBulk, Route::PortDelete] {
            faults.add(route, Rule::new(Fault::retry_after(429, "0")).chance(0.05));
            faults.add(route, Rule::new(Fault::status(503)).chance(0.05));
            faults.add(route, Rule::new(Fault::Reset).chance(0.03));
            // It is written, and nobody hears of it.
            faults.add(route, Rule::new(Fault::status(500)).chance(0.05).applied());
            faults.add(route, Rule::new(Fault::ResetInBody).chance(0.05).applied());
            faults.add(route, Rule::new(Fault::Revoked).chance(0.02));
        }
        // Groups, without which what is in them relates to nothing.
        faults.add(Route::PortBulk, Rule::new(Fault::status(500)).containing("\"subscription\":").chance(0.1));
        faults.add(Route::PortToken, Rule::new(Fault::status(503)).chance(0.1));
    }

    /// What bulk requests leave out changes, and in which form they are answered.
    fn forget(&mut self) {
        let some = |rng: &mut Rng| ["vaults", "storage", "-a", "rg-"][rng.below(4)].to_owned();
        let rng = &mut self.rng;
        let bulk = &mut self.sandbox.port().api_settings().entities.bulk;
        bulk.forgets = rng.one_in(3).then(|| some(rng));
        bulk.spares = rng.one_in(3).then(|| some(rng));
        bulk.reversed = rng.one_in(2);
        bulk.absent_is_404 = rng.one_in(2);
        bulk.sees_itself = rng.one_in(2);
    }

    /// Changes tags, and changes them back some ticks later.
    fn flip(&mut self, tick: usize) {
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

    /// Keeps the checkpoint; and puts an older one, none or a damaged one in its place at times.
    fn roll_back(&mut self) {
        let file = self.workflows[0].file();
        if let Ok(now) = std::fs::read(file) {
            self.course.snapshots.push(now);
        }
        let snapshots = &mut self.course.snapshots;
        snapshots.drain(..snapshots.len().saturating_sub(SNAPSHOTS));
        if snapshots.is_empty() || !self.rng.one_in(5) {
            return;
        }
        let mut old = snapshots[self.rng.below(snapshots.len())].clone();
        match self.rng.below(6) {
            0 => return std::fs::remove_file(file).unwrap_or_default(),
            1 => old.truncate(self.rng.below(old.len())),
            2 => {
                let at = self.rng.below(old.len());
                old[at] ^= 0x40;
            }
            _ => {}
        }
        std::fs::write(file, old).unwrap();
    }

    /// For up to three hours something does not show.
    fn blind(&mut self, tick: usize) {
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
                // The subscription's own row is asked for beside the records: one answer may have it and the other not see it.
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

    /// For up to three hours rows show in steps, or come and go.
    fn slow(&mut self, tick: usize) {
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

    /// What a tenant brings along stays; what the service does ends some ticks later.
    fn tenant(&mut self, tick: usize) {
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
        let hour = 60 * 60_000;
        let faults = self.sandbox.faults();
        faults.clear();
        self.sandbox.dates().set_all(&Date::True);
        let ask = |rule: Rule| {
            _ = faults.add(Route::Graph, rule);
        };
        match rng.below(9) {
            0 => ask(Rule::new(Fault::status(504)).over(2)),
            1 => ask(Rule::new(Fault::Reset).naming(&guid)),
            2 => ask(Rule::new(Fault::lacking(60)).parts().times(4)),
            3 => ask(Rule::new(Fault::with_error()).times(2)),
            4 => ask(Rule::new(Fault::miscounted(1)).times(2)),
            5 => ask(Rule::new(Fault::truncation("maybe".into())).times(2)),
            6 => self.sandbox.dates().set_all(&Date::Off([hour, -hour][rng.below(2)])),
            7 => self.sandbox.dates().set_all(&Date::Jumping(vec![0, 3 * hour, -3 * hour])),
            _ => {}
        }
        self.course.sees_at = tick + 1 + rng.below(4);
    }

    fn silence(&mut self) {
        if self.rng.one_in(3) {
            life::unseen(&mut self.sandbox.estate(), &mut self.rng);
        }
    }

    /// One more thing that Resource Graph trips over, or Port; or all is well again.
    fn poison(&mut self) {
        if self.rng.one_in(8) {
            self.sandbox.faults().clear();
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
        let faults = self.sandbox.faults();
        let of = |fault: Fault| Rule::new(fault).containing(&format!("\"resourceId\":\"{id}\""));
        match rng.below(4) {
            0 => estate.sight().poison(&id),
            1 => drop(faults.add(Route::Webhook, of(Fault::status(500)))),
            2 => drop(faults.add(Route::Graph, Rule::new(Fault::short()).chance(0.3).times(20))),
            _ => {
                faults.add(Route::Webhook, of(Fault::status(422)));
                self.course.refused.push(id.to_string());
            }
        }
    }

    /// Subscriptions leave the listing, and return.
    fn flap(&mut self) {
        let mut estate = self.sandbox.estate();
        let all: Vec<(Arc<str>, bool)> =
            estate.subscriptions().iter().map(|one| (one.guid.clone(), one.visible)).collect();
        // One stays, as a run without any ends at once.
        for (guid, visible) in &all[1..] {
            if self.rng.one_in(4) {
                estate.show_subscription(guid, !visible);
            }
        }
    }

    /// Port takes what it is sent, and does not say so.
    fn lose(&mut self) {
        let faults = self.sandbox.faults();
        faults.clear();
        let fault = if self.rng.one_in(2) { Fault::Late } else { Fault::Reset };
        let rule = Rule::new(fault).applied();
        let group = life::any_group(&self.sandbox.estate(), &mut self.rng);
        match (self.rng.below(3), group) {
            (0, _) => drop(faults.add(Route::Webhook, rule.chance(0.3))),
            // Of a group and all in it, however often it is tried.
            (1, Some(group)) => drop(faults.add(Route::Webhook, rule.containing(&group))),
            _ => {}
        }
    }
}
