//! Names and tags for a generated estate: mostly typical ones, and some unusual ones that Azure allows.
use std::sync::Arc;

use serde_json::{Map, Value as Json};

use crate::estate::Tags;
use crate::rng::Rng;

const TEAMS: [&str; 10] =
    ["platform", "payments", "search", "identity", "billing", "data", "web", "mobile", "risk", "core"];
const STAGES: [&str; 6] = ["prod", "dev", "test", "stage", "shared", "dr"];
const REGIONS: [&str; 6] = ["westeurope", "northeurope", "eastus", "eastus2", "uksouth", "australiaeast"];
/// Name endings that are troublesome in queries, identifiers and shells.
const ODD: [&str; 18] = [
    " (old)",
    "(1)",
    " copy",
    "_copy",
    " copy 2",
    "O'Brien",
    "\"quoted\"",
    " é",
    " Größe",
    "日本",
    ".v1.2",
    "#7",
    " a=b",
    "=61=",
    " ~x",
    " & co",
    ", ltd",
    " 😀",
];
/// Azure's rules for group names are stricter.
const ODD_GROUP: [&str; 6] = ["(old)", ".v2", "_x", "-Ünit", "_日本", "(a)_(b)"];

pub(crate) fn region(rng: &mut Rng) -> Arc<str> {
    (*rng.pick(&REGIONS)).into()
}

pub(crate) fn subscription(rng: &mut Rng, number: usize) -> String {
    let (team, stage) = (rng.pick(&TEAMS), rng.pick(&STAGES));
    match number % 4 {
        3 => format!("{team} {stage} #{number} (R&D's)"),
        _ => format!("{team}-{stage}-{number}"),
    }
}

pub(crate) fn group(rng: &mut Rng, number: usize) -> String {
    let (team, stage) = (rng.pick(&TEAMS), rng.pick(&STAGES));
    let name = match rng.below(4) {
        0 => format!("RG-{}-{}-{number}", team.to_uppercase(), stage),
        1 => format!("rg_{team}.{stage}.{number}"),
        _ => format!("rg-{team}-{stage}-{number}"),
    };
    if rng.one_in(6) { name + *rng.pick(&ODD_GROUP) } else { name }
}

/// A resource name with as many parts as its type.
pub(crate) fn resource(rng: &mut Rng, number: usize, depth: usize) -> String {
    let (team, stage) = (rng.pick(&TEAMS), rng.pick(&STAGES));
    let mut name = String::new();
    for part in 1..depth {
        name += &format!("{team}-parent{part}-{:03}/", rng.below(40));
    }
    name += &match rng.below(3) {
        0 => format!("{}-{}-{number:06}", team.to_uppercase(), stage),
        _ => format!("{team}-{stage}-{number:06}"),
    };
    if rng.one_in(9) { name + *rng.pick(&ODD) } else { name }
}

/// The tags of a group, which filters use, in inconsistent case.
pub(crate) fn group_tags(rng: &mut Rng) -> Tags {
    match rng.below(10) {
        0 => return None,
        1 => return tags(&[]),
        _ => {}
    }
    let mut tags = Map::new();
    let environment = *rng.pick(&["Environment", "environment", "ENVIRONMENT"]);
    let stage = *rng.pick(&["Production", "production", "PRODUCTION", "Development", "staging", "Test"]);
    tags.insert(environment.into(), stage.into());
    if rng.one_in(2) {
        tags.insert((*rng.pick(&["Team", "team"])).into(), (*rng.pick(&["Platform", "platform", "Data"])).into());
    }
    if rng.one_in(6) {
        tags.insert("Temporary".into(), (*rng.pick(&["true", "True", "false"])).into());
    }
    if rng.one_in(8) {
        odd_tag(rng, &mut tags);
    }
    Some(Arc::new(Json::Object(tags)))
}

pub(crate) fn resource_tags(rng: &mut Rng) -> Tags {
    match rng.below(14) {
        0 => return None,
        1 => return tags(&[]),
        _ => {}
    }
    let (team, stage) = (*rng.pick(&TEAMS), *rng.pick(&["Production", "Development", "Test"]));
    let number = rng.below(100_000);
    let repository =
        format!("https://github.com/example/{team}-infrastructure/tree/main/live/{}", stage.to_lowercase());
    let known = [
        ("costCenter", format!("CC-{number:05} Cloud Platform Engineering")),
        ("owner", format!("{team}-engineering-oncall@example.com")),
        ("repository", repository),
        ("createdBy", format!("terraform-cloud/workspaces/{team}-{number:05}")),
        ("dataClassification", (*rng.pick(&["internal", "confidential", "public"])).to_owned()),
    ];
    let mut tags = Map::new();
    tags.insert("Environment".into(), stage.into());
    for (key, value) in known.into_iter().take(1 + rng.below(5)) {
        tags.insert(key.into(), value.into());
    }
    if rng.one_in(10) {
        odd_tag(rng, &mut tags);
    }
    Some(Arc::new(Json::Object(tags)))
}

fn odd_tag(rng: &mut Rng, tags: &mut Map<String, Json>) {
    let (key, value) = *rng.pick(&[
        ("note", "it's \"quoted\""),
        ("path", "C:\\temp\\new"),
        ("Größe", "größer als 日本"),
        ("hidden-link:/app", "Resource"),
        ("empty", ""),
        ("line", "one\ntwo\tthree"),
        ("O'Connor", "{\"json\": [1, 2]}"),
    ]);
    tags.insert(key.into(), value.into());
}

/// Builds tags from pairs.
pub fn tags(pairs: &[(&str, &str)]) -> Tags {
    let object = pairs.iter().map(|(key, value)| ((*key).to_owned(), Json::from(*value))).collect();
    Some(Arc::new(Json::Object(object)))
}

const GIVEN: [&str; 16] = [
    "Ada", "Alan", "Grace", "Edsger", "Barbara", "Donald", "Frances", "Ken", "Margaret", "Dennis", "Radia", "Tim",
    "Hedy", "Linus", "Shafi", "Niklaus",
];
const SURNAMES: [&str; 16] = [
    "Lovelace",
    "Turing",
    "Hopper",
    "Dijkstra",
    "Liskov",
    "Knuth",
    "Allen",
    "Thompson",
    "Hamilton",
    "Ritchie",
    "Perlman",
    "Lee",
    "O'Neil",
    "Müller",
    "de la Cruz",
    "Wirth",
];
const JOBS: [&str; 8] =
    ["Engineer", "Architect", "Manager", "Analyst", "Director", "Consultant", "Researcher", "Designer"];

/// A given name and a surname.
pub(crate) fn person(rng: &mut Rng) -> String {
    format!("{} {}", rng.pick(&GIVEN), rng.pick(&SURNAMES))
}

pub(crate) fn job(rng: &mut Rng) -> &'static str {
    rng.pick::<&str>(&JOBS)
}

pub(crate) fn team(rng: &mut Rng) -> &'static str {
    rng.pick::<&str>(&TEAMS)
}

pub(crate) fn stage(rng: &mut Rng) -> &'static str {
    rng.pick::<&str>(&STAGES)
}
