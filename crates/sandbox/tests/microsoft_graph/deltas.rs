//! What a delta returns for an object, and what it rejects.
use reqwest::Method;
use sandbox::directory::{GroupKind, Kind};
use serde_json::{Value as Json, json};

use crate::{Asking, GROUPS, USERS, removed};

const ALL_OF_USER: &str = "/v1.0/users/delta";

#[tokio::test]
async fn without_a_select_only_the_default_properties_come() {
    let asking = Asking::new().await;
    let ada = asking.user("Ada L");
    asking.sandbox.tenant().set(ada, "department", "x");
    let round = asking.round(ALL_OF_USER).await;
    let user = round.only();
    assert_eq!(user["givenName"], "Ada");
    for absent in ["accountEnabled", "department", "createdDateTime", "userType"] {
        assert_eq!(user.get(absent), None, "{user}");
    }
    let selected = asking.round(&format!("{ALL_OF_USER}?$select=accountEnabled,createdDateTime")).await;
    let wanted = json!({"id": ada.to_string(), "accountEnabled": true, "createdDateTime": "2023-11-14T22:13:20Z"});
    assert_eq!(*selected.only(), wanted);
}

#[tokio::test]
async fn what_never_was_set_is_left_out_and_what_was_cleared_is_null() {
    let asking = Asking::new().await;
    let ada = asking.user("Ada L");
    assert_eq!(asking.round(USERS).await.only().get("department"), None);
    asking.sandbox.tenant().set(ada, "department", "x");
    let round = asking.round(USERS).await;
    assert_eq!(round.only()["department"], "x");
    asking.sandbox.tenant().clear(ada, "department");
    let round = asking.round(&round.link).await;
    assert_eq!((round.only().get("department"), &round.only()["displayName"]), (Some(&Json::Null), &json!("Ada L")));
}

#[tokio::test]
async fn a_minimal_return_leaves_out_what_did_not_change() {
    let asking = Asking::new().await;
    let ada = asking.user("Ada L");
    asking.sandbox.tenant().set(ada, "department", "x");
    let minimal = [("prefer", "return=minimal")];
    let first = asking.ask(Method::GET, USERS, &minimal, &Json::Null).await.ok();
    assert_eq!(first["value"][0]["displayName"], "Ada L");
    asking.sandbox.tenant().set(ada, "department", "y");
    let later = asking.round(first["@odata.deltaLink"].as_str().unwrap()).await;
    assert_eq!(*later.only(), json!({"id": ada.to_string(), "department": "y"}));
}

#[tokio::test]
async fn a_change_of_what_is_not_selected_does_not_show() {
    let asking = Asking::new().await;
    let ada = asking.user("Ada L");
    let link = asking.round(USERS).await.link;
    asking.sandbox.tenant().set(ada, "jobTitle", "Countess");
    assert!(asking.round(&link).await.ids().is_empty());
}

#[tokio::test]
async fn a_delete_a_purge_and_a_restore_show_as_such() {
    let asking = Asking::new().await;
    let ada = asking.user("Ada L");
    let steps = [
        ("deleted", Some("changed")),
        ("restored", None),
        ("deleted", Some("changed")),
        ("purged", Some("deleted")),
        ("restored", None),
    ];
    let mut link = asking.round(USERS).await.link;
    for (place, (step, reason)) in steps.into_iter().enumerate() {
        let is_done = match step {
            "deleted" => asking.sandbox.tenant().delete(ada),
            "purged" => asking.sandbox.tenant().purge(ada),
            _ => asking.sandbox.tenant().restore(ada),
        };
        assert_eq!(is_done, place < 4, "what is purged stays so");
        let round = asking.round(&link).await;
        match reason {
            Some(reason) => assert_eq!(*round.only(), removed(ada, reason)),
            None if is_done => assert_eq!(round.only()["displayName"], "Ada L"),
            None => assert!(round.ids().is_empty()),
        }
        link = round.link;
    }
}

#[tokio::test]
async fn after_thirty_days_what_was_deleted_is_purged() {
    let asking = Asking::with(|entra| {
        entra.token_lifetime = std::time::Duration::from_secs(90 * 24 * 3600);
        entra.delta.link_lifetime = entra.token_lifetime;
    })
    .await;
    let ada = asking.user("Ada L");
    asking.sandbox.tenant().delete(ada);
    let link = asking.round(USERS).await.link;
    asking.sandbox.clock().advance(std::time::Duration::from_secs(30 * 24 * 3600));
    assert_eq!(*asking.round(&link).await.only(), removed(ada, "deleted"));
}

#[tokio::test]
async fn a_restore_may_stay_unseen() {
    let asking = Asking::with(|entra| entra.delta.shows_restored = false).await;
    let ada = asking.user("Ada L");
    asking.sandbox.tenant().delete(ada);
    let link = asking.round(USERS).await.link;
    asking.sandbox.tenant().restore(ada);
    assert!(asking.round(&link).await.ids().is_empty());
}

