//! Benchmarks the pure parts: from a page as Resource Graph returns it to the bodies of posts.
use std::hint::black_box;
use std::io::{self, Seek, Write};
use std::process::Command;
use std::time::{Duration, Instant};

use azure_incremental::config::Payload;
use azure_incremental::pure::{self, bodies, rows};
use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

/// Rows per page of Resource Graph.
const ROWS: usize = 1000;

fn page() -> Bytes {
    let row = |n: usize| {
        let group = n / 50;
        format!(
            r#"{{"id":"/subscriptions/0B1F6471-1BF0-4DDA-AEC3-111122223333/resourceGroups/rg-Payments-{group}/providers/Microsoft.Storage/storageAccounts/payments{n}","resourceId":"/subscriptions/0b1f6471-1bf0-4dda-aec3-111122223333/resourcegroups/rg-payments-{group}/providers/microsoft.storage/storageaccounts/payments{n}","sourceResourceId":"/subscriptions/0b1f6471-1bf0-4dda-aec3-111122223333/resourcegroups/rg-payments-{group}/providers/microsoft.storage/storageaccounts/payments{n}","name":"payments{n}","type":"microsoft.storage/storageaccounts","location":"westeurope","tags":{{"Environment":"Production","CostCenter":"{n}","Équipe":"Paiements"}},"subscriptionId":"0b1f6471-1bf0-4dda-aec3-111122223333","resourceGroup":"rg-payments-{group}","rgId":"/subscriptions/0B1F6471-1BF0-4DDA-AEC3-111122223333/resourceGroups/rg-Payments-{group}","rgName":"rg-Payments-{group}","rgLocation":"westeurope","rgTags":{{"Environment":"Production"}}}}"#
        )
    };
    let rows: Vec<String> = (0..ROWS).map(row).collect();
    format!(
        r#"{{"totalRecords":{ROWS},"count":{ROWS},"data":[{}],"facets":[],"resultTruncated":"false"}}"#,
        rows.join(",")
    )
    .into()
}

fn pure(criterion: &mut Criterion) {
    let page = page();
    let mut group = criterion.benchmark_group("page");
    group.throughput(Throughput::Elements(ROWS as u64));
    group.bench_function("to rows", |bencher| bencher.iter(|| rows(black_box(&page))));
    for (name, payload) in [("to bodies, single", Payload::Single), ("to bodies, batch", Payload::Batch)] {
        group.bench_function(name, |bencher| {
            bencher.iter(|| bodies(black_box(&page), payload));
        });
    }
    group.finish();
}

/// From a resource row to the entity that the default mapping of Port's exporter makes of it.
fn mapped(criterion: &mut Criterion) {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/ocean-azure-resource-graph.yaml");
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let Some(entities) = pure::mapped(&text) else { return };
    let row = br#"{"id":"/subscriptions/0B1F6471-1BF0-4DDA-AEC3-111122223333/resourceGroups/rg Payments/providers/Microsoft.Storage/storageAccounts/payments","name":"payments","type":"microsoft.storage/storageaccounts","location":"westeurope","tags":{"Environment":"Production","CostCenter":"1"},"subscriptionId":"0b1f6471-1bf0-4dda-aec3-111122223333","resourceGroup":"rg payments"}"#;
    let mut group = criterion.benchmark_group("row");
    group.throughput(Throughput::Elements(1));
    group.bench_function("to its entity", |bencher| bencher.iter(|| entities(black_box(row))));
    if jq(row, 1).is_ok() {
        group.sample_size(10);
        group.bench_function("to the same entity, by jq", |bencher| {
            bencher.iter_custom(|rows| jq(row, MAPPED).unwrap_or_default().mul_f64(rows as f64 / MAPPED as f64));
        });
    }
    group.finish();
}

/// Rows that jq maps in one process; starting it takes as long as mapping hundreds.
const MAPPED: usize = 20_000;

/// How long jq takes to map this many copies of a row with the expressions of that mapping. Fails if jq is not
/// installed.
fn jq(row: &[u8], rows: usize) -> io::Result<Duration> {
    const ENTITY: &str = r#"{identifier: (.id | gsub(" ";"_")), title: .name, blueprint: "azureResource",
        properties: {tags: .tags, location: .location},
        relations: {resource_group: (("/subscriptions/" + .subscriptionId + "/resourceGroups/" + .resourceGroup) | gsub(" ";"_"))}}"#;
    let mut input = tempfile::tempfile()?;
    input.write_all(&[row, b"\n"].concat().repeat(rows))?;
    input.rewind()?;
    let mut jq = Command::new("jq");
    jq.args(["--compact-output", ENTITY]).stdin(input);
    let start = Instant::now();
    let output = jq.output()?;
    let took = start.elapsed();
    let entities = output.stdout.iter().filter(|byte| **byte == b'\n').count();
    if entities == rows { Ok(took) } else { Err(io::Error::other(String::from_utf8_lossy(&output.stderr))) }
}

criterion_group!(benches, pure, mapped);
criterion_main!(benches);
