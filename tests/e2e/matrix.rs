//! The fault matrix: what a run makes of every way in which each of its requests can fail.
//!
//! A full run goes well, the estate changes, the next run meets the fault in every attempt; then all is well again, and the run
//! after that must have mended the catalog.

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
use sandbox::settings::{CLIENT, GITHUB_TOKEN, TENANT};
use sandbox::signin::GITHUB;
use sandbox::{Host, Sandbox};

use crate::engine::{Ended, alone, config, go, trust};
use crate::harness::{DAY, MINUTE, empty};

/// Rows: the request. Columns: the fault. What must come of it is below.
const MATRIX: &str = "
                refuse  hang  drip  reset  reset-in-body  400  401  403  404  408  413  429  500  503  garbage  endless
Token             f      f     f      f         f          c    c    c    c    f    c    f    f    f      f        f
IdToken           f      f     f      f         f          u    u    u    u    f    u    f    f    f      f        f
Metadata          f      f     f      f         f          u    u    u    u    f    u    f    f    f      f        f
Subscriptions     f      f     f      f         f          f    t    f    f    f    f    f    f    f      f        f
Graph             f      f     f      f         f          f    t    f    f    f    f    f    f    f      f        f
Webhook           o      d     d      d         d          r    w    w    w    d    r    h    d    d      w        d
";

/// What Resource Graph is known to answer beside errors, in every answer: one that contradicts itself, or that is no failure.
const ANSWERS: &str = "
                beside-error  miscounted  truncated  lacking  joins  unknown  claims  date-ahead  date-behind  no-date
Graph             e             m           v          ok       ok     none     p       ok          ok           ok
Subscriptions     .             .           .          .        .      .        p       ok          ok           ok
";

/// Of the checkpoint: a subscription's number, from when on it is read, when it was compared in full, and how much is held.
type Mark = (u32, Option<i64>, Option<i64>, u64);
const SHARDS: TableDefinition<&str, Mark> = TableDefinition::new("shards");

/// What must come of a fault.
struct Outcome {
    exit: u8,
    /// Whether the marks move: they follow what was read, and what was not delivered is noted for itself.
    moves: bool,
    /// Envelopes that the report counts as not accepted.
    failed: u64,
    /// What its errors say.
    said: &'static str,
}

fn expected(cell: &str, fault: &str) -> Outcome {
    let cause = match fault {
        "refuse" => "no connection",
        "hang" | "drip" => "no answer within",
        "reset" | "reset-in-body" => "the connection broke",
        "claims" => "insufficient_claims",
        "garbage" => "cannot be understood",
        "endless" => "the answer is larger than",
        _ => "status",
    };
    let (exit, moves, failed, said) = match cell {
        // The request failed, or Azure's answer made no sense.
        "f" => (1, false, 0, cause),
        // The credentials were refused; they are of no use; the token was, and a new one too.
        "c" => (3, false, 0, "Azure refused the credentials: status"),
        "u" => (3, false, 0, "cannot sign in"),
        "t" => (3, false, 0, "a new access token was refused as well"),
        // A policy of the tenant refuses the token.
        "p" => (3, false, 0, "insufficient_claims"),
        // The envelope was not delivered; the webhook is wrong, and takes none of two; Port rejected the envelope.
        "d" => (1, true, 1, "1 envelopes were not delivered"),
        // Nobody is there: the run ends before everything was read.
        "o" => (1, false, 1, "Port's webhook is down"),
        // It throttles for too long, and the run ends.
        "h" => (1, false, 0, "throttled everything for"),
        "w" => (1, true, 2, "does not exist or is not yours"),
        "r" => (4, true, 1, "Port rejected 1 envelopes individually"),
        // It contradicts itself: nothing of it counts.
        "e" => (1, false, 0, "it has an error beside its"),
        "m" => (1, false, 0, "it says that it has"),
        "v" => (1, false, 0, "could not be proven complete"),
        // No failure: everything is read; or the subscription is not looked at, and its turn comes.
        "ok" => (0, true, 0, ""),
        "none" => (0, false, 0, ""),
        _ => panic!("no such cell: {cell}"),
    };
    Outcome { exit, moves, failed, said }
}

/// A request that the program makes.
#[derive(Clone, Copy, Debug)]
enum Request {
    /// To Entra ID for an access token.
    Token,
    /// To GitHub for an ID token, which the one for an access token then carries.
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

    /// A credential that makes this request, if that of the sandbox's application does not.
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
    fn rule(self, name: &str, fault: Fault) -> Rule {
        let wrong = matches!(fault, Fault::Status { status: 401 | 403 | 404, .. } | Fault::Garbage);
        let says_no = matches!(fault, Fault::Status { .. });
        let rule = Rule::new(fault);
        match self {
            Self::Graph if name == "joins" => rule.containing("| join "),
            // Not of the request for an access token, which has a body.
            Self::IdToken => rule.when(<[u8]>::is_empty),
            Self::Webhook if wrong => rule,
            // One envelope of several; where no answer says no, it was taken all the same.
            Self::Webhook if says_no => rule.containing("third"),
            Self::Webhook => rule.containing("third").applied(),
            _ => rule,
        }
    }
}

