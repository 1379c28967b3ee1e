//! The unit and its timer.

use std::collections::BTreeMap;

use super::{assert_known, read};

/// The settings of a unit by section and name, with their values in order.
fn unit(path: &str) -> BTreeMap<String, BTreeMap<String, Vec<String>>> {
    let mut sections: BTreeMap<String, BTreeMap<String, Vec<String>>> = BTreeMap::new();
    let mut section = None;
    for line in read(path).lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = Some(name.to_owned());
            continue;
        }
        let (name, value) = line.split_once('=').unwrap_or_else(|| panic!("{path}: {line}"));
        let section = section.clone().unwrap_or_else(|| panic!("{path}: {line} is in no section"));
        sections.entry(section).or_default().entry(name.into()).or_default().push(value.into());
    }
    sections
}

#[test]
fn the_service_runs_once_at_a_time_as_nobody_and_writes_its_state_only() {
    let unit = unit("examples/systemd/azure-incremental.service");
    let service = &unit["Service"];
    let only = |name: &str| match service.get(name).map(Vec::as_slice) {
        Some([value]) => value.as_str(),
        other => panic!("{name} is there {other:?}"),
    };
    assert_eq!(only("Type"), "oneshot");
    assert_eq!(only("ProtectSystem"), "strict");
    assert_eq!(only("StateDirectory"), "azure-incremental");
    assert_eq!(only("StateDirectoryMode"), "0700");
    assert_eq!(only("WorkingDirectory"), "%S/azure-incremental", "where the relative path of .env.example is");
    assert_eq!(only("UMask"), "0077");
    assert_eq!(only("CapabilityBoundingSet"), "");
    for protection in ["DynamicUser", "NoNewPrivileges", "MemoryDenyWriteExecute", "ProtectHome", "RestrictNamespaces"]
    {
        assert_eq!(only(protection), "yes", "{protection}");
    }
    assert!(only("EnvironmentFile").starts_with("/etc/"));
}

#[test]
fn the_service_sets_variables_that_there_are_and_no_secret() {
    let unit = unit("examples/systemd/azure-incremental.service");
    let set = &unit["Service"]["Environment"];
    let names: Vec<&str> = set.iter().map(|line| line.split_once('=').unwrap().0).collect();
    assert_known("azure-incremental.service", names.iter().copied(), &[]);
    assert!(names.iter().all(|name| !name.contains("SECRET") && !name.contains("URL")));
    assert!(set.contains(&"CHECKPOINT_FILE=%S/azure-incremental/checkpoint.redb".to_owned()), "{set:?}");
    let timeout = set.iter().find_map(|line| line.strip_prefix("RUN_TIMEOUT_SECONDS=")).unwrap();
    let limit = &unit["Service"]["TimeoutStartSec"][0];
    assert!(timeout.parse::<u64>().unwrap() + 60 <= limit.parse().unwrap(), "a run ends by itself before it is ended");
}

#[test]
fn the_timer_starts_it_every_15_minutes_and_makes_up_for_what_was_missed() {
    let unit = unit("examples/systemd/azure-incremental.timer");
    assert_eq!(unit["Timer"]["OnCalendar"], ["*:0/15"]);
    assert_eq!(unit["Timer"]["Persistent"], ["true"]);
    assert_eq!(unit["Install"]["WantedBy"], ["timers.target"]);
}
