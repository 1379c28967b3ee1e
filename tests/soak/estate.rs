//! An estate: how it lives, and what befalls it.

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

/// An estate under one kind of trouble, and where its entities go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Estate {
    pub(crate) trouble: Trouble,
    pub(crate) sink: Sink,
}

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
    /// The webhook's URL and the secret, the API's credentials and the mapping, and the filters change and change back.
    Identity,
    /// Subscriptions drop out of the listing and return; groups enter and leave the scope.
    Flapping,
    /// Port does what it is asked and does not answer, or does it after the run.
    Lost,
    /// All that does not take the checkpoint's word.
    Mixed,
}

impl Trouble {
    /// How late rows are. A checkpoint that went back cannot tell a row that is late from one that changed back.
    fn row_lag(self) -> RangeInclusive<Duration> {
        let latest = if self == Self::Rollbacks { 0 } else { 10 };
        Duration::ZERO..=latest * MINUTE
    }

    /// How late records are. What is hidden for a while on top of that has to be within the overlap.
    fn record_lag(self) -> RangeInclusive<Duration> {
        let latest = match self {
            Self::Rollbacks | Self::Blindness | Self::Mixed => 45,
            _ => 60,
        };
        Duration::ZERO..=latest * MINUTE
    }

    /// Whether what happened is left to the daily comparison, in part.
    fn is_left_to_a_full_run(self) -> bool {
        matches!(self, Self::Silence | Self::Mixed)
    }

    /// How often everything is compared, in hours.
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

/// Something that is to be as it was.
pub(crate) struct Flip {
    back_at: usize,
    id: Arc<str>,
    tags: Tags,
}

/// What a story keeps of its trouble.
#[derive(Default)]
pub(crate) struct Course {
    flips: Vec<Flip>,
    /// The tick at which Resource Graph shows everything again.
    sees_at: usize,
    /// What Port has been made to reject.
    refused: Vec<String>,
}

/// Records of child resources in a tick.
const CHILDREN: usize = 30;

impl Plot for Estate {
    type Scope = Scope;
    type Course = Course;

    fn length(self) -> (u64, usize) {
        // Over the API a day takes twice as long.
        (1, if self.sink == Sink::Webhook { 72 } else { 36 })
    }

    fn settings(self, mut settings: Settings) -> Settings {
        settings.estate = EstateSize { subscriptions: 4, groups: 16, resources: 200 };
        settings.lags = Lags { record: self.trouble.record_lag(), row: self.trouble.row_lag() };
        // Nobody waits for it: the time of the quota is the real one.
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
        // The row of what is made again shows a moment after that of what was deleted has gone, and is late until then.
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
            // What only its absence tells takes half an hour more.
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
    /// A run comes up to an hour late, or not at all.
    fn come_late(&mut self) -> bool {
        let (skipped, late) = (self.rng.one_in(4), self.rng.one_in(4));
        if late {
            let delay = self.rng.between(&(MINUTE..=60 * MINUTE));
            self.sandbox.clock().advance(delay);
        }
        !skipped
    }

    /// What Port rejected is sent again, now that it would take it.
    fn resend(&mut self) {
        let refused = std::mem::take(&mut self.course.refused);
        if !refused.is_empty() {
            self.go(self.active[0], &Work::Resend { ids: refused, vanished: Vanished::Delete }, None);
        }
    }
}
