//! Entra ID: users, groups with members, applications and service principals, by delta query.

use std::time::Duration;

use sandbox::Sandbox;
use sandbox::directory::{GroupKind, Id, Kind, life};
use sandbox::expected::DirectoryScope;
use sandbox::faults::{Fault, Rule};
use sandbox::requests::Route;
use sandbox::rng::Rng;
use sandbox::settings::{
    Blocking, DirectorySize, EntraSettings, EstateSize, LEAST_ROLES, Repeats, RetryAfter, Settings, Stale,
};

use crate::harness::{DAY, MINUTE, Program, Run, break_down, empty, start};
use crate::remembered::until;

const TICK: Duration = Duration::from_secs(15 * 60);

/// A tenant of this size, and nothing in Azure.
pub(crate) fn tenant(size: DirectorySize, change: impl FnOnce(&mut EntraSettings)) -> Settings {
    let mut settings = empty();
    settings.directory = size;
    settings.port.add_entra(false);
    change(&mut settings.entra);
    settings
}

/// A tenant of 60 users and 12 groups.
async fn small(change: impl FnOnce(&mut EntraSettings)) -> Sandbox {
    start(tenant(DirectorySize::default(), change)).await
}

pub(crate) fn program(sandbox: &Sandbox) -> Program {
    let checkpoint = sandbox.directory().join("checkpoint");
    Program::new(sandbox).env("AZURE_SOURCES", "entra").env("ENTRA_KINDS", "all").checkpoint(&checkpoint)
}

async fn run(sandbox: &Sandbox) -> Run {
    program(sandbox).run().await
}

/// A run, a quarter of an hour after the last one.
async fn next(sandbox: &Sandbox) -> Run {
    next_of(sandbox, program(sandbox)).await
}

pub(crate) async fn next_of(sandbox: &Sandbox, program: Program) -> Run {
    sandbox.clock().advance(TICK);
    program.run().await
}

#[track_caller]
fn is_equal(differences: &[String], run: &Run) {
    assert!(differences.is_empty(), "{} differences: {differences:#?}; {run}", differences.len());
}

async fn equals(sandbox: &Sandbox, run: &Run) {
    equals_within(sandbox, &DirectoryScope::default(), run).await;
}

pub(crate) async fn equals_within(sandbox: &Sandbox, scope: &DirectoryScope, run: &Run) {
    is_equal(&sandbox.diff_of_tenant(scope).await, run);
}

/// A group with this many new users.
fn group_of(sandbox: &Sandbox, count: usize) -> (Id, Vec<Id>) {
    let mut directory = sandbox.tenant();
    let group = directory.create_group("of-some", GroupKind::Security);
    let users: Vec<Id> = (0..count).map(|number| directory.create_user(&format!("User {number}"))).collect();
    for user in &users {
        directory.join(group, *user);
    }
    (group, users)
}

pub(crate) async fn is_there(sandbox: &Sandbox, kind: Kind, id: Id) -> bool {
    sandbox.port().settle().await;
    let key = (kind.blueprint().to_owned(), id.to_string());
    sandbox.port().with_catalog(|catalog| catalog.entities.contains_key(&key))
}

#[tokio::test]
async fn a_first_run_reads_all_of_a_tenant_and_an_idle_one_costs_four_requests() {
    let sandbox = small(|_| ()).await;
    let first = run(&sandbox).await.exits(0);
    equals(&sandbox, &first).await;
    assert_eq!(first.count("upserts"), 60 + 12 + 8 + 14, "{first}");
    let units = sandbox.entra().units();
    let idle = next(&sandbox).await.exits(0);
    assert_eq!((idle.count("queries"), idle.count("upserts"), idle.count("deletes")), (4, 0, 0), "{idle}");
    assert_eq!(sandbox.entra().units() - units, 4, "resource units");
    let full = program(&sandbox).env("SYNC_MODE", "full").run().await.exits(0);
    assert_eq!((full.count("upserts"), full.count("deletes")), (0, 0), "{full}");
}

