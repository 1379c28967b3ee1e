//! The sandbox's KQL parser reads the original text back from a literal, and nothing escapes from the literal.
#![no_main]

use azure_incremental::pure::literal;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let query = format!("resources | where name == {} | project id", literal(text));
    assert_eq!(kql::read_string_literals(&query).expect("the literal is well-formed"), [text]);
    assert!(kql::Query::parse(&query).is_ok());
});
