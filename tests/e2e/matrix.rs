//! The fault matrix: how a run handles every fault in each of its requests, and answers of Resource Graph that only
//! look right.
//!
//! A full run succeeds, the estate changes, and the next run meets the fault. Then everything works again, and the run
//! after that must have repaired the catalog.

use std::sync::Arc;
use std::time::Duration;

use azure_incremental::Work;
use azure_incremental::cli::Settings as Flags;
use azure_incremental::config::{Application, Config, Identity};
use azure_incremental::report::Report;
use redb::{ReadableDatabase as _, ReadableTable as _, TableDefinition};
use sandbox::dates::Date;
use sandbox::expected::Scope;
use sandbox::faults::{Fault, Rule};
use sandbox::requests::Route;
use sandbox::settings::{CLIENT, GITHUB_TOKEN, MAPPING_BATCH, Settings, TENANT};
use sandbox::signin::GITHUB;
use sandbox::{Host, Sandbox};

use crate::engine::{Ended, alone, config, go, trust};
use crate::harness::{DAY, MINUTE, break_down, empty};

/// Rows: the request. Columns: the fault, in every attempt. The cells are explained below.
const MATRIX: &str = "
                refuse  hang  drip  reset  reset-in-body  400  401  403  404  408  413  429  500  503  garbage  endless
Token             f      f     f      f         f          c    c    c    c    f    c    f    f    f      f        f
IdToken           f      f     f      f         f          u    u    u    u    f    u    f    f    f      f        f
Metadata          f      f     f      f         f          u    u    u    u    f    u    f    f    f      f        f
Subscriptions     f      f     f      f         f          f    t    f    f    f    f    f    f    f      f        f
Graph             f      f     f      f         f          f    t    f    f    f    f    f    f    f      f        f
Webhook           o      d     d      d         d          r    w    w    w    d    r    h    d    d      w        d
";

/// An entry in the checkpoint: a subscription's number, the time from which to read, the last full comparison, and the
/// number of entities held.
type Mark = (u32, Option<i64>, Option<i64>, u64);
const SHARDS: TableDefinition<&str, Mark> = TableDefinition::new("shards");

/// The expected result of a fault.
struct Outcome {
    exit: u8,
    /// Whether the marks advance: they follow what was read; undelivered changes are recorded separately.
    moves: bool,
    /// The number of envelopes that the report counts as not accepted.
    failed: u64,
    /// The text of its errors.
    said: &'static str,
}

fn expected(cell: &str, fault: &str) -> Outcome {
    let cause = match fault {
        "refuse" => "no connection",
        "hang" | "drip" => "no answer within",
        "reset" | "reset-in-body" => "the connection broke",
        "garbage" => "cannot be understood",
        "endless" => "the answer is larger than",
        _ => "status",
    };
    let (exit, moves, failed, said) = match cell {
        // The request failed, or Azure's answer was invalid.
        "f" => (1, false, 0, cause),
        // The credentials were rejected; they are unusable; the token was rejected, and so was a new one.
        "c" => (3, false, 0, "Azure refused the credentials: status"),
        "u" => (3, false, 0, "cannot sign in"),
        "t" => (3, false, 0, "a new access token was refused as well"),
        // The envelope was not delivered; the webhook is wrong and accepts neither of two; Port rejected the envelope.
        "d" => (1, true, 1, "1 changes were not delivered"),
        // The webhook is unreachable: the run ends before everything was read.
        "o" => (1, false, 1, "Port's webhook is down"),
        // It throttles for too long, so the run ends.
        "h" => (1, false, 0, "throttled everything for"),
        "w" => (1, true, 2, "does not exist or is not yours"),
        "r" => (4, true, 1, "Port rejected 1 changes individually"),
        _ => panic!("no such cell: {cell}"),
    };
    Outcome { exit, moves, failed, said }
}

/// A request that the program makes.
#[derive(Clone, Copy, Debug)]
enum Request {
    /// To Entra ID for an access token.
    Token,
    /// To GitHub for an ID token, which the request for the access token then includes.
    IdToken,
    /// To the metadata service of a machine, for an access token.
    Metadata,
    Subscriptions,
    Graph,
    Webhook,
}

