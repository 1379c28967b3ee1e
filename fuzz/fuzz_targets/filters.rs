//! Any text as `RESOURCE_GROUP_TAG_FILTERS`: an error, or a condition with exactly its names and values in literals.
#![no_main]

use std::collections::BTreeSet;

use azure_incremental::pure::tag_condition;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|setting: &str| {
    if let Some((condition, texts)) = tag_condition(setting) {
        let query = format!("resourcecontainers | where {condition} | project id");
        let read: BTreeSet<String> =
            kql::read_string_literals(&query).expect("the literals are well-formed").into_iter().collect();
        assert_eq!(read, texts);
        assert!(kql::Query::parse(&query).is_ok());
    }
});
