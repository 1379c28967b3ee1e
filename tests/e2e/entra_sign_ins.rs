//! When users last signed in: synced separately, without delaying the users themselves.

use std::time::Duration;

use sandbox::Sandbox;
use sandbox::directory::{Id, Kind};
use sandbox::expected::{DirectoryScope, SignIns};
use sandbox::faults::{Fault, Rule};
use sandbox::requests::Route;
use sandbox::settings::{DirectorySize, EntraSettings, LEAST_ROLES};

use crate::entra::{equals_within, is_there, next_of, over_the_api, program, tenant};
use crate::harness::{DAY, Program, Run, start};

const HOUR: Duration = Duration::from_secs(60 * 60);

fn scope() -> DirectoryScope {
    DirectoryScope { sign_ins: SignIns::Day, ..DirectoryScope::default() }
}

/// A tenant with eight users, five of whom have signed in.
async fn small(change: impl FnOnce(&mut EntraSettings)) -> (Sandbox, Vec<Id>) {
    let sandbox = start(tenant(DirectorySize::none(), |entra| {
        entra.sign_ins.rate = None;
        change(entra);
    }))
    .await;
    let users = {
        let mut directory = sandbox.tenant();
        let users: Vec<Id> = (0..8).map(|number| directory.create_user(&format!("User {number}"))).collect();
        users[..5].iter().for_each(|user| assert!(directory.sign_in(*user)));
        users
    };
    sandbox.clock().advance(HOUR);
    (sandbox, users)
}

fn with_sign_ins(program: Program) -> Program {
    program.env("ENTRA_SIGN_IN_ACTIVITY", "true")
}

async fn next(sandbox: &Sandbox) -> Run {
    next_of(sandbox, with_sign_ins(program(sandbox))).await
}

#[tokio::test]
async fn the_day_of_the_last_sign_in_is_told_and_who_signed_in_on_another_day_is_posted_again() {
    let (sandbox, users) = small(|entra| entra.sign_ins.never_is_year_one = true).await;
    let first = next(&sandbox).await.exits(0);
    equals_within(&sandbox, &scope(), &first).await;
    assert_eq!(first.count("upserts"), 8 + 5, "{first}");
    let idle = next(&sandbox).await.exits(0);
    assert_eq!((idle.count("queries"), idle.count("upserts")), (5, 0), "{idle}");
    sandbox.clock().advance(DAY);
    next(&sandbox).await.exits(0);
    {
        let mut directory = sandbox.tenant();
        directory.sign_in(users[0]);
        directory.sign_in(users[7]);
    }
    let later = next(&sandbox).await.exits(0);
    assert_eq!(later.count("upserts"), 2, "{later}");
    equals_within(&sandbox, &scope(), &later).await;
    let full = with_sign_ins(program(&sandbox)).env("SYNC_MODE", "full").run().await.exits(0);
    assert_eq!((full.count("upserts"), full.count("deletes")), (0, 0), "{full}");
}

#[tokio::test]
async fn pages_become_smaller_where_they_are_told_to() {
    let (sandbox, _) = small(|entra| (entra.sign_ins.page, entra.lists.page) = (110, 5)).await;
    let first = next(&sandbox).await.exits(0);
    equals_within(&sandbox, &scope(), &first).await;
}

#[tokio::test]
async fn a_tenant_without_a_licence_is_told_so_and_everything_else_is_synced() {
    let (sandbox, _) = small(|entra| entra.sign_ins.unlicensed = 10).await;
    let run = next(&sandbox).await.exits(0).says(&["sign-ins are not read", "no licence of Entra ID P1 or P2"]);
    equals_within(&sandbox, &DirectoryScope::default(), &run).await;
}

#[tokio::test]
async fn check_says_that_a_licence_is_missing() {
    let (sandbox, _) = small(|entra| entra.sign_ins.unlicensed = 10).await;
    with_sign_ins(program(&sandbox)).args(["check"]).run().await.exits(0).says(&["cannot be read without a licence"]);
}

