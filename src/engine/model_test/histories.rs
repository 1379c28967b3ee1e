//! Random histories, in five profiles.

use super::random::Random;
use super::text::{Act, Cut, Fault, Filter, Operation, Setup, Step, Tick};
use super::world::{MINUTE, id};
use crate::model::{Id, Stage};

/// What may happen in a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Profile {
    /// Everything except a file that goes back, and changes without a record.
    Troubles,
    /// The file goes back, or is lost; rows are never late.
    Rollback,
    /// Changes without a record.
    Silent,
    /// Only runs that are cut, and posts that fail.
    Calm,
    /// Only changes.
    Plain,
}

impl Profile {
    pub(super) const ALL: [Self; 5] = [Self::Troubles, Self::Rollback, Self::Silent, Self::Calm, Self::Plain];
}

/// Generates a history.
struct Author {
    random: Random,
    profile: Profile,
    used: Vec<Id>,
}

/// The history of a seed, and its setup.
pub(super) fn history(seed: u64) -> (Setup, Vec<Step>) {
    let profile = Profile::ALL[usize::try_from(seed % 5).unwrap()];
    Author { random: Random::new(seed.wrapping_mul(0x9e37_79b9)), profile, used: Vec::new() }.write()
}

impl Author {
    fn write(mut self) -> (Setup, Vec<Step>) {
        let random = &mut self.random;
        let profile = self.profile;
        let mut setup = Setup {
            shards: random.of(&[1, 1, 2, 2, 3]),
            containers: random.of(&[1, 2]),
            leaves: random.of(&[1, 2, 2, 4]),
            loose: random.of(&[0, 0, 1]),
            together: random.of(&[1, 2]),
            cascades: random.chance(0.5),
            relates: random.chance(0.7),
            daily: random.chance(0.2),
            flickers: random.chance(0.5) && profile != Profile::Rollback,
            scope: random.of(&[Filter::All, Filter::Tagged(1), Filter::Tagged(1)]),
            plain: profile == Profile::Plain,
            full: false,
        };
        let mut steps = Vec::new();
        if random.chance(0.85) {
            steps.extend([Step::Run(Tick::default()), Step::Wait(20)]);
        }
        for _ in 0..6 + random.below(10) {
            self.add_to(&mut steps);
        }
        setup.full = profile == Profile::Silent || brings_back_quietly(&steps);
        (setup, steps)
    }

    fn add_to(&mut self, steps: &mut Vec<Step>) {
        let share = self.random.share();
        if share < 0.34 {
            steps.push(Step::Act(self.operation()));
        } else if share < 0.66 {
            steps.push(Step::Run(self.tick()));
            if self.random.chance(0.8) {
                steps.push(Step::Wait(self.random.of(&[5, 20, 20, 60])));
            }
        } else if share < 0.76 {
            let week = if self.random.chance(0.3) { 8 * 24 * 60 } else { 20 };
            steps.push(Step::Wait(self.random.of(&[1, 20, 60, 180, 180, 26 * 60, week])));
        } else {
            match self.profile {
                Profile::Calm | Profile::Plain => {}
                Profile::Rollback if share < 0.88 => {
                    let is_lost = self.random.chance(0.15);
                    steps.push(if is_lost { Step::Lose } else { Step::Back(self.random.of(&[0, 1, 1, 2, 3])) });
                }
                _ => steps.push(self.trouble()),
            }
        }
    }

    /// An entity; often one that something has already happened to.
    fn id(&mut self, stage: Stage) -> Id {
        let known: Vec<Id> = self.used.iter().filter(|id| id.stage() == stage).cloned().collect();
        let id = if !known.is_empty() && self.random.chance(0.4) { self.random.of(&known) } else { self.any_id(stage) };
        self.used.push(id.clone());
        id
    }

    fn any_id(&mut self, stage: Stage) -> Id {
        let random = &mut self.random;
        let (shard, container, leaf) = (random.below(2), random.below(3), random.below(3));
        match stage {
            Stage::Root => id(&format!("s{shard}")),
            Stage::Container => id(&format!("s{shard}/g{container}")),
            Stage::Leaf if random.chance(0.1) => id(&format!("s{shard}/l{}", leaf.min(1))),
            Stage::Leaf => id(&format!("s{shard}/g{container}/r{leaf}")),
        }
    }

    fn lag(&mut self) -> i64 {
        self.random.of(&[0, 0, 0, 3, 12, 30, 110]) * MINUTE
    }

