//! Compares the catalog with the estate, and changes neither.
//!
//! First reads all of Port's entities and keeps a hash of each. Then reads all of Azure and looks up what the mapping
//! makes of each row. Whatever differs is checked a second time, because pages shift and time passes. Entities that no
//! row made are extra.

mod compare;
mod maker;
mod output;
mod side;
mod table;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::sync::Arc;

use futures::future::FutureExt;

use crate::cli::DriftArgs;
use crate::comparison::{Difference, HookError, Normal, differences};
use crate::config::{Config, Entra, LogFormat, Mode};
use crate::error::{Exit, Problem, Stop};
use crate::http::{Http, RequestError};
use crate::mapping::Unmade;
use crate::port::{Port, PortError};
use crate::run::{RunError, Survey, survey};
use compare::{Comparison, Key, State};
use maker::Maker;
use side::{Numbers, Side, names};

/// Entities to check a second time, and extra ones to keep, unless all are to be printed.
const KEPT: usize = 1000;

/// Examples to show of each kind, unless all are to be printed.
const SHOWN: usize = 10;

/// Why the catalog and the estate could not be compared.
#[derive(Debug, thiserror::Error)]
enum DriftError {
    #[error(transparent)]
    Setup(#[from] RequestError),
    #[error("Port: {0}")]
    Port(#[from] PortError),
    #[error(transparent)]
    Run(#[from] RunError),
    #[error(transparent)]
    Hook(#[from] HookError),
    #[error("{rows} rows could not be mapped, so that nothing is known of their entities; the first: {first}")]
    Unmapped { rows: u64, first: String },
    #[error("stopped before everything was compared")]
    Stopped(Stop),
}

impl From<Stop> for DriftError {
    fn from(stop: Stop) -> Self {
        Self::Stopped(stop)
    }
}

impl Problem for DriftError {
    fn exit(&self) -> Exit {
        match self {
            Self::Setup(error) => error.exit(),
            Self::Port(error) => error.exit(),
            Self::Run(error) => error.exit(),
            Self::Hook(error) => error.exit(),
            Self::Unmapped { .. } => Exit::Failed,
            Self::Stopped(stop) => stop.exit(),
        }
    }

    fn details(&self) -> Option<&str> {
        if let Self::Run(error) = self { error.details() } else { None }
    }

    fn advice(&self) -> Option<&'static str> {
        match self {
            Self::Setup(error) => error.advice(),
            Self::Port(error) => error.advice(),
            Self::Run(error) => error.advice(),
            Self::Hook(error) => error.advice(),
            Self::Unmapped { .. } | Self::Stopped(_) => None,
        }
    }
}

/// The result of the comparison.
#[derive(Debug, Default)]
struct Found {
    blueprints: BTreeMap<String, Numbers>,
    missing: BTreeSet<Key>,
    different: BTreeMap<Key, Vec<Difference>>,
    /// The number of extra entities by blueprint, and some of them. `None` if not everything was read, so that none can
    /// be determined.
    extra: Option<(BTreeMap<String, u64>, BTreeSet<Key>)>,
    /// The number of entities that Port would reject, and the reasons for some.
    refused: (u64, BTreeMap<Key, String>),
    /// What could not be determined, one sentence each.
    notes: Vec<String>,
    errors: Vec<String>,
    exit: Exit,
}

impl Found {
    fn fail(&mut self, error: &impl Problem) {
        tracing::error!("{}", error.told());
        self.exit = self.exit.or_worse(error.exit());
        self.errors.push(error.told());
    }

    fn is_equal(&self) -> bool {
        let is_extra = |(counts, _): &(BTreeMap<String, u64>, BTreeSet<Key>)| counts.values().any(|count| *count > 0);
        self.blueprints.values().all(|numbers| numbers.missing + numbers.different == 0)
            && !self.extra.as_ref().is_some_and(is_extra)
    }
}

/// Compares, and prints some or all differences. Errors are logged as they occur.
pub async fn run(
    config: &Config,
    args: &DriftArgs,
    format: LogFormat,
    stop: impl Future<Output = Stop>,
    output: impl Write,
) -> Exit {
    // Nothing is stored or written.
    let config = Config {
        mode: Mode::Full,
        checkpoint: None,
        dead_letter_file: None,
        dry_run: None,
        workflow_run: None,
        // They are sent separately and take very long to read.
        entra: config.entra.clone().map(|entra| Entra { sign_ins: false, ..entra }),
        ..config.clone()
    };
    let mut found = Found::default();
    if let Err(error) = Box::pin(compare(&config, args, stop, &mut found)).await {
        found.fail(&error);
    }
    if !found.is_equal() {
        found.exit = found.exit.or_worse(Exit::Differs);
    }
    output::show(&found, limit(args, SHOWN), format, output);
    found.exit
}

fn limit(args: &DriftArgs, most: usize) -> usize {
    if args.all { usize::MAX } else { most }
}

async fn compare(
    config: &Config,
    args: &DriftArgs,
    stop: impl Future<Output = Stop>,
    found: &mut Found,
) -> Result<(), DriftError> {
    let stop = stop.shared();
    let Some(api) = &config.port.api else { return Err(HookError::Unknown.into()) };
    let http = Arc::new(Http::new(config.port.concurrency.get(), config.limits.clone(), config.network.clone())?);
    let port = Port::new(api, &config.azure.tenant_id, http)?;
    let preparing = async {
        port.sign_in().await?;
        Maker::of(config, &port).await
    };
    let (maker, notes) = tokio::select! {
        prepared = preparing => prepared?,
        stop = stop.clone() => return Err(stop.into()),
    };
    found.notes = notes;
    let comparison = tokio::select! {
        begun = Comparison::begin(&port, &maker, limit(args, KEPT)) => begun?,
        stop = stop.clone() => return Err(stop.into()),
    };
    let survey = Box::pin(survey(config, &comparison, stop.clone())).await;
    found.exit = survey.report.exit;
    found.errors.clone_from(&survey.report.errors);
    let ending = end(&port, &maker, comparison.into_state(), &survey, limit(args, SHOWN), found);
    tokio::select! {
        ended = ending => ended,
        stop = stop => Err(stop.into()),
    }
}

/// Finishes once both sides are read: checks the differences a second time, and names the extra entities.
async fn end(
    port: &Port,
    maker: &Maker,
    state: State,
    survey: &Survey,
    most: usize,
    found: &mut Found,
) -> Result<(), DriftError> {
    let State { mut sides, doubtful, refused } = state;
    found.refused = (sides.values().map(|side| side.refused.len() as u64).sum(), refused);
    let Unmade { dropped, failed, first } = maker.unmade();
    if dropped > 0 {
        found.notes.push(format!("{dropped} entities of the mapping have no identifier or no blueprint"));
    }
    if survey.report.unresolved > 0 {
        found.notes.push(format!(
            "{} resources that changed have no row in Resource Graph yet, and are not compared",
            survey.report.unresolved
        ));
    }
    if failed > 0 {
        found.fail(&DriftError::Unmapped { rows: failed, first: first.unwrap_or_default() });
    }
    let mut looking = Ok(());
    for (blueprint, side) in &mut sides {
        let of_blueprint = doubtful.iter().filter(|((of, _), _)| of == blueprint);
        let of_blueprint: Vec<_> = of_blueprint.map(|((_, identifier), doubt)| (identifier, doubt)).collect();
        looking = looking.and(look_again(port, blueprint, side, &of_blueprint, found).await);
        found.blueprints.insert(blueprint.clone(), side.numbers());
        found.notes.extend(side.notes(blueprint));
    }
    looking?;
    if found.errors.is_empty() {
        found.extra = Some(extra(port, &sides, survey, most, &mut found.notes).await?);
    }
    Ok(())
}

async fn look_again(
    port: &Port,
    blueprint: &str,
    side: &mut Side,
    doubtful: &[(&String, &(usize, Normal))],
    found: &mut Found,
) -> Result<(), PortError> {
    let held = side.look_again(port, doubtful).await?;
    for (identifier, (_, azure)) in doubtful {
        let differs = held.get(*identifier).map(|held| differences(azure, held));
        side.note(identifier, differs.as_deref());
        let key = || (blueprint.to_owned(), (*identifier).clone());
        match differs {
            None => _ = found.missing.insert(key()),
            Some(differs) if differs.is_empty() => {}
            Some(differs) => _ = found.different.insert(key(), differs),
        }
    }
    Ok(())
}

/// Entities in Port that no row in Azure makes, except those that may belong to a subscription that was not read
/// completely.
async fn extra(
    port: &Port,
    sides: &BTreeMap<String, Side>,
    survey: &Survey,
    most: usize,
    notes: &mut Vec<String>,
) -> Result<(BTreeMap<String, u64>, BTreeSet<Key>), PortError> {
    let guid = |id: &String| id.rsplit('/').next().unwrap_or_default().to_owned();
    let whole: BTreeSet<&String> = survey.report.whole.iter().collect();
    let (read, unread): (Vec<&String>, Vec<&String>) = survey.listed.iter().partition(|id| whole.contains(id));
    let (read, unread): (Vec<String>, Vec<String>) =
        (read.into_iter().map(guid).collect(), unread.into_iter().map(guid).collect());
    let is_certain = |identifier: &str| {
        let identifier = identifier.to_lowercase();
        let mentions = |guids: &[String]| guids.iter().any(|guid| identifier.contains(guid));
        unread.is_empty() || (mentions(&read) && !mentions(&unread))
    };
    let (mut counts, mut some, mut left_out) = (BTreeMap::new(), BTreeSet::new(), 0);
    for (blueprint, side) in sides {
        let unmatched = side.numbers().unmatched;
        if unmatched == 0 || side.is_searched {
            continue;
        }
        let (mut certain, mut shown) = (0, 0);
        let mut pages = port.search(blueprint, None, vec!["$identifier".to_owned()]);
        while let Some(page) = pages.next().await? {
            for identifier in names(&page).filter(|identifier| side.is_extra(identifier)) {
                if !is_certain(&identifier) {
                    left_out += 1;
                    continue;
                }
                certain += 1;
                if shown < most && some.insert((blueprint.clone(), identifier)) {
                    shown += 1;
                }
            }
            // Their number is already known; only names were needed.
            if unread.is_empty() && shown >= most {
                certain = unmatched;
                break;
            }
        }
        counts.insert(blueprint.clone(), certain);
    }
    if !unread.is_empty() {
        notes.push(format!(
            "{} subscriptions could not be read whole, such as {}: {left_out} entities of Port's that may be of them are not \
             counted as extra",
            unread.len(),
            unread.first().map_or("", String::as_str)
        ));
    }
    Ok((counts, some))
}