#[tokio::test]
async fn a_first_round_may_show_strangers_that_are_gone() {
    let asking = Asking::new().await;
    let (deleted, purged) = (asking.user("Ada L"), asking.user("Alan T"));
    asking.sandbox.tenant().delete(deleted);
    asking.sandbox.tenant().purge(purged);
    assert!(asking.round(USERS).await.ids().is_empty());
    asking.set(|entra| entra.delta.first_round_removed = true);
    let round = asking.round(USERS).await;
    let items: Vec<&Json> = round.items().collect();
    assert_eq!(items.len(), 2);
    assert!(items.contains(&&removed(deleted, "changed")) && items.contains(&&removed(purged, "deleted")));
}

#[tokio::test]
async fn which_groups_can_be_restored_follows_from_their_kind() {
    let asking = Asking::new().await;
    let cases = [
        (GroupKind::Security, true, "changed"),
        (GroupKind::Security, false, "deleted"),
        (GroupKind::Microsoft365, true, "changed"),
        (GroupKind::Synced, true, "deleted"),
        (GroupKind::Distribution, true, "deleted"),
        (GroupKind::MailSecurity, true, "deleted"),
    ];
    for (kind, restorable, reason) in cases {
        let group = asking.sandbox.tenant().create_group("group", kind);
        let link = asking.round(GROUPS).await.link;
        asking.sandbox.tenant().restore_security_groups(restorable);
        asking.sandbox.tenant().delete(group);
        assert_eq!(*asking.round(&link).await.only(), removed(group, reason), "{kind:?}");
    }
}

#[tokio::test]
async fn applications_and_service_principals_have_a_delta_too() {
    let asking = Asking::new().await;
    for (kind, create) in [
        (Kind::Application, sandbox::directory::Directory::create_application as fn(&mut _, &str) -> _),
        (Kind::ServicePrincipal, sandbox::directory::Directory::create_service_principal),
    ] {
        let path = format!("/v1.0/{}/delta", kind.segment());
        let link = asking.round(&path).await.link;
        let id = create(&mut asking.sandbox.tenant(), "app");
        let round = asking.round(&link).await;
        assert_eq!((&round.only()["id"], &round.only()["displayName"]), (&json!(id.to_string()), &json!("app")));
        asking.sandbox.tenant().delete(id);
        assert_eq!(*asking.round(&round.link).await.only(), removed(id, "changed"));
    }
}

#[tokio::test]
async fn sign_ins_cannot_be_selected_and_the_answer_names_them() {
    let asking = Asking::new().await;
    let message = asking.refused(&format!("{ALL_OF_USER}?$select=id,signInActivity,skills"), 400, "BadRequest").await;
    assert_eq!(
        message,
        "Invalid request for delta query: for this entity set, $expand/$select is not supported for the following \
         properties: signInActivity,skills"
    );
    let message = asking.refused(&format!("{ALL_OF_USER}?$select=shoeSize"), 400, "BadRequest").await;
    assert!(message.contains("'shoeSize' on type 'microsoft.graph.user'"), "{message}");
}

#[tokio::test]
async fn when_a_service_principal_was_made_may_be_selected_or_not() {
    let asking = Asking::new().await;
    asking.sandbox.tenant().create_service_principal("app");
    let path = "/v1.0/servicePrincipals/delta?$select=id,createdDateTime";
    let message = asking.refused(path, 400, "BadRequest").await;
    assert!(message.contains("'createdDateTime'"), "{message}");
    asking.set(|entra| entra.delta.service_principal_created = true);
    assert_eq!(asking.round(path).await.only()["createdDateTime"], "2023-11-14T22:13:20Z");
}

#[tokio::test]
async fn options_that_a_delta_does_not_have_are_ignored_or_refused() {
    let asking = Asking::new().await;
    asking.group_of(3);
    for option in ["$top=1", "$expand=members", "$orderby=displayName"] {
        let path = format!("{ALL_OF_USER}?{option}");
        asking.set(|entra| entra.delta.refuses_options = false);
        assert_eq!(asking.round(&path).await.pages[0].len(), 3);
        asking.set(|entra| entra.delta.refuses_options = true);
        asking.refused(&path, 400, "Request_UnsupportedQuery").await;
    }
}

#[tokio::test]
async fn a_filter_takes_up_to_fifty_ids_and_nothing_else() {
    let asking = Asking::new().await;
    let (_, users) = asking.group_of(51);
    let path = |count: usize| {
        let terms: Vec<String> = users[..count].iter().map(|id| format!("id eq '{id}'")).collect();
        format!("{ALL_OF_USER}?$filter={}", terms.join(" or "))
    };
    let round = asking.round(&path(50)).await;
    assert_eq!(round.ids().len(), 50);
    asking.sandbox.tenant().rename(users[50], "Else");
    assert!(asking.round(&round.link).await.ids().is_empty());
    asking.sandbox.tenant().rename(users[0], "Else");
    assert_eq!(asking.round(&round.link).await.only()["id"], users[0].to_string());
    asking.refused(&path(51), 400, "Request_UnsupportedQuery").await;
    let other = format!("{ALL_OF_USER}?$filter=accountEnabled eq true");
    asking.refused(&other, 400, "Request_UnsupportedQuery").await;
}

#[tokio::test]
async fn some_tenants_have_no_delta() {
    let asking = Asking::with(|entra| entra.delta.available = false).await;
    asking.refused(USERS, 400, "BadRequest").await;
    asking.get("/v1.0/users").await.ok();
}
