//! The roles that requests need, what is visible without them, and how long tokens are valid.
use std::time::Duration;

use reqwest::Method;
use sandbox::directory::Kind;
use sandbox::settings::LEAST_ROLES;
use sandbox::{Host, Sandbox};
use serde_json::{Value as Json, json};

use crate::{Asking, GROUPS, USERS, field};

const DENIED: &str = "Authorization_RequestDenied";

async fn with_roles(roles: &[&str]) -> Asking {
    Asking::with(|entra| entra.roles = Some(roles.iter().map(|role| (*role).to_owned()).collect())).await
}

fn claims(token: &str) -> Json {
    use base64::Engine as _;
    let payload = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&base64::prelude::BASE64_URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

#[tokio::test]
async fn each_kind_takes_a_role_of_its_own() {
    let paths =
        Kind::TRACKED.map(|kind| [format!("/v1.0/{}/delta", kind.segment()), format!("/v1.0/{}", kind.segment())]);
    let cases: [(&str, [bool; 4]); 5] = [
        ("User.Read.All", [true, false, false, false]),
        ("GroupMember.Read.All", [false, true, false, false]),
        ("Group.Read.All", [false, true, false, false]),
        ("Application.Read.All", [false, false, true, true]),
        ("Directory.Read.All", [true; 4]),
    ];
    for (role, granted) in cases {
        let asking = with_roles(&[role]).await;
        for (path, granted) in
            paths.iter().zip(granted).flat_map(|(paths, granted)| paths.iter().map(move |path| (path, granted)))
        {
            let answer = asking.get(path).await;
            if granted { drop(answer.ok()) } else { drop(answer.is(403, DENIED)) }
        }
    }
}

#[tokio::test]
async fn the_roles_are_in_the_token_and_a_new_one_takes_a_new_token() {
    let mut asking = with_roles(&["User.Read.All"]).await;
    assert_eq!(claims(&asking.token)["roles"], json!(["User.Read.All"]));
    asking.set(|entra| entra.roles = Some(vec!["GroupMember.Read.All".to_owned()]));
    asking.refused(GROUPS, 403, DENIED).await;
    asking.get(USERS).await.ok();
    asking.sign_in().await;
    asking.get(GROUPS).await.ok();
    asking.refused(USERS, 403, DENIED).await;
}

#[tokio::test]
async fn a_token_may_have_no_roles_at_all() {
    let asking = Asking::with(|entra| entra.roles = None).await;
    assert_eq!(claims(&asking.token).get("roles"), None);
    asking.refused(USERS, 403, DENIED).await;
}

#[tokio::test]
async fn ids_and_member_of_take_the_directorys_role_or_not() {
    let asking = with_roles(&LEAST_ROLES).await;
    let (_, users) = asking.group_of(1);
    let ids = json!({"ids": [users[0].to_string()]});
    let groups = format!("/v1.0/users/{}/memberOf", users[0]);
    asking.post("/v1.0/directoryObjects/getByIds", &ids).await.is(403, DENIED);
    asking.refused(&groups, 403, DENIED).await;
    let transitive = asking.list(&groups.replace("memberOf", "transitiveMemberOf")).await;
    assert_eq!(field(&transitive, "displayName"), ["group"]);
    asking.get(&format!("/v1.0/users/{}", users[0])).await.ok();
    asking.set(|entra| entra.rights.directory_role_needed = false);
    asking.post("/v1.0/directoryObjects/getByIds", &ids).await.ok();
    asking.get(&groups).await.ok();
}

#[tokio::test]
async fn members_of_a_kind_that_may_not_be_read_have_their_id_alone() {
    let asking = with_roles(&["GroupMember.Read.All"]).await;
    let (group, users) = asking.group_of(1);
    let page = asking.get(&format!("/v1.0/groups/{group}/members?$select=id,displayName")).await.ok();
    let limited = json!({"@odata.type": "#microsoft.graph.user", "id": users[0].to_string(), "displayName": null});
    assert_eq!(page["value"], json!([limited]));
}

#[tokio::test]
async fn hidden_memberships_show_to_their_role_alone() {
    for (role, refused) in [(true, false), (false, false), (false, true)] {
        let roles = if role { ["GroupMember.Read.All", "Member.Read.Hidden"] } else { ["GroupMember.Read.All"; 2] };
        let asking = with_roles(&roles).await;
        asking.set(|entra| entra.rights.hidden_refused = refused);
        let (group, users) = asking.group_of(2);
        asking.sandbox.tenant().hide_members(group, true);
        let round = asking.round("/v1.0/groups/delta?$select=visibility,members").await;
        assert_eq!(round.only()["visibility"], "HiddenMembership");
        assert_eq!(round.only().get("members@delta").is_some(), role);
        let read = asking.get(&format!("/v1.0/groups/{group}/members")).await;
        if refused {
            read.is(403, DENIED);
        } else {
            assert_eq!(read.ok()["value"].as_array().unwrap().len(), if role { 2 } else { 0 });
        }
        asking.sandbox.tenant().leave(group, users[0]);
        assert_eq!(asking.round(&round.link).await.ids().len(), usize::from(role));
    }
}

#[tokio::test]
async fn a_token_ends_in_the_middle_of_a_round_on_the_sandboxs_clock() {
    let mut asking = Asking::with(|entra| {
        entra.token_lifetime = Duration::from_secs(600);
        entra.delta.page = 1;
    })
    .await;
    asking.group_of(2);
    let page = asking.get(USERS).await.ok();
    let next = page["@odata.nextLink"].as_str().unwrap().to_owned();
    asking.sandbox.clock().advance(Duration::from_secs(600));
    asking.refused(&next, 401, "InvalidAuthenticationToken").await;
    asking.sign_in().await;
    assert_eq!(asking.round(&next).await.ids().len(), 1);
    asking.sandbox.sign_in().revoke_tokens();
    asking.refused(USERS, 401, "InvalidAuthenticationToken").await;
}

#[tokio::test]
async fn tokens_of_one_service_are_none_of_the_other() {
    let asking = Asking::new().await;
    let arm = |sandbox: &Sandbox| sandbox.origin(Host::ResourceManager) + "/subscriptions?api-version=2022-12-01";
    assert_eq!(asking.ask(Method::GET, &arm(&asking.sandbox), &[], &Json::Null).await.status, 401);
    let of_arm: Json = serde_json::from_str(&asking.sandbox.sign_in().of_az()).unwrap();
    let asking = Asking { token: of_arm["accessToken"].as_str().unwrap().to_owned(), ..asking };
    assert_eq!(asking.ask(Method::GET, &arm(&asking.sandbox), &[], &Json::Null).await.status, 200);
    asking.refused(USERS, 401, "InvalidAuthenticationToken").await;
}

#[tokio::test]
async fn the_identity_of_a_machine_signs_in_to_microsoft_graph_as_well() {
    let asking = Asking::with(|entra| entra.token_lifetime = Duration::from_secs(1234)).await;
    let graph = asking.sandbox.origin(Host::MicrosoftGraph);
    let path = format!("/metadata/identity/oauth2/token?api-version=2019-08-01&resource={graph}");
    let url = asking.sandbox.origin(Host::SignIn) + &path;
    let answer = asking.ask(Method::GET, &url, &[("metadata", "true")], &Json::Null).await.ok();
    assert_eq!(answer["resource"], graph);
    let token = answer["access_token"].as_str().unwrap().to_owned();
    let claims = claims(&token);
    assert_eq!((&claims["aud"], claims["exp"].as_u64()), (&json!(graph), claims["iat"].as_u64().map(|at| at + 1234)));
    let asking = Asking { token, ..asking };
    asking.get(USERS).await.ok();
}
