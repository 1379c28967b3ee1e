//! An estate: how it changes, and what goes wrong.

mod sink;
mod trouble;
mod workflows;

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use azure_incremental::{Vanished, Work};
use sandbox::dates::Date;
use sandbox::estate::Tags;
use sandbox::expected::{Expected, Scope};
use sandbox::settings::{EstateSize, Lags, QuotaSettings, Settings};
use sandbox::{Sandbox, life};

use super::story::{DAY, MINUTE, Plot, Story, TICK};
use super::workflow::Workflow;
pub(crate) use sink::Sink;

/// An estate with one kind of trouble, and the sink of its entities.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Estate {
    pub(crate) trouble: Trouble,
    pub(crate) sink: Sink,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    None,
    /// Ticks are up to an hour late, or skipped.
    Ticks,
    /// 429, 503 and broken connections on both sides.
    Errors,
    /// Port is down for several runs in a row.
    Outages,
    /// Runs are killed.
    Kills,
    /// A tag filter.
    Tags,
    TagsAndKills,
    /// A type filter.
    Types,
    /// 3,000 changes between two ticks.
    Burst,
    /// Subscriptions appear, disappear and come back.
    Subscriptions,
    /// Two workflows with different filters feed one catalog.
    TwoWorkflows,
    /// The checkpoint is outdated, lost or damaged, while tags and names change and change back.
    Rollbacks,
    /// Resource Graph does not cover subscriptions, or hides rows or records; its replicas differ.
    Blindness,
    /// Rows of a subscription appear in steps, and those of groups flicker.
    Slowness,
    /// Child resources have records but never a row.
    Children,
    /// Oddities of the real Azure: duplicate rows, unknown subscriptions, queries that are too expensive, contradictory
    /// answers, wrong dates.
    Tenant,
    /// Changes have no record.
    Silence,
    /// Rows break queries; Port rejects some envelopes and fails on others.
    Poison,
    /// The webhook's URL and secret, the API's credentials, the mapping and the filters change and change back.
    Identity,
    /// Subscriptions leave the listing and return; groups enter and leave the scope.
    Flapping,
    /// Port applies requests without answering, or after the run.
    Lost,
    /// Everything that leaves the checkpoint trustworthy.
    Mixed,
}

impl Trouble {
    /// The lag of rows. After a rollback, a late row cannot be told from one that changed back.
    fn row_lag(self) -> RangeInclusive<Duration> {
        let latest = if self == Self::Rollbacks { 0 } else { 10 };
        Duration::ZERO..=latest * MINUTE
    }

    /// The lag of records. Together with the time that something is hidden, it must be within the overlap.
    fn record_lag(self) -> RangeInclusive<Duration> {
        let latest = match self {
            Self::Rollbacks | Self::Blindness | Self::Mixed => 45,
            _ => 60,
        };
        Duration::ZERO..=latest * MINUTE
    }

    /// Whether some changes are only found by the daily comparison.
    fn is_left_to_a_full_run(self) -> bool {
        matches!(self, Self::Silence | Self::Mixed)
    }

    /// The hours between full comparisons.
    fn full_every(self) -> u8 {
        match self {
            Self::Blindness
            | Self::Slowness
            | Self::Tenant
            | Self::Silence
            | Self::Poison
            | Self::Flapping
            | Self::Lost
            | Self::Mixed => 5,
            _ => 24,
        }
    }
}

/// A change that will be reverted.
pub(crate) struct Flip {
    back_at: usize,
    id: Arc<str>,
    tags: Tags,
}

/// The state of a story's trouble.
#[derive(Default)]
pub(crate) struct Course {
    flips: Vec<Flip>,
    /// The tick at which Resource Graph shows everything again.
    sees_at: usize,
    /// What Port currently rejects.
    refused: Vec<String>,
}

/// Records of child resources per tick.
const CHILDREN: usize = 30;

impl Plot for Estate {
    type Scope = Scope;
    type Course = Course;

    fn length(self) -> (u64, usize) {
        // A day; over the API, where each tick takes twice as long, the first third of it.
        (1, if self.sink == Sink::Webhook { 72 } else { 24 })
    }

    fn settings(self, mut settings: Settings) -> Settings {
        settings.estate = EstateSize { subscriptions: 4, groups: 16, resources: 200 };
        settings.lags = Lags { record: self.trouble.record_lag(), row: self.trouble.row_lag() };
        // The quota uses real time, so nothing should wait for it.
        settings.azure.quota = Some(QuotaSettings { queries: 10_000, window: Duration::ZERO });
        self.sink.change(&mut settings.port.api);
        settings
    }

    fn workflows(self, sandbox: &Sandbox) -> Vec<Workflow<Scope>> {
        workflows::of(self, sandbox)
    }