#[tokio::test]
async fn resources_and_kinds_of_objects_are_read_side_by_side() {
    let mut settings = tenant(DirectorySize::default(), |entra| entra.delta.page = 20);
    settings.estate = EstateSize { subscriptions: 1, groups: 2, resources: 20 };
    let sandbox = start(settings).await;
    // Neither the users nor the resources can be read completely.
    break_down(&sandbox, Route::EntraUserDelta, Rule::new(Fault::Hang).after(1));
    break_down(&sandbox, Route::Graph, Rule::new(Fault::Hang));
    let mut child = program(&sandbox).env("AZURE_SOURCES", "").into_command().spawn().unwrap();
    let has = |blueprint: &str| sandbox.port().with_catalog(|catalog| catalog.count(blueprint)) > 0;
    let blueprints = ["entra-id-user", "entra-id-application", "entra-id-service-principal"];
    until("all of Entra ID but groups is posted", || blueprints.iter().all(|blueprint| has(blueprint))).await;
    assert!(!has("entra-id-group"), "they relate to users");
    child.kill().await.unwrap();
}

/// Applies changes in some ticks with a run after each, then calms down. Returns the last run.
async fn lives(sandbox: &Sandbox, seed: u64, ticks: usize, changes: usize) -> Run {
    let mut rng = Rng::new(seed);
    run(sandbox).await;
    for _ in 0..ticks {
        life::tick(&mut sandbox.tenant(), &mut rng, changes);
        next(sandbox).await;
    }
    let mut last = next(sandbox).await;
    for _ in 0..7 {
        last = next(sandbox).await;
    }
    last
}

#[tokio::test]
async fn the_catalog_follows_joiners_leavers_renames_deletes_and_restores() {
    let sandbox = small(|_| ()).await;
    let last = lives(&sandbox, 1, 8, 30).await.exits(0);
    equals(&sandbox, &last).await;
    assert_eq!((last.count("upserts"), last.count("deletes")), (0, 0), "{last}");
}

#[tokio::test]
async fn rounds_that_repeat_contradict_and_come_in_empty_pages_end_in_the_same_catalog() {
    for (seed, repeats) in [(2, Repeats::OldThenNew), (3, Repeats::Conflicting)] {
        let sandbox = small(|entra| {
            entra.delta.repeats = repeats;
            entra.delta.page = 7;
            entra.delta.slice = 1..=3;
            entra.delta.empty_page_in = Some(3);
            entra.delta.replayed = 5;
            entra.delta.first_round_removed = true;
            entra.delta.shows_restored = false;
        })
        .await;
        let last = lives(&sandbox, seed, 6, 30).await.exits(0);
        equals(&sandbox, &last).await;
    }
}

#[tokio::test]
async fn answers_that_are_behind_one_another_end_in_the_same_catalog() {
    for seed in [4, 5] {
        let sandbox = small(|entra| {
            let up_to = |minutes: u32| Duration::ZERO..=minutes * MINUTE;
            entra.replicas.delta = up_to(10);
            entra.replicas.members = up_to(40);
            entra.replicas.object = up_to(10);
        })
        .await;
        let last = lives(&sandbox, seed, 6, 30).await.exits(0);
        equals(&sandbox, &last).await;
    }
}

#[tokio::test]
async fn a_link_that_is_too_old_leads_to_a_comparison_and_only_what_is_gone_is_deleted() {
    for stale in [Stale::NotFound, Stale::Gone, Stale::ResyncRequired] {
        let sandbox = small(|entra| entra.delta.stale = stale).await;
        run(&sandbox).await.exits(0);
        let (gone, renamed) = {
            let mut directory = sandbox.tenant();
            let users = directory.ids(Kind::User);
            directory.purge(users[0]);
            directory.rename(users[1], "Another");
            (users[0], users[1])
        };
        for kind in Kind::TRACKED {
            sandbox.entra().reset(kind);
        }
        let run = next(&sandbox).await.exits(0);
        assert!(is_there(&sandbox, Kind::User, gone).await, "a list may be behind; {run}");
        assert!(run.has_said("all are read"), "{run}");
        let mut last = run;
        for _ in 0..4 {
            last = next(&sandbox).await.exits(0);
        }
        equals(&sandbox, &last).await;
        assert!(is_there(&sandbox, Kind::User, renamed).await);
    }
}