impl Request {
    const ALL: [Self; 6] =
        [Self::Token, Self::IdToken, Self::Metadata, Self::Subscriptions, Self::Graph, Self::Webhook];

    fn route(self) -> Route {
        match self {
            Self::Token | Self::IdToken | Self::Metadata => Route::Token,
            Self::Subscriptions => Route::Subscriptions,
            Self::Graph => Route::Graph,
            Self::Webhook => Route::Webhook,
        }
    }

    fn host(self) -> Host {
        match self {
            Self::Token | Self::IdToken | Self::Metadata => Host::SignIn,
            Self::Subscriptions | Self::Graph => Host::ResourceManager,
            Self::Webhook => Host::Port,
        }
    }

    /// A credential that makes this request, if the sandbox's application does not.
    fn identity(self, sandbox: &Sandbox) -> Option<Identity> {
        let sign_in = sandbox.origin(Host::SignIn);
        match self {
            Self::IdToken => Some(Identity::GithubOidc {
                application: Application { tenant_id: TENANT.into(), client_id: CLIENT.into() },
                url: format!("{sign_in}{GITHUB}").parse().unwrap(),
                token: GITHUB_TOKEN.into(),
                audience: "api://AzureADTokenExchange".into(),
            }),
            Self::Metadata => {
                Some(Identity::ManagedIdentity { client_id: None, metadata_host: Some(sign_in.parse().unwrap()) })
            }
            _ => None,
        }
    }

    /// The fault, in every attempt of this request.
    fn rule(self, fault: Fault) -> Rule {
        let wrong = matches!(fault, Fault::Status { status: 401 | 403 | 404, .. } | Fault::Garbage);
        let says_no = matches!(fault, Fault::Status { .. });
        let rule = Rule::new(fault);
        match self {
            // Excludes the request for an access token, which has a body.
            Self::IdToken => rule.when(<[u8]>::is_empty),
            Self::Webhook if wrong => rule,
            // One envelope of several. If no answer rejects it, it was accepted.
            Self::Webhook if says_no => rule.containing("third"),
            Self::Webhook => rule.containing("third").applied(),
            _ => rule,
        }
    }
}

fn fault(name: &str) -> Option<Fault> {
    Some(match name {
        "refuse" => return None,
        "hang" => Fault::Hang,
        "drip" => Fault::Drip(Duration::from_millis(100)),
        "reset" => Fault::Reset,
        "reset-in-body" => Fault::ResetInBody,
        "garbage" => Fault::Garbage,
        "endless" => Fault::Endless,
        status => Fault::status(status.parse().unwrap()),
    })
}

struct Trial {
    sandbox: Sandbox,
    config: Config,
    groups: Vec<Arc<str>>,
}

impl Trial {
    /// One subscription, a credential that makes this request, and one envelope per post.
    fn of(request: Request, runtime: &tokio::runtime::Runtime) -> Self {
        let mut trial = Self::new(empty(), &["One"], runtime);
        if let Some(identity) = request.identity(&trial.sandbox) {
            trial.config.azure.credential.identity = identity;
        }
        trial.grow(&["third", "fourth"]);
        trial
    }

    /// Subscriptions with these names, each with a group, after a complete run.
    fn new(mut settings: Settings, names: &[&str], runtime: &tokio::runtime::Runtime) -> Self {
        settings.net.own_runtime = true;
        let payload = (settings.port.mapping == MAPPING_BATCH).then(|| "batch".to_owned());
        let sandbox = runtime.block_on(Sandbox::start(settings)).unwrap();
        let group = |name: &&str| {
            let mut estate = sandbox.estate();
            let subscription = estate.add_subscription(name, None);
            estate.create_group(&subscription, "rg", "westeurope", None).unwrap()
        };
        let groups: Vec<Arc<str>> = names.iter().map(group).collect();
        for name in ["first", "second"] {
            sandbox.estate().create_resource(&groups[0], "microsoft.keyvault/vaults", name, "eastus", None).unwrap();
        }
        sandbox.clock().advance(DAY);
        trust(&sandbox);
        let checkpoint = sandbox.directory().join("checkpoint.redb").display().to_string();
        let flags = Flags { checkpoint_file: Some(checkpoint), port_webhook_payload: payload, ..Flags::default() };
        let mut config = config(&sandbox, flags, &[]);
        config.limits.retries = 2;
        config.limits.azure_timeout = Duration::from_millis(1200);
        config.limits.sign_in_timeout = Duration::from_millis(400);
        config.limits.longest_throttle = Duration::from_millis(10);
        config.limits.post_timeout = Duration::from_millis(250);
        let trial = Self { sandbox, config, groups };
        assert_eq!(trial.run().exit.code(), 0);
        trial
    }

