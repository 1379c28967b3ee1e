//! Histories as text: what a test contains, and what a failure shows.

use std::fmt;

use super::world::id;
use crate::model::Id;

/// Words for the values of an enum, both ways.
macro_rules! words {
    ($(#[$about:meta])* $name:ident { $($value:ident = $word:literal),* $(,)? }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub(super) enum $name { $($value),* }

        impl $name {
            fn word(self) -> &'static str {
                match self { $(Self::$value => $word),* }
            }

            fn from_word(word: &str) -> Option<Self> {
                match word { $($word => Some(Self::$value),)* _ => None }
            }
        }
    };
}

words! {
    /// What happens to an entity.
    Act {
        Create = "create", Update = "update", Touch = "touch", Tag = "tag", Delete = "delete", Twin = "twin", Drop = "drop",
        DropQuietly = "dropq", Silent = "silent", Vanish = "vanish", Appear = "appear",
    }
}

words! {
    /// A fault of the source (the first ten) or the catalog.
    Fault {
        Uncovered = "uncovered", Flaky = "flaky", Unlisted = "unlisted", Short = "short", Shut = "shut", Hide = "hide",
        HideRow = "hiderow", HideRecords = "hiderec", Poison = "poison",
        Down = "down", Fail = "fail", Refuse = "refuse", RefuseAll = "refuse-all", Lose = "lose",
    }
}

words! {
    /// How a run is ended from outside.
    Cut { Kill = "kill", Term = "term" }
}

/// Which containers are in scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Filter {
    All,
    Tagged(u8),
}

/// An act, and how late each replica's row and the record show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Operation {
    pub(super) act: Act,
    pub(super) id: Id,
    pub(super) lags: [i64; 3],
}

/// What happens to a run. Posts are counted from one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Tick {
    pub(super) seed: Option<u64>,
    pub(super) cut: Option<(Cut, u64)>,
    /// At a kill, everything noted may be on the disk, at random.
    pub(super) lazy: bool,
    pub(super) fail: Option<u64>,
    /// A post that is applied but whose answer is lost.
    pub(super) lost: Option<u64>,
    /// A post whose answer is lost, and which is applied after the run.
    pub(super) late: Option<u64>,
    pub(super) during: Option<(u64, Operation)>,
    pub(super) full: bool,
    /// In place of a run, everything held of this shard is deleted, unless it is listed.
    pub(super) forget: Option<Id>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Act(Operation),
    /// Minutes.
    Wait(i64),
    Run(Tick),
    Fault(Fault, Option<Id>),
    Mend(Fault),
    /// The file goes back this many runs.
    Back(usize),
    Lose,
    Sink(char),
    Scope(Filter),
    /// Costs are counted from here on.
    Mark,
}

/// The world and the settings of a history.
#[allow(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Setup {
    pub(super) shards: usize,
    pub(super) containers: usize,
    pub(super) leaves: usize,
    /// Leaves without a container, in each shard.
    pub(super) loose: usize,
    pub(super) together: usize,
    pub(super) scope: Filter,
    pub(super) flickers: bool,
    pub(super) cascades: bool,
    pub(super) relates: bool,
    pub(super) daily: bool,
    /// Without faults, so that redundant posts are counted.
    pub(super) plain: bool,
    /// A full run at the end is allowed for.
    pub(super) full: bool,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            shards: 1,
            containers: 1,
            leaves: 1,
            loose: 0,
            together: 1,
            scope: Filter::All,
            flickers: false,
            cascades: false,
            relates: false,
            daily: false,
            plain: false,
            full: false,
        }
    }
}

/// A history: steps with semicolons between them.
pub(super) fn steps(text: &str) -> Vec<Step> {
    text.split(';').map(str::trim).filter(|step| !step.is_empty()).map(step).collect()
}

fn step(text: &str) -> Step {
    let words: Vec<&str> = text.split_whitespace().collect();
    match words[..] {
        ["wait", minutes] => Step::Wait(minutes.parse().unwrap()),
        ["run", ..] => Step::Run(tick(&words[1..])),
        ["fault", fault] => Step::Fault(Fault::from_word(fault).unwrap(), None),
        ["fault", fault, at] => Step::Fault(Fault::from_word(fault).unwrap(), Some(id(at))),
        ["mend", fault] => Step::Mend(Fault::from_word(fault).unwrap()),
        ["back", runs] => Step::Back(runs.parse().unwrap()),
        ["lose"] => Step::Lose,
        ["sink", name] => Step::Sink(name.chars().next().unwrap()),
        ["scope", filter] => Step::Scope(filter_of(filter)),
        ["mark"] => Step::Mark,
        _ => Step::Act(operation(&words)),
    }
}