#[tokio::test]
async fn a_restored_user_comes_back_with_the_groups_though_no_delta_tells_of_either() {
    let sandbox = small(|entra| entra.delta.shows_restored = false).await;
    let (_, users) = group_of(&sandbox, 3);
    run(&sandbox).await.exits(0);
    sandbox.tenant().delete(users[0]);
    let deleted = next(&sandbox).await.exits(0);
    assert!(!is_there(&sandbox, Kind::User, users[0]).await, "{deleted}");
    sandbox.clock().advance(20 * DAY);
    run(&sandbox).await;
    sandbox.tenant().restore(users[0]);
    let mut last = next(&sandbox).await;
    for _ in 0..6 {
        last = next(&sandbox).await;
    }
    equals(&sandbox, &last).await;
    assert!(is_there(&sandbox, Kind::User, users[0]).await, "{last}");
}

#[tokio::test]
async fn a_user_who_was_gone_while_groups_were_read_comes_back_with_them_though_no_delete_was_posted() {
    for is_compared in [true, false] {
        let sandbox = small(|_| ()).await;
        let (group, users) = group_of(&sandbox, 3);
        run(&sandbox).await.exits(0);
        sandbox.clock().advance(TICK);
        sandbox.tenant().delete(users[0]);
        if is_compared {
            // A missing user is not deleted at once.
            program(&sandbox).env("SYNC_MODE", "full").run().await.exits(0);
        } else {
            sandbox.tenant().rename(group, "Renamed");
            sandbox.faults().add(Route::EntraUserDelta, Rule::new(Fault::status(403)));
            run(&sandbox).await.exits(1);
            sandbox.faults().clear();
        }
        assert!(is_there(&sandbox, Kind::User, users[0]).await);
        sandbox.tenant().restore(users[0]);
        let mut last = next(&sandbox).await;
        for _ in 0..5 {
            last = next(&sandbox).await.exits(0);
        }
        equals(&sandbox, &last).await;
    }
}

#[tokio::test]
async fn a_member_that_port_keeps_though_the_user_is_gone_goes_with_the_next_comparison() {
    let mut settings = tenant(DirectorySize::none(), |_| ());
    settings.port.keeps_deleted = true;
    let sandbox = start(settings).await;
    let (group, users) = group_of(&sandbox, 3);
    run(&sandbox).await.exits(0);
    sandbox.tenant().delete(users[0]);
    let deleted = next(&sandbox).await.exits(0);
    let differences = sandbox.diff_of_tenant(&DirectoryScope::default()).await;
    assert!(
        differences.iter().all(|line| line.contains(&format!("entra-id-group {group}: relation members"))),
        "{deleted}"
    );
    let mut last = deleted;
    for _ in 0..8 {
        sandbox.clock().advance(DAY);
        last = run(&sandbox).await.exits(0);
    }
    equals(&sandbox, &last).await;
}

#[tokio::test]
async fn a_user_whom_the_filter_lets_in_comes_with_the_groups_and_one_whom_it_does_not_goes() {
    let sandbox = small(|_| ()).await;
    let (_, users) = group_of(&sandbox, 3);
    sandbox.tenant().make_guest(users[0], true);
    let scope = DirectoryScope { guests: false, disabled: false, microsoft: false, ..DirectoryScope::default() };
    let filtered = || program(&sandbox).env("ENTRA_USERS", "members,enabled").env("ENTRA_SERVICE_PRINCIPALS", "own");
    let first = filtered().run().await.exits(0);
    equals_within(&sandbox, &scope, &first).await;
    {
        let mut directory = sandbox.tenant();
        directory.make_guest(users[0], false);
        directory.enable(users[1], false);
    }
    let mut last = filtered().run().await.exits(0);
    for _ in 0..6 {
        sandbox.clock().advance(TICK);
        last = filtered().run().await.exits(0);
    }
    equals_within(&sandbox, &scope, &last).await;
    assert!(is_there(&sandbox, Kind::User, users[0]).await && !is_there(&sandbox, Kind::User, users[1]).await);
}

#[tokio::test]
async fn a_group_of_more_members_than_a_post_holds_is_told_and_never_cut() {
    let size = DirectorySize { users: 13_600, large: vec![13_500], ..DirectorySize::default() };
    let sandbox = start(tenant(size, |_| ())).await;
    let first = run(&sandbox).await.exits(4);
    let first = first.tells(&["1 groups have more members than one post holds"]);
    let scope = DirectoryScope { most_members: Some(13_000), ..DirectoryScope::default() };
    equals_within(&sandbox, &scope, &first).await;
}

