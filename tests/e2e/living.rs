//! A changing estate: a full run, then an incremental one for each tick. The catalog equals the estate after each.

use std::time::Duration;

use sandbox::Sandbox;
use sandbox::estate::Estate;
use sandbox::expected::Scope;
use sandbox::life;
use sandbox::rng::Rng;
use sandbox::settings::{Dangling, EstateSize, Lags, MAPPING_BATCH, Settings};

use crate::harness::{MINUTE, Program, Small, assert_equal, settled, start};
use crate::remembered::remembering;

const TICKS: u64 = 6;
const CHANGES: usize = 80;

fn living(seed: u64) -> Settings {
    let mut settings = settled();
    settings.seed = seed;
    settings.estate = EstateSize { subscriptions: 4, groups: 40, resources: 400 };
    settings.port.record = false;
    settings
}

/// The configuration of a run, and the part of the estate that should then be in the catalog.
#[derive(Default)]
struct Told {
    variables: Vec<(&'static str, &'static str)>,
    scope: Scope,
}

async fn live(sandbox: &Sandbox, told: &Told, lives: impl Fn(&mut sandbox::estate::Estate, &mut Rng)) {
    let program = |mode| {
        let program = Program::new(sandbox).env("SYNC_MODE", mode).env("CHANGE_WINDOW_MINUTES", "45");
        told.variables.iter().fold(program, |program, (name, value)| match *value {
            "the checkpoint" => program.checkpoint(&sandbox.directory().join("checkpoint.redb")),
            value => program.env(name, value),
        })
    };
    let run = program("full").run().await.exits(0);
    assert_equal(sandbox, &told.scope, &run).await;
    let mut rng = Rng::new(sandbox.estate().version());
    for _ in 0..TICKS {
        for _ in 0..5 {
            lives(&mut sandbox.estate(), &mut rng);
            sandbox.clock().advance(MINUTE);
        }
        // Records and rows show within ten minutes.
        sandbox.clock().advance(10 * MINUTE);
        let run = program("incremental").run().await.exits(0);
        assert_equal(sandbox, &told.scope, &run).await;
        assert!(run.count("rows") > 0, "{run}");
    }
    assert_eq!(sandbox.port().audit(), Vec::<String>::new(), "Port refuses nothing");
}

fn any_change(estate: &mut sandbox::estate::Estate, rng: &mut Rng) {
    life::tick(estate, rng, CHANGES / 5);
}

#[tokio::test]
async fn the_catalog_follows_a_living_estate_with_mixed_case_and_odd_names() {
    for seed in [1, 2] {
        let mut settings = living(seed);
        settings.port.dangling = Dangling::Refuse;
        let sandbox = start(settings).await;
        live(&sandbox, &Told::default(), any_change).await;
    }
}

#[tokio::test]
async fn the_catalog_follows_while_records_and_rows_lag() {
    let mut settings = living(3);
    settings.lags = Lags { record: Duration::ZERO..=9 * MINUTE, row: Duration::ZERO..=5 * MINUTE };
    let sandbox = start(settings).await;
    live(&sandbox, &Told::default(), any_change).await;
}

#[tokio::test]
async fn the_catalog_follows_in_the_scope_of_types() {
    let types = "Microsoft.Web/sites, microsoft.sql/SERVERS/databases, Microsoft.Storage/storageAccounts";
    let told = Told {
        variables: vec![("RESOURCE_TYPES", types)],
        scope: Scope { types: types.split(", ").map(str::to_owned).collect(), ..Scope::default() },
    };
    live(&start(living(4)).await, &told, any_change).await;
}

#[tokio::test]
async fn the_catalog_follows_with_many_envelopes_in_a_post() {
    let mut settings = living(8);
    MAPPING_BATCH.clone_into(&mut settings.port.mapping);
    let sandbox = start(settings).await;
    let told = Told { variables: vec![("PORT_WEBHOOK_PAYLOAD", "batch")], ..Told::default() };
    live(&sandbox, &told, any_change).await;
    let entities = sandbox.port().with_catalog(|catalog| catalog.entities.len() as u64);
    assert!(sandbox.port().received().0 < entities, "fewer posts than entities");
}

fn production() -> Told {
    let filter = r#"{"include": {"Environment": "Production"}, "exclude": {"Temporary": "true"}}"#;
    let pair = |key: &str, value: &str| vec![(key.to_owned(), value.to_owned())];
    let scope =
        Scope { include: pair("Environment", "Production"), exclude: pair("Temporary", "true"), ..Scope::default() };
    Told { variables: vec![("RESOURCE_GROUP_TAG_FILTERS", filter)], scope }
}

/// A run without a checkpoint cannot know which groups were in scope, so their tags do not change here.
#[tokio::test]
async fn the_catalog_follows_in_the_scope_of_tags() {
    let sandbox = start(living(5)).await;
    live(&sandbox, &production(), |estate, rng| life::burst(estate, rng, CHANGES / 5)).await;
}

#[tokio::test]
async fn the_catalog_follows_while_groups_enter_and_leave_the_scope_of_tags() {
    let mut told = production();
    told.variables.push(("CHECKPOINT_FILE", "the checkpoint"));
    for seed in [6, 7] {
        live(&start(living(seed)).await, &told, any_change).await;
    }
}

/// Azure's times have a resolution of a millisecond, and several things can happen in one.
#[tokio::test]
async fn of_a_create_and_a_delete_with_the_same_time_the_row_decides_with_a_checkpoint_and_without() {
    for remembers in [false, true] {
        let small = Small::start().await;
        let Small { sandbox, group, .. } = &small;
        let run = || if remembers { remembering(sandbox) } else { Program::new(sandbox) };
        let create = |estate: &mut Estate, name| {
            estate.create_resource(group, "Microsoft.KeyVault/vaults", name, "eastus", None).unwrap()
        };
        run().args(["--mode", "full"]).run().await.exits(0);
        sandbox.clock().advance(MINUTE);
        let [gone, back] = ["gone", "back"].map(|name| create(&mut sandbox.estate(), name));
        run().run().await.exits(0);
        sandbox.clock().advance(MINUTE);
        let now = sandbox.clock().now_ms();
        sandbox.estate().dated(now, |estate| {
            for id in [&gone, &back] {
                estate.delete_resource(id);
                create(estate, id.rsplit('/').next().unwrap());
            }
            estate.delete_resource(&gone);
        });
        sandbox.clock().advance(MINUTE);
        let run = run().run().await.exits(0);
        assert_eq!((run.count("deletes"), run.count("unresolved")), (1, 0), "{run}");
        assert_equal(sandbox, &Scope::default(), &run).await;
    }
}