/// `None` where nobody is there, or where only the clock is wrong.
fn fault(name: &str) -> Option<Fault> {
    let refusal =
        |code: &str| format!(r#"{{"error":{{"code":"BadRequest","message":"x","details":[{{"code":"{code}"}}]}}}}"#);
    Some(match name {
        "beside-error" => Fault::with_error(),
        "miscounted" => Fault::miscounted(1),
        "truncated" => Fault::truncation("perhaps".into()),
        "lacking" => Fault::lacking(1),
        "joins" => Fault::status(400).with_body(&refusal("DisallowedMaxNumberOfRemoteTables")),
        "unknown" => Fault::status(400).with_body(&refusal("NoValidSubscriptionsInQueryRequest")),
        "claims" => Fault::status(401)
            .with_header("WWW-Authenticate", r#"Bearer error="insufficient_claims", claims="eyJhIjoxfQ==""#),
        "date-ahead" | "date-behind" | "no-date" => return None,
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
}

impl Trial {
    fn new(request: Request, runtime: &tokio::runtime::Runtime) -> Self {
        let mut settings = empty();
        settings.net.own_runtime = true;
        let sandbox = runtime.block_on(Sandbox::start(settings)).unwrap();
        let group = {
            let mut estate = sandbox.estate();
            let subscription = estate.add_subscription("One", None);
            estate.create_group(&subscription, "rg", "westeurope", None).unwrap()
        };
        for name in ["first", "second"] {
            sandbox.estate().create_resource(&group, "microsoft.keyvault/vaults", name, "eastus", None).unwrap();
        }
        sandbox.clock().advance(DAY);
        trust(&sandbox);
        let checkpoint = sandbox.directory().join("checkpoint.json").display().to_string();
        let mut config = config(&sandbox, Flags { checkpoint_file: Some(checkpoint), ..Flags::default() }, &[]);
        if let Some(identity) = request.identity(&sandbox) {
            config.azure.credential.identity = identity;
        }
        config.limits.retries = 2;
        config.limits.azure_timeout = Duration::from_millis(1200);
        config.limits.sign_in_timeout = Duration::from_millis(400);
        config.limits.longest_throttle = Duration::from_millis(10);
        config.limits.post_timeout = Duration::from_millis(250);
        let trial = Self { sandbox, config };
        assert_eq!(trial.run().exit.code(), 0);
        for name in ["third", "fourth"] {
            trial.sandbox.estate().create_resource(&group, "microsoft.keyvault/vaults", name, "eastus", None).unwrap();
        }
        trial.sandbox.clock().advance(15 * MINUTE);
        trial
    }

    fn run(&self) -> Report {
        match go(&self.config, &Work::Sync, None).0 {
            Ended::Reported(report) => *report,
            Ended::Killed => panic!("nobody killed it"),
        }
    }

    /// From when on each subscription is read next.
    fn marks(&self) -> Vec<Option<i64>> {
        let database = redb::Database::open(self.sandbox.directory().join("checkpoint.json")).unwrap();
        let shards = database.begin_read().unwrap().open_table(SHARDS).unwrap();
        shards.iter().unwrap().map(|shard| shard.unwrap().1.value().1).collect()
    }

    /// A run that meets the fault in every attempt of the request.
    fn meet(&self, request: Request, name: &str, runtime: &tokio::runtime::Runtime) -> Report {
        let (route, host) = (request.route(), request.host());
        let hour = 60 * 60_000;
        let date = match name {
            "date-ahead" => Some(Date::Off(hour)),
            "date-behind" => Some(Date::Off(-hour)),
            "no-date" => Some(Date::Absent),
            _ => None,
        };
        match fault(name) {
            Some(fault) => {
                _ = self.sandbox.faults().add(route, request.rule(name, fault));
                self.run()
            }
            None if date.is_some() => {
                self.sandbox.dates().set(route, date.unwrap_or_default());
                self.run()
            }
            None if route == Route::Graph => std::thread::scope(|scope| {
                // It is on the host of the listing, which must have answered before it goes.
                _ = self.sandbox.faults().add(route, request.rule(name, Fault::Hang));
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

    /// A run after all is well again, and how the catalog then differs from the estate.
    fn mend(&self, runtime: &tokio::runtime::Runtime) -> (Report, Vec<String>) {
        self.sandbox.faults().clear();
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
        let mut wrong = Vec::new();
        for matrix in [MATRIX, ANSWERS] {
            let mut lines = matrix.trim_matches('\n').lines();
            let faults: Vec<&str> = lines.next().unwrap().split_whitespace().collect();
            for line in lines {
                let mut cells = line.split_whitespace();
                let name = cells.next().unwrap();
                let request = Request::ALL.into_iter().find(|request| format!("{request:?}") == name).unwrap();
                let cells: Vec<&str> = cells.collect();
                assert_eq!(cells.len(), faults.len(), "{line}");
                for (fault_name, cell) in faults.iter().zip(&cells) {
                    if *cell == "." {
                        continue;
                    }
                    let trial = Trial::new(request, &runtime);
                    trial.sandbox.requests().clear();
                    let before = trial.marks();
                    let report = trial.meet(request, fault_name, &runtime);
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
                    let stays_refused = *cell == "r";
                    if report.exit.code() != if stays_refused { 4 } else { 0 }
                        || differences.is_empty() == stays_refused
                    {
                        wrong.push(format!("{name} × {fault_name}: not mended: {differences:?}, {:?}", report.errors));
                    }
                }
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    });
}