#[tokio::test]
async fn hidden_members_are_unknown_and_not_none() {
    let sandbox = small(|_| ()).await;
    let (group, _) = group_of(&sandbox, 2);
    sandbox.tenant().hide_members(group, true);
    let first = run(&sandbox).await.exits(0);
    equals(&sandbox, &first).await;
    sandbox.entra().settings().roles = Some(["Directory.Read.All"].map(str::to_owned).into());
    sandbox.tenant().rename(group, "Renamed");
    let run = next(&sandbox).await.exits(0);
    let run = run.says(&["hide their members"]);
    equals(&sandbox, &run).await;
}

#[tokio::test]
async fn what_changed_while_members_were_hidden_comes_with_the_permission_and_who_leaves_last_is_told() {
    let sandbox = small(|_| ()).await;
    let (group, users) = group_of(&sandbox, 2);
    sandbox.tenant().hide_members(group, true);
    run(&sandbox).await.exits(0);
    sandbox.entra().settings().roles = Some(LEAST_ROLES.map(str::to_owned).into());
    sandbox.tenant().leave(group, users[0]);
    next(&sandbox).await.exits(0);
    sandbox.entra().settings().roles = EntraSettings::default().roles;
    let shown = next(&sandbox).await.exits(0);
    equals(&sandbox, &shown).await;
    sandbox.tenant().leave(group, users[1]);
    let last = next(&sandbox).await.exits(0);
    equals(&sandbox, &last).await;
    next(&sandbox).await.exits(0).does_not_say(&["all are read"]);
}

#[tokio::test]
async fn no_answer_that_is_older_brings_back_what_was_deleted() {
    let sandbox = small(|entra| {
        let behind = 40 * MINUTE..=40 * MINUTE;
        (entra.replicas.members, entra.replicas.object) = (behind.clone(), behind);
    })
    .await;
    let (group, users) = group_of(&sandbox, 3);
    sandbox.clock().advance(60 * MINUTE);
    run(&sandbox).await.exits(0);
    sandbox.tenant().leave(group, users[0]);
    next(&sandbox).await.exits(0);
    {
        // The group is being read again, and the user is looked up in case of a restore.
        let mut directory = sandbox.tenant();
        directory.delete(group);
        directory.delete(users[1]);
    }
    for _ in 0..8 {
        let run = next(&sandbox).await.exits(0);
        equals(&sandbox, &run).await;
    }
}

#[tokio::test]
async fn a_kind_that_may_not_be_read_is_named_and_stops_no_other() {
    let sandbox = small(|entra| entra.roles = Some(["User.Read.All"].map(str::to_owned).into())).await;
    let run = run(&sandbox).await.exits(1);
    let run = run.tells(&["GroupMember.Read.All", "Application.Read.All"]).does_not_say(&["permission User.Read.All"]);
    sandbox.port().settle().await;
    assert_eq!(sandbox.port().with_catalog(|catalog| catalog.count("entra-id-user")), 60, "{run}");
    sandbox.entra().settings().roles = Some(EntraSettings::default().roles.unwrap());
    let last = next(&sandbox).await.exits(0);
    equals(&sandbox, &last).await;
}

#[tokio::test]
async fn a_permission_that_is_taken_away_deletes_nothing() {
    let sandbox = small(|_| ()).await;
    run(&sandbox).await.exits(0);
    sandbox.port().settle().await;
    let before = sandbox.port().catalog().entities.len();
    sandbox.entra().settings().roles = None;
    for _ in 0..3 {
        next(&sandbox).await.exits(1);
    }
    sandbox.port().settle().await;
    assert_eq!(sandbox.port().catalog().entities.len(), before);
}

