//! Group memberships listed by users: `ENTRA_MEMBERSHIP=user` and `both`.

use std::time::Duration;

use sandbox::Sandbox;
use sandbox::directory::{GroupKind, Id, life};
use sandbox::expected::{DirectoryScope, Membership};
use sandbox::faults::{Fault, Rule};
use sandbox::requests::Route;
use sandbox::rng::Rng;
use sandbox::settings::{DirectorySize, EntraSettings, LEAST_ROLES};

use crate::entra::{equals_within, next_of, over_the_api, program, tenant};
use crate::harness::{DAY, MINUTE, Run, start};

fn scope(membership: Membership) -> DirectoryScope {
    DirectoryScope { membership, ..DirectoryScope::default() }
}

const SIDES: [(&str, Membership); 2] = [("user", Membership::User), ("both", Membership::Both)];

async fn next(sandbox: &Sandbox, side: &str) -> Run {
    next_of(sandbox, program(sandbox).env("ENTRA_MEMBERSHIP", side)).await
}

async fn small(size: DirectorySize, change: impl FnOnce(&mut EntraSettings)) -> Sandbox {
    start(tenant(size, change)).await
}

/// Two groups and three users: one in both groups, one in the first, one in neither.
fn few(sandbox: &Sandbox) -> ([Id; 2], [Id; 3]) {
    let mut directory = sandbox.tenant();
    let groups = ["First", "Second"].map(|name| directory.create_group(name, GroupKind::Security));
    let users = ["Ada", "Bob", "Eve"].map(|name| directory.create_user(name));
    for (group, user) in [(0, 0), (1, 0), (0, 1)] {
        directory.join(groups[group], users[user]);
    }
    (groups, users)
}

#[tokio::test]
async fn a_user_names_the_groups_and_a_join_posts_the_user_alone() {
    for (side, membership) in SIDES {
        let sandbox = small(DirectorySize::none(), |_| ()).await;
        let (groups, users) = few(&sandbox);
        let first = next(&sandbox, side).await.exits(0);
        equals_within(&sandbox, &scope(membership), &first).await;
        assert_eq!(first.count("upserts"), 2 + 3 + 3, "{first}");
        let idle = next(&sandbox, side).await.exits(0);
        assert_eq!((idle.count("queries"), idle.count("upserts")), (5, 0), "{idle}");
        sandbox.tenant().join(groups[1], users[2]);
        sandbox.tenant().leave(groups[0], users[1]);
        let moved = next(&sandbox, side).await.exits(0);
        equals_within(&sandbox, &scope(membership), &moved).await;
        let of_groups = if membership == Membership::Both { 2 } else { 0 };
        assert_eq!(moved.count("upserts"), 2 + of_groups, "{moved}");
        let full = program(&sandbox).env("ENTRA_MEMBERSHIP", side).env("SYNC_MODE", "full").run().await.exits(0);
        assert_eq!((full.count("upserts"), full.count("deletes")), (0, 0), "{full}");
    }
}

#[tokio::test]
async fn the_catalog_follows_whatever_becomes_of_users_and_groups() {
    for (seed, (side, membership)) in SIDES.into_iter().enumerate() {
        let sandbox = small(DirectorySize::default(), |entra| {
            entra.delta.shows_restored = seed == 0;
            if seed == 1 {
                let up_to = |minutes: u32| Duration::ZERO..=minutes * MINUTE;
                (entra.replicas.delta, entra.replicas.members) = (up_to(10), up_to(40));
            }
        })
        .await;
        let mut rng = Rng::new(seed as u64);
        let mut last = next(&sandbox, side).await;
        for tick in 0..14 {
            if tick < 4 {
                life::tick(&mut sandbox.tenant(), &mut rng, 25);
            }
            last = next(&sandbox, side).await;
        }
        equals_within(&sandbox, &scope(membership), &last.exits(0)).await;
    }
}

#[tokio::test]
async fn who_comes_back_is_in_the_same_groups_and_a_group_that_comes_back_has_its_users() {
    for ((side, membership), shows_restored) in SIDES.into_iter().zip([false, true]) {
        let sandbox = small(DirectorySize::none(), |entra| entra.delta.shows_restored = shows_restored).await;
        let (groups, users) = few(&sandbox);
        next(&sandbox, side).await.exits(0);
        sandbox.tenant().restore_security_groups(true);
        sandbox.tenant().delete(users[0]);
        sandbox.tenant().delete(groups[0]);
        next(&sandbox, side).await.exits(0);
        sandbox.clock().advance(2 * DAY);
        next(&sandbox, side).await.exits(0);
        sandbox.tenant().restore(users[0]);
        sandbox.tenant().restore(groups[0]);
        let mut last = next(&sandbox, side).await;
        for _ in 0..8 {
            last = next(&sandbox, side).await;
        }
        equals_within(&sandbox, &scope(membership), &last.exits(0)).await;
    }
}

#[tokio::test]
async fn it_takes_a_role_that_is_named_and_stops_no_kind_without_it() {
    let roles = LEAST_ROLES.map(str::to_owned).into();
    let sandbox = small(DirectorySize::none(), |entra| entra.roles = Some(roles)).await;
    few(&sandbox);
    let run = next(&sandbox, "user").await.exits(1).tells(&["Directory.Read.All"]);
    equals_within(&sandbox, &scope(Membership::None), &run).await;
    sandbox.entra().settings().roles = EntraSettings::default().roles;
    let run = next(&sandbox, "user").await.exits(0);
    equals_within(&sandbox, &scope(Membership::User), &run).await;
}

#[tokio::test]
async fn an_answer_that_fails_or_is_older_than_the_delta_empties_no_list() {
    let sandbox = small(DirectorySize::none(), |_| ()).await;
    let (groups, users) = few(&sandbox);
    next(&sandbox, "user").await.exits(0);
    sandbox.tenant().join(groups[1], users[1]);
    sandbox.entra().settings().replicas.members = 5 * MINUTE..=5 * MINUTE;
    sandbox.faults().add(Route::EntraMemberOf, Rule::new(Fault::status(404)).times(1));
    let behind = next(&sandbox, "user").await;
    assert_eq!(behind.count("upserts"), 0, "{behind}");
    let last = next(&sandbox, "user").await.exits(0);
    equals_within(&sandbox, &scope(Membership::User), &last).await;
}

#[tokio::test]
async fn over_the_api_the_groups_of_a_user_are_merged() {
    for (side, membership) in SIDES {
        let sandbox = small(DirectorySize::none(), |_| ()).await;
        let (groups, users) = few(&sandbox);
        let run = async || next_of(&sandbox, over_the_api(&sandbox, None).env("ENTRA_MEMBERSHIP", side)).await.exits(0);
        let first = run().await;
        equals_within(&sandbox, &scope(membership), &first).await;
        sandbox.tenant().rename(users[0], "Renamed");
        sandbox.tenant().leave(groups[1], users[0]);
        let last = run().await;
        equals_within(&sandbox, &scope(membership), &last).await;
    }
}
