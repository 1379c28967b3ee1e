//! Any bytes as a page of Resource Graph: an error, or envelopes that contain each row once.
#![no_main]

use std::collections::BTreeMap;

use azure_incremental::config::Payload;
use azure_incremental::pure::{bodies, rows};
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use serde_json::value::RawValue;

fuzz_target!(|answer: &[u8]| {
    let answer = Bytes::copy_from_slice(answer);
    let rows = rows(&answer);
    let single = bodies(&answer, Payload::Single);
    assert_eq!(single.len(), rows);
    let items = bodies(&answer, Payload::Batch).iter().map(|body| items(body)).sum::<usize>();
    assert_eq!(items, rows);
});

/// The number of envelopes in a body. It is well-formed if the row was; its numbers may exceed any type's range.
fn items(body: &[u8]) -> usize {
    let body: BTreeMap<String, &RawValue> = serde_json::from_slice(body).expect("a body is JSON");
    serde_json::from_str::<Vec<&RawValue>>(body["items"].get()).expect("a body in batch is a list").len()
}