#[tokio::test]
async fn a_mass_of_deletes_is_held_back_until_it_is_allowed() {
    let size = DirectorySize { users: 400, ..DirectorySize::default() };
    let sandbox = start(tenant(size, |_| ())).await;
    run(&sandbox).await.exits(0);
    let users = sandbox.tenant().ids(Kind::User);
    for user in &users[..150] {
        sandbox.tenant().delete(*user);
    }
    for _ in 0..2 {
        let held_back = "150 users are gone, which is more than 100 and more than 20 % of all: none was deleted";
        let run = next(&sandbox).await.exits(1).tells(&[held_back, "--allow-mass-delete"]);
        sandbox.port().settle().await;
        assert_eq!(sandbox.port().with_catalog(|catalog| catalog.count("entra-id-user")), 400, "{run}");
    }
    sandbox.clock().advance(TICK);
    program(&sandbox).args(["--allow-mass-delete"]).run().await.exits(0);
    let last = next(&sandbox).await.exits(0);
    equals(&sandbox, &last).await;
}

#[tokio::test]
async fn a_property_that_graph_refuses_by_name_is_left_out_and_said_once() {
    let sandbox = small(|_| ()).await;
    let run = run(&sandbox).await.exits(0);
    let said = run.err.matches("createdDateTime of servicePrincipal").count();
    assert_eq!(said, 1, "{run}");
    next(&sandbox).await.exits(0).does_not_say(&["createdDateTime"]);
}

#[tokio::test]
async fn throttles_short_tokens_and_pages_that_become_too_old_are_waited_out() {
    let sandbox = small(|entra| {
        entra.delta.page = 10;
        entra.token_lifetime = Duration::from_secs(60);
        if let Some(units) = &mut entra.units {
            units.retry_after = RetryAfter::Empty;
        }
    })
    .await;
    let faults = sandbox.faults();
    faults.add(Route::EntraUserDelta, Rule::new(Fault::status(429)).after(2).times(2));
    faults.add(Route::EntraUserDelta, Rule::new(Fault::status(503)).after(4).times(1));
    faults.add(Route::EntraMembers, Rule::new(Fault::status(504)).times(1));
    let body = r#"{"error":{"code":"Directory_ExpiredPageToken","message":"The page token has expired."}}"#;
    let expired = Fault::Status { status: 400, headers: Vec::new(), body: body.to_owned() };
    faults.add(Route::EntraGroupDelta, Rule::new(expired).after(1).times(1));
    let first = run(&sandbox).await.exits(0);
    equals(&sandbox, &first).await;
}