    /// Creates resources of these names in each group.
    fn grow(&self, names: &[impl AsRef<str>]) {
        for (group, name) in self.groups.iter().flat_map(|group| names.iter().map(move |name| (group, name.as_ref()))) {
            self.sandbox.estate().create_resource(group, "microsoft.keyvault/vaults", name, "eastus", None).unwrap();
        }
        self.sandbox.clock().advance(15 * MINUTE);
    }

    fn run(&self) -> Report {
        match go(&self.config, &Work::Sync, None).0 {
            Ended::Reported(report) => *report,
            Ended::Killed => panic!("nobody killed it"),
        }
    }

    /// The time from which each subscription is read next.
    fn marks(&self) -> Vec<Option<i64>> {
        let database = redb::Database::open(self.sandbox.directory().join("checkpoint.redb")).unwrap();
        let shards = database.begin_read().unwrap().open_table(SHARDS).unwrap();
        shards.iter().unwrap().map(|shard| shard.unwrap().1.value().1).collect()
    }

    /// A run that meets the fault in every attempt of the request.
    fn meet(&self, request: Request, fault: Option<Fault>, runtime: &tokio::runtime::Runtime) -> Report {
        let (route, host) = (request.route(), request.host());
        match fault {
            Some(fault) => {
                break_down(&self.sandbox, route, request.rule(fault));
                self.run()
            }
            None if route == Route::Graph => std::thread::scope(|scope| {
                // It shares a host with the listing, which must have answered before the host goes down.
                break_down(&self.sandbox, route, request.rule(Fault::Hang));
                scope.spawn(|| {
                    while self.sandbox.requests().count(Route::Graph) == 0 {
                        std::thread::sleep(Duration::from_millis(2));
                    }
                    runtime.block_on(self.sandbox.set_up(host, false));
                });
                self.run()
            }),
            None => {
                runtime.block_on(self.sandbox.set_up(host, false));
                self.run()
            }
        }
    }

    /// A run after everything works again, and the remaining differences between catalog and estate.
    fn mend(&self, runtime: &tokio::runtime::Runtime) -> (Report, Vec<String>) {
        self.sandbox.faults().clear();
        self.sandbox.estate().sight().clear();
        self.sandbox.dates().set_all(&Date::True);
        for host in [Host::SignIn, Host::ResourceManager, Host::Port] {
            runtime.block_on(self.sandbox.set_up(host, true));
        }
        self.sandbox.clock().advance(15 * MINUTE);
        let report = self.run();
        (report, runtime.block_on(self.sandbox.diff(&Scope::default())))
    }
}