    fn active(self, workflows: usize) -> Vec<usize> {
        if self.trouble == Trouble::Identity { vec![0] } else { (0..workflows).collect() }
    }

    fn kills(self) -> usize {
        match self.trouble {
            Trouble::Kills | Trouble::TagsAndKills => 2,
            Trouble::Rollbacks | Trouble::Identity | Trouble::Flapping | Trouble::Mixed => 4,
            _ => usize::MAX,
        }
    }

    fn carries(self) -> u64 {
        self.sink.carries()
    }

    fn change(story: &mut Story<Self>, tick: usize) {
        for _ in 0..3 {
            story.sandbox.clock().advance(TICK / 3);
            life::tick(&mut story.sandbox.estate(), &mut story.rng, 2);
        }
        // The row of a recreated resource appears a moment after the deleted one's has gone, and is late until then.
        story.sandbox.clock().advance(Duration::from_secs(1));
        if story.plot.trouble == Trouble::Burst && tick % 30 == 15 {
            life::burst(&mut story.sandbox.estate(), &mut story.rng, 3000);
        }
        if story.plot.trouble == Trouble::Subscriptions && story.rng.one_in(6) {
            life::upheaval(&mut story.sandbox.estate(), &mut story.rng);
        }
    }

    fn befall(story: &mut Story<Self>, tick: usize) -> bool {
        if tick == 0 {
            story.clear_faults();
        }
        story.forget();
        match story.plot.trouble {
            Trouble::Ticks => return story.come_late(),
            Trouble::Errors if tick == 0 => story.break_connections(),
            Trouble::Outages => {
                let down = story.rng.one_in(3);
                let host = story.sandbox.set_up(story.plot.sink.host(), !down);
                story.runtime.block_on(host);
            }
            Trouble::Rollbacks => {
                story.flip(tick);
                story.keep_checkpoint();
                match story.rng.below(10) {
                    0 => story.roll_back(),
                    1 => story.lose_checkpoint(),
                    _ => {}
                }
            }
            Trouble::Blindness => story.blind(tick),
            Trouble::Slowness => story.slow(tick),
            Trouble::Children => life::children(&mut story.sandbox.estate(), &mut story.rng, CHILDREN),
            Trouble::Tenant => story.tenant(tick),
            Trouble::Silence => story.silence(),
            Trouble::Poison => story.poison(),
            Trouble::Identity => {
                story.flip(tick);
                if story.rng.one_in(8) {
                    story.active = vec![story.rng.below(story.workflows.len())];
                }
            }
            Trouble::Flapping => {
                story.flip(tick);
                story.flap();
            }
            Trouble::Lost => story.lose(),
            Trouble::Mixed => {
                story.flip(tick);
                story.blind(tick);
                match story.rng.below(8) {
                    0 => story.silence(),
                    1..=2 => story.poison(),
                    3 => story.flap(),
                    4 => story.lose(),
                    _ => {}
                }
            }
            _ => {}
        }
        true
    }

    fn calm_down(story: &mut Story<Self>) {
        story.take_all();
        {
            let mut estate = story.sandbox.estate();
            if matches!(story.plot.trouble, Trouble::Flapping | Trouble::Mixed) {
                let all: Vec<Arc<str>> = estate.subscriptions().iter().map(|one| one.guid.clone()).collect();
                for guid in all {
                    estate.show_subscription(&guid, true);
                }
            }
            story.sandbox.dates().set_all(&Date::True);
            estate.catch_up();
        }
        if story.plot.trouble == Trouble::Identity {
            story.active = vec![0];
        }
        story.resend();
    }

    fn calm(self) -> Vec<Duration> {
        let mut waits = vec![TICK; 3];
        if self.trouble.is_left_to_a_full_run() {
            // Deletes shown only by absence take half an hour more.
            waits.extend([DAY, 2 * TICK, TICK]);
        }
        waits
    }

    fn expected(story: &Story<Self>) -> Expected {
        let mut active = story.active.iter().map(|workflow| &story.workflows[*workflow].scope);
        let mut expected = story.sandbox.expected(active.next().unwrap());
        for scope in active {
            expected.catalog.entities.extend(story.sandbox.expected(scope).catalog.entities);
        }
        expected
    }
}

impl Story<Estate> {
    /// A run is up to an hour late or skipped.
    fn come_late(&mut self) -> bool {
        let (skipped, late) = (self.rng.one_in(4), self.rng.one_in(4));
        if late {
            let delay = self.rng.between(&(MINUTE..=60 * MINUTE));
            self.sandbox.clock().advance(delay);
        }
        !skipped
    }

    /// Sends what Port rejected again, now that it would accept it.
    fn resend(&mut self) {
        let refused = std::mem::take(&mut self.course.refused);
        if !refused.is_empty() {
            self.go(self.active[0], &Work::Resend { ids: refused, vanished: Vanished::Delete }, None);
        }
    }
}