fn operation(words: &[&str]) -> Operation {
    let mut lags = [0; 3];
    for (lag, word) in lags.iter_mut().zip(words.get(2).iter().flat_map(|lags| lags.split(','))) {
        *lag = word.parse().unwrap();
    }
    let act = Act::from_word(words[0]).unwrap_or_else(|| panic!("no such step: {words:?}"));
    Operation { act, id: id(words[1]), lags }
}

fn tick(words: &[&str]) -> Tick {
    let mut tick = Tick::default();
    for word in words {
        let (key, value) = word.split_once('=').unwrap_or((word, ""));
        let number = || Some(value.parse().unwrap());
        match key {
            "full" => tick.full = true,
            "lazy" => tick.lazy = true,
            "seed" => tick.seed = number(),
            "fail" => tick.fail = number(),
            "lost" => tick.lost = number(),
            "late" => tick.late = number(),
            "forget" => tick.forget = Some(id(value)),
            "during" => {
                let parts: Vec<&str> = value.split(':').collect();
                tick.during = Some((parts[0].parse().unwrap(), operation(&parts[1..])));
            }
            _ => tick.cut = Cut::from_word(key).zip(number()),
        }
    }
    tick
}

fn filter_of(text: &str) -> Filter {
    if text == "all" { Filter::All } else { Filter::Tagged(text.parse().unwrap()) }
}

/// A setup; anything not given is as small and calm as possible.
pub(super) fn setup(text: &str) -> Setup {
    let mut setup = Setup::default();
    for word in text.split_whitespace() {
        let (key, value) = word.split_once('=').unwrap_or((word, ""));
        let number = || value.parse().unwrap();
        match key {
            "shards" => setup.shards = number(),
            "containers" => setup.containers = number(),
            "leaves" => setup.leaves = number(),
            "loose" => setup.loose = number(),
            "together" => setup.together = number(),
            "scope" => setup.scope = filter_of(value),
            "flickers" => setup.flickers = true,
            "cascades" => setup.cascades = true,
            "relates" => setup.relates = true,
            "daily" => setup.daily = true,
            "plain" => setup.plain = true,
            "full" => setup.full = true,
            _ => panic!("no such setting: {word}"),
        }
    }
    setup
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::Tagged(tag) => write!(f, "{tag}"),
        }
    }
}

impl Operation {
    fn write(&self, f: &mut fmt::Formatter<'_>, between: char) -> fmt::Result {
        let Self { act, id, lags: [first, second, record] } = self;
        write!(f, "{}{between}{id}{between}{first},{second},{record}", act.word())
    }
}

impl fmt::Display for Tick {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("run")?;
        if let Some((cut, at)) = self.cut {
            write!(f, " {}={at}", cut.word())?;
        }
        for (name, value) in [("fail", self.fail), ("lost", self.lost), ("late", self.late), ("seed", self.seed)] {
            if let Some(value) = value {
                write!(f, " {name}={value}")?;
            }
        }
        for (name, is_so) in [("lazy", self.lazy), ("full", self.full)] {
            if is_so {
                write!(f, " {name}")?;
            }
        }
        if let Some(shard) = &self.forget {
            write!(f, " forget={shard}")?;
        }
        if let Some((at, operation)) = &self.during {
            write!(f, " during={at}:")?;
            operation.write(f, ':')?;
        }
        Ok(())
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Act(operation) => operation.write(f, ' '),
            Self::Wait(minutes) => write!(f, "wait {minutes}"),
            Self::Run(tick) => tick.fmt(f),
            Self::Fault(fault, None) => write!(f, "fault {}", fault.word()),
            Self::Fault(fault, Some(id)) => write!(f, "fault {} {id}", fault.word()),
            Self::Mend(fault) => write!(f, "mend {}", fault.word()),
            Self::Back(runs) => write!(f, "back {runs}"),
            Self::Lose => f.write_str("lose"),
            Self::Sink(name) => write!(f, "sink {name}"),
            Self::Scope(filter) => write!(f, "scope {filter}"),
            Self::Mark => f.write_str("mark"),
        }
    }
}

impl fmt::Display for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { shards, containers, leaves, loose, together, scope, .. } = self;
        write!(
            f,
            "shards={shards} containers={containers} leaves={leaves} loose={loose} together={together} scope={scope}"
        )?;
        let switches = [
            ("flickers", self.flickers),
            ("cascades", self.cascades),
            ("relates", self.relates),
            ("daily", self.daily),
            ("plain", self.plain),
            ("full", self.full),
        ];
        for (name, _) in switches.iter().filter(|(_, is_so)| *is_so) {
            write!(f, " {name}")?;
        }
        Ok(())
    }
}