    fn operation(&mut self) -> Operation {
        use Act::{Appear, Create, Delete, Drop, DropQuietly, Silent, Tag, Touch, Twin, Update, Vanish};
        use Stage::{Container, Leaf, Root};
        let mut acts = vec![
            (Create, Leaf),
            (Create, Leaf),
            (Update, Leaf),
            (Update, Leaf),
            (Touch, Leaf),
            (Twin, Leaf),
            (Delete, Leaf),
            (Delete, Leaf),
            (Tag, Container),
            (Tag, Container),
            (Drop, Container),
            (DropQuietly, Container),
            (Update, Container),
            (Create, Container),
            (Update, Root),
        ];
        if self.profile == Profile::Silent {
            acts.extend([(Silent, Leaf), (Vanish, Leaf), (Appear, Leaf)]);
        }
        let (act, stage) = self.random.of(&acts);
        let (id, mut lags) = (self.id(stage), [self.lag(), self.lag(), self.lag()]);
        if self.profile == Profile::Rollback {
            lags = [0, 0, lags[2]];
        }
        Operation { act, id, lags }
    }

    fn tick(&mut self) -> Tick {
        let mut tick = Tick { seed: Some(self.random.below(1_000_000)), ..Tick::default() };
        if self.profile != Profile::Plain && self.random.chance(0.35) {
            let share = self.random.share();
            if share < 0.35 {
                let cut = self.random.of(&[Cut::Kill, Cut::Kill, Cut::Term]);
                let most = self.random.of(&[10, 30, 60, 120]);
                tick.cut = Some((cut, 1 + self.random.below(most)));
                tick.lazy = self.random.chance(0.3);
            } else if share < 0.85 {
                let number = Some(self.random.of(&[1, 1, 2, 3, 4, 5, 6, 8, 10]));
                match self.random.below(3) {
                    0 => tick.fail = number,
                    1 => tick.lost = number,
                    _ => tick.late = number,
                }
            } else {
                tick.during = Some((1 + self.random.below(60), self.operation()));
            }
        }
        tick.full = self.random.chance(0.1);
        if self.profile == Profile::Troubles && self.random.chance(0.1) {
            tick.forget = Some(self.any_id(Stage::Root));
        }
        tick
    }

    fn trouble(&mut self) -> Step {
        use Fault::{
            Down, Fail, Flaky, Hide, HideRecords, HideRow, Lose, Poison, Refuse, RefuseAll, Short, Shut, Uncovered,
            Unlisted,
        };
        let everywhere =
            [Uncovered, Flaky, Unlisted, Short, Poison, Down, Fail, Refuse, RefuseAll, Lose, Shut].map(Some);
        let mut kinds: Vec<Option<Fault>> = everywhere.to_vec();
        kinds.extend([None; 3]);
        if self.profile != Profile::Rollback {
            kinds.extend([Hide, HideRow].map(Some));
            match self.random.below(8) {
                0 => return Step::Sink(self.random.of(&['a', 'b'])),
                1 => return Step::Scope(self.random.of(&[Filter::All, Filter::Tagged(0), Filter::Tagged(1)])),
                _ => {}
            }
        }
        if self.profile == Profile::Silent {
            kinds.push(Some(HideRecords));
        }
        let Some(fault) = self.random.of(&kinds) else {
            let mended =
                [Uncovered, Flaky, Unlisted, Short, Shut, Hide, HideRow, Down, Fail, Refuse, RefuseAll, Lose, Poison];
            return Step::Mend(self.random.of(&mended));
        };
        let stage = match fault {
            Uncovered | Flaky | Unlisted | Short | Shut | HideRecords => Stage::Root,
            Hide => self.random.of(&[Stage::Container, Stage::Leaf]),
            HideRow => self.random.of(&[Stage::Root, Stage::Container, Stage::Leaf]),
            _ => self.random.of(&[Stage::Root, Stage::Container, Stage::Container, Stage::Leaf, Stage::Leaf]),
        };
        Step::Fault(fault, (fault != Down).then(|| self.id(stage)))
    }
}

/// Whether a container that was dropped without records of its contents comes back: there is no record of that.
fn brings_back_quietly(steps: &[Step]) -> bool {
    let mut dropped = Vec::new();
    steps.iter().any(|step| {
        let (Step::Act(operation) | Step::Run(Tick { during: Some((_, operation)), .. })) = step else { return false };
        if operation.act == Act::DropQuietly {
            dropped.push(operation.id.clone());
        }
        operation.act == Act::Create && dropped.contains(&operation.id)
    })
}