#[test]
fn every_fault_of_every_request_ends_as_the_matrix_says() {
    alone("matrix::every_fault_of_every_request_ends_as_the_matrix_says", || {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let mut lines = MATRIX.trim_matches('\n').lines();
        let faults: Vec<&str> = lines.next().unwrap().split_whitespace().collect();
        let mut wrong = Vec::new();
        for line in lines {
            let mut cells = line.split_whitespace();
            let name = cells.next().unwrap();
            let request = Request::ALL.into_iter().find(|request| format!("{request:?}") == name).unwrap();
            let cells: Vec<&str> = cells.collect();
            assert_eq!(cells.len(), faults.len(), "{line}");
            for (fault_name, cell) in faults.iter().zip(cells) {
                let trial = Trial::of(request, &runtime);
                trial.sandbox.requests().clear();
                let before = trial.marks();
                let report = trial.meet(request, fault(fault_name), &runtime);
                let moved = trial.marks() != before;
                let Outcome { exit, moves, failed, said } = expected(cell, fault_name);
                let errors = report.errors.join("\n");
                if (report.exit.code(), moved, report.failed) != (exit, moves, failed) || !errors.contains(said) {
                    wrong.push(format!(
                        "{name} × {fault_name}: exit {}, moved {moved}, failed {}, not exit {exit}, moved {moves}, \
                         failed {failed} and {said:?}: {errors}",
                        report.exit.code(),
                        report.failed
                    ));
                }
                assert_eq!(errors.is_empty(), exit == 0, "{name} × {fault_name}: {errors}");

                let (report, differences) = trial.mend(&runtime);
                let stays_refused = cell == "r";
                if report.exit.code() != if stays_refused { 4 } else { 0 } || differences.is_empty() == stays_refused {
                    wrong.push(format!("{name} × {fault_name}: not mended: {differences:?}, {:?}", report.errors));
                }
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    });
}

/// Rows: the fault of Resource Graph. Columns: its next query only, queries that name the second of two subscriptions,
/// queries that name both, or all queries.
const ANSWERS: &str = "
                once  two  both  all
error-beside      h    p    h     f
miscounted        h    p    h     f
odd-word          h    f    f     f
504               h    p    h     f
cut               h    p    h     f
no-answer         -    p    h     -
challenge         h    t    t     t
joins             h    h    h     h
lacking           l    l    l     l
lacking-parts     h    -    -     s
not-looked-at     -    n    -     N
poison            -    b    -     -
date-ahead        -    -    -     h
date-behind       -    -    -     h
date-absent       -    -    -     h
";

/// New resources per subscription: a few, or enough to be read in parts.
const FEW: usize = 2;
const MANY: usize = 600;

/// The expected result of an answer.
struct Answered {
    exit: u8,
    /// Whether the marks of the first and second subscription advance.
    moves: [bool; 2],
    /// How many subscriptions' new resources arrive, and how many of those are lost.
    come: usize,
    lost: usize,
    not_covered: u64,
    said: &'static str,
}

fn wanted(cell: &str) -> Answered {
    let (exit, moves, come, lost, not_covered, said) = match cell {
        // It is queried again, in the same way or another.
        "h" => (0, [true; 2], 2, 0, 0, ""),
        // Its records are read with the overlap of the next run.
        "l" => (0, [true; 2], 0, 0, 0, ""),
        // One or both subscriptions are not covered.
        "n" => (0, [true, false], 1, 0, 1, ""),
        "N" => (0, [false; 2], 0, 0, 2, ""),
        // A single subscription fails; a single row does.
        "p" => (1, [true, false], 1, 0, 0, "subscription Two ("),
        "b" => (1, [true; 2], 2, 1, 0, "1 entities could not be read"),
        // Nothing is proven; nothing is answered; the token is rejected everywhere.
        "s" => (1, [false; 2], 0, 0, 0, "0 rows came of 1200 that were announced"),
        "f" => (1, [false; 2], 0, 0, 0, "the query for"),
        "t" => (3, [false; 2], 0, 0, 0, "a policy of the tenant refuses the token"),
        _ => panic!("no such cell: {cell}"),
    };
    Answered { exit, moves, come, lost, not_covered, said }
}

impl Trial {
    /// Two subscriptions that only need their new resources, this many each.
    fn of_two(new: usize, runtime: &tokio::runtime::Runtime) -> Self {
        let mut settings = empty();
        MAPPING_BATCH.clone_into(&mut settings.port.mapping);
        let mut trial = Self::new(settings, &["One", "Two"], runtime);
        // Valid answers take a quarter of this, even on a busy machine.
        trial.config.limits.azure_timeout = Duration::from_secs(2);
        assert_eq!(trial.run().exit.code(), 0);
        trial.grow(&(0..new).map(|number| format!("new-{number}")).collect::<Vec<_>>());
        trial
    }

    /// Makes Resource Graph answer this way.
    fn spoil(&self, fault: &str, reach: &str) {
        const HOURS: i64 = 3 * 60 * 60 * 1000;
        let guids: Vec<_> = self.sandbox.estate().subscriptions().iter().map(|one| one.guid.clone()).collect();
        let rule = match fault {
            "error-beside" => Rule::new(Fault::with_error()),
            "miscounted" => Rule::new(Fault::miscounted(1)),
            "odd-word" => Rule::new(Fault::truncation("partly".into())),
            "504" => Rule::new(Fault::status(504)),
            "cut" => Rule::new(Fault::Reset),
            "no-answer" => Rule::new(Fault::Hang),
            "challenge" => {
                let challenge = r#"Bearer error="insufficient_claims", claims="eyJhIjoxfQ==""#;
                Rule::new(Fault::status(401).with_header("www-authenticate", challenge))
            }
            "joins" => {
                let refusal =
                    r#"{"error":{"code":"BadRequest","details":[{"code":"DisallowedMaxNumberOfRemoteTables"}]}}"#;
                let joins = |body: &[u8]| {
                    let text = String::from_utf8_lossy(body);
                    text.contains("| join") || text.contains("| union")
                };
                Rule::new(Fault::status(400).with_body(refusal)).when(joins)
            }
            "lacking" => Rule::new(Fault::lacking(100)).containing("resourcechanges"),
            "lacking-parts" => Rule::new(Fault::lacking(100)).parts(),
            "not-looked-at" => {
                let not_seen = if reach == "all" { &guids[..] } else { &guids[1..] };
                return not_seen.iter().for_each(|guid| self.sandbox.estate().sight().overlook(guid));
            }
            "poison" => {
                let id = format!("{}/providers/microsoft.keyvault/vaults/new-0", self.groups[1]);
                return self.sandbox.estate().sight().poison(&id);
            }
            "date-ahead" => return self.sandbox.dates().set_all(&Date::Off(HOURS)),
            "date-behind" => return self.sandbox.dates().set_all(&Date::Off(-HOURS)),
            "date-absent" => return self.sandbox.dates().set_all(&Date::Absent),
            _ => panic!("no such fault: {fault}"),
        };
        let rule = match reach {
            "once" => rule.times(1),
            "two" => rule.naming(&guids[1]),
            "both" => rule.over(1),
            _ => rule,
        };
        break_down(&self.sandbox, Route::Graph, rule);
    }
}

#[test]
fn every_answer_of_resource_graph_ends_as_the_matrix_says() {
    alone("matrix::every_answer_of_resource_graph_ends_as_the_matrix_says", || {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let mut lines = ANSWERS.trim_matches('\n').lines();
        let reaches: Vec<&str> = lines.next().unwrap().split_whitespace().collect();
        let mut wrong = Vec::new();
        for line in lines {
            let mut cells = line.split_whitespace();
            let fault = cells.next().unwrap();
            let cells: Vec<&str> = cells.collect();
            assert_eq!(cells.len(), reaches.len(), "{line}");
            for (reach, cell) in reaches.iter().zip(cells).filter(|(_, cell)| *cell != "-") {
                let new = if fault == "lacking-parts" { MANY } else { FEW };
                let trial = Trial::of_two(new, &runtime);
                let before = trial.marks();
                trial.spoil(fault, reach);
                let report = trial.run();
                let moved: Vec<bool> = before.iter().zip(trial.marks()).map(|(was, is)| *was != is).collect();
                let Answered { exit, moves, come, lost, not_covered, said } = wanted(cell);
                let come = (come * new - lost) as u64;
                let errors = report.errors.join("\n");
                if (report.exit.code(), &moved[..], report.upserts, report.not_covered)
                    != (exit, &moves[..], come, not_covered)
                    || !errors.contains(said)
                {
                    wrong.push(format!(
                        "{fault} × {reach}: exit {}, moved {moved:?}, {} came, {} not covered, not exit {exit}, moved \
                         {moves:?}, {come}, {not_covered} and {said:?}: {errors}",
                        report.exit.code(),
                        report.upserts,
                        report.not_covered
                    ));
                }
                assert_eq!(errors.is_empty(), exit == 0, "{fault} × {reach}: {errors}");
                assert_eq!((report.deletes, report.failed), (0, 0), "{fault} × {reach}: nothing is taken for gone");

                let (report, differences) = trial.mend(&runtime);
                if report.exit.code() != 0 || !differences.is_empty() {
                    wrong.push(format!("{fault} × {reach}: not mended: {differences:?}, {:?}", report.errors));
                }
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    });
}