#[tokio::test]
async fn a_link_to_another_host_ends_the_round_and_takes_no_token_along() {
    let sandbox = small(|_| ()).await;
    let elsewhere = "https://127.0.0.1:1/v1.0/users/delta?$skiptoken=x";
    for link in [elsewhere, "http://127.0.0.1/x"] {
        let body = format!(r#"{{"value":[],"@odata.nextLink":"{link}"}}"#);
        let answer = Fault::Status { status: 200, headers: Vec::new(), body };
        sandbox.faults().add(Route::EntraUserDelta, Rule::new(answer).times(1));
        run(&sandbox).await.exits(1).tells(&["leads to another host"]);
    }
}

#[tokio::test]
async fn azure_and_entra_run_side_by_side_and_one_that_fails_stops_not_the_other() {
    let mut settings = crate::harness::of_resources(20);
    settings.directory = DirectorySize::default();
    settings.port.add_entra(false);
    let sandbox = start(settings).await;
    let both = || program(&sandbox).without("AZURE_SOURCES");
    let first = both().run().await.exits(0);
    equals(&sandbox, &first).await;
    is_equal(&sandbox.diff(&sandbox::expected::Scope::default()).await, &first);
    sandbox.faults().add(Route::Subscriptions, Rule::new(Fault::status(403)));
    sandbox.tenant().create_user("Late");
    sandbox.clock().advance(TICK);
    let second = both().run().await;
    assert_ne!(second.code, 0, "{second}");
    equals(&sandbox, &second).await;
}

#[tokio::test]
async fn what_is_wrong_with_the_settings_is_named() {
    let sandbox = small(|_| ()).await;
    let kinds = |kinds: &str| Program::new(&sandbox).env("ENTRA_KINDS", kinds);
    kinds("devices").run().await.exits(2).says(&["ENTRA_KINDS", "servicePrincipals, groups, or all"]);
    kinds("all").run().await.exits(2).says(&["ENTRA_KINDS needs CHECKPOINT_FILE"]);
    kinds("all").env("SYNC_MODE", "full").env("AZURE_SOURCES", "entra").run().await.exits(0);
    Program::new(&sandbox).env("AZURE_SOURCES", "entra").run().await.exits(2).says(&["ENTRA_KINDS is not set"]);
}

/// Writes entities over Port's API, with the example mapping or another one.
pub(crate) fn over_the_api(sandbox: &Sandbox, mapping: Option<&str>) -> Program {
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/port/entra/entities.yml");
    let file = sandbox.directory().join("entra.yml");
    let text = mapping.map_or_else(|| std::fs::read_to_string(example).unwrap(), str::to_owned);
    std::fs::write(&file, text).unwrap();
    Program::over_the_api(sandbox).env("MAPPING_FILE", &file).checkpoint(&sandbox.directory().join("checkpoint"))
}

#[tokio::test]
async fn a_mapping_of_entra_writes_the_same_entities_over_the_api_and_asks_azure_for_nothing_else() {
    let mut settings = tenant(DirectorySize::default(), |_| ());
    // A relation that is not required does not block a delete.
    settings.port.api.entities.blocking = Blocking::Required;
    let sandbox = start(settings).await;
    let first = over_the_api(&sandbox, None).run().await.exits(0);
    equals(&sandbox, &first).await;
    assert_eq!(sandbox.requests().count(Route::Graph) + sandbox.requests().count(Route::Subscriptions), 0, "{first}");
    let mut rng = Rng::new(9);
    let mut last = first;
    for tick in 0..12 {
        if tick < 4 {
            life::tick(&mut sandbox.tenant(), &mut rng, 25);
        }
        sandbox.clock().advance(TICK);
        last = over_the_api(&sandbox, None).run().await;
    }
    let last = last.exits(0);
    equals(&sandbox, &last).await;
    assert_eq!((last.count("upserts"), last.count("deletes")), (0, 0), "{last}");
}

#[tokio::test]
async fn the_guides_own_mapping_works_though_sign_ins_are_not_read() {
    let sandbox = small(|_| ()).await;
    sandbox.port().api_settings().entities.refuses_unknown = false;
    let (group, users) = group_of(&sandbox, 2);
    let guide = "resources:
  - kind: /users
    selector:
      query: 'true'
      data_path: '.value'
      query_params:
        $top: \"999\"
    port:
      entity:
        mappings:
          identifier: .id
          title: .displayName // .userPrincipalName
          blueprint: '\"entra-id-user\"'
          properties:
            userPrincipalName: .userPrincipalName
            lastSignInDateTime: .signInActivity.lastSignInDateTime
  - kind: /groups
    selector:
      query: 'true'
      data_path: '.value'
      query_params:
        $top: \"999\"
        $expand: \"members($select=id)\"
    port:
      entity:
        mappings:
          identifier: .id
          blueprint: '\"entra-id-group\"'
          properties:
            displayName: .displayName
          relations:
            members: \"[.members[]?.id]\"
";
    let guide = guide.replace("\\\"", "\"");
    let run = over_the_api(&sandbox, Some(&guide)).run().await.exits(0);
    sandbox.port().settle().await;
    let key = ("entra-id-group".to_owned(), group.to_string());
    let members = sandbox.port().with_catalog(|catalog| catalog.entities[&key].relations["members"].clone());
    assert_eq!(members.as_array().unwrap().len(), users.len(), "{run}");
    let wrong = guide.replace("$top: \"999\"", "$filter: \"x eq 1\"");
    over_the_api(&sandbox, Some(&wrong)).run().await.exits(2).says(&["is not asked of changes"]);
    over_the_api(&sandbox, Some(&guide)).without("CHECKPOINT_FILE").run().await.exits(2).says(&["CHECKPOINT_FILE"]);
}

#[tokio::test]
async fn members_that_are_not_known_leave_the_relation_as_it_was() {
    let sandbox = small(|_| ()).await;
    let (group, _) = group_of(&sandbox, 2);
    over_the_api(&sandbox, None).run().await.exits(0);
    sandbox.tenant().hide_members(group, true);
    sandbox.tenant().rename(group, "Renamed");
    sandbox.entra().settings().roles = Some(["Directory.Read.All"].map(str::to_owned).into());
    sandbox.clock().advance(TICK);
    let run = over_the_api(&sandbox, None).run().await.exits(0);
    equals(&sandbox, &run).await;
}