#[tokio::test]
async fn a_tenant_that_has_a_licence_and_is_now_and_then_told_otherwise_is_read() {
    let (sandbox, _) = small(|entra| entra.sign_ins.unlicensed = 2).await;
    let run = next(&sandbox).await.exits(0).does_not_say(&["sign-ins are not read"]);
    equals_within(&sandbox, &scope(), &run).await;
}

#[tokio::test]
async fn a_missing_permission_is_named_and_stops_no_kind() {
    let (sandbox, _) = small(|entra| entra.roles = Some(LEAST_ROLES.map(str::to_owned).into())).await;
    let run = next(&sandbox).await.exits(1).tells(&["AuditLog.Read.All"]);
    equals_within(&sandbox, &DirectoryScope::default(), &run).await;
    with_sign_ins(program(&sandbox)).args(["check"]).run().await.exits(1).says(&[
        "AuditLog.Read.All",
        "users",
        "can be read",
    ]);
}

#[tokio::test]
async fn who_comes_back_has_signed_in_when_they_had_and_who_is_gone_is_not_made() {
    let (sandbox, users) = small(|_| ()).await;
    next(&sandbox).await.exits(0);
    {
        let mut directory = sandbox.tenant();
        directory.delete(users[0]);
        directory.sign_in(users[1]);
        directory.delete(users[1]);
    }
    let gone = next(&sandbox).await.exits(0);
    assert!(!is_there(&sandbox, Kind::User, users[1]).await, "{gone}");
    sandbox.clock().advance(3 * DAY);
    next(&sandbox).await.exits(0);
    sandbox.tenant().restore(users[0]);
    let mut last = next(&sandbox).await;
    for _ in 0..6 {
        last = next(&sandbox).await;
    }
    equals_within(&sandbox, &scope(), &last).await;
}

#[tokio::test]
async fn a_lane_that_fails_holds_back_no_user() {
    let (sandbox, users) = small(|_| ()).await;
    next(&sandbox).await.exits(0);
    sandbox.faults().add(Route::EntraSignIns, Rule::new(Fault::status(400)));
    sandbox.tenant().rename(users[0], "Renamed");
    sandbox.tenant().sign_in(users[6]);
    let run = next(&sandbox).await.exits(1);
    assert_eq!(run.count("upserts"), 1, "{run}");
    sandbox.faults().clear();
    let run = next(&sandbox).await.exits(0);
    equals_within(&sandbox, &scope(), &run).await;
}

#[tokio::test]
async fn over_the_api_a_sign_in_is_merged_and_makes_no_user_that_the_mapping_leaves_out() {
    let (sandbox, users) = small(|_| ()).await;
    let over_the_api = |mapping: Option<&str>| with_sign_ins(over_the_api(&sandbox, mapping));
    let first = next_of(&sandbox, over_the_api(None)).await.exits(0);
    equals_within(&sandbox, &scope(), &first).await;
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/port/entra/entities.yml");
    let example = std::fs::read_to_string(file).unwrap();
    let filtered = example.replacen("query: 'true'", "query: .displayName != \"User 0\"", 1);
    let merging = filtered.replace("enableMergeEntity: true", "enableMergeEntity: false");
    let changed = next_of(&sandbox, over_the_api(Some(&merging))).await.exits(0);
    assert!(!is_there(&sandbox, Kind::User, users[0]).await, "{changed}");
    sandbox.clock().advance(DAY);
    users[..2].iter().for_each(|user| assert!(sandbox.tenant().sign_in(*user)));
    let last = next_of(&sandbox, over_the_api(Some(&merging))).await.exits(0);
    assert!(!is_there(&sandbox, Kind::User, users[0]).await, "{last}");
    sandbox.tenant().delete(users[0]);
    equals_within(&sandbox, &scope(), &last).await;
    // Port holds more than `drift` compares.
    let same = over_the_api(Some(&merging)).args(["drift"]).without("CHECKPOINT_FILE").run().await;
    same.exits(0);
}
