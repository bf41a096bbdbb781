//! The rows of the report under criterion.

#![allow(missing_docs, reason = "criterion's macros make items without docs")]
#![allow(
    clippy::panic,
    reason = "a row that cannot be made, or refuses, is no benchmark"
)]

use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use tenant_benches::{
    row::Row,
    rows::{self, Shared},
};

/// Half of the places of the audit's queue: what is not written by then is waited for.
const OUTSTANDING: usize = 2048;

#[allow(
    clippy::disallowed_methods,
    reason = "a benchmark measures the system's time"
)]
fn time(row: &mut Row, outstanding: &mut usize, operations: u64) -> Duration {
    let mut left = usize::try_from(operations).unwrap_or(usize::MAX);
    let mut taken = Duration::ZERO;
    while left > 0 {
        let batch = left.min(row.work.largest_batch());
        row.work.prepare(batch);
        let start = Instant::now();
        row.work.run();
        taken = taken.saturating_add(start.elapsed());
        left = left.saturating_sub(batch);
        *outstanding = outstanding.saturating_add(batch);
        if *outstanding >= OUTSTANDING {
            row.work.settle();
            *outstanding = 0;
        }
    }
    taken
}

fn all(criterion: &mut Criterion) {
    let shared = Shared::new();
    for definition in rows::ALL {
        let mut row = match definition.make(&shared) {
            Ok(row) => row,
            Err(error) => panic!("{error}"),
        };
        // Requests that come one by one, each after a rest, would take criterion hours.
        if row.work.largest_batch() == 1 {
            continue;
        }
        let mut outstanding = 0;
        criterion.bench_function(definition.name, |bencher| {
            bencher.iter_custom(|operations| time(&mut row, &mut outstanding, operations));
        });
        row.work.settle();
        let refused = row.work.tally().refused;
        assert_eq!(refused, 0, "{}: requests were refused", definition.name);
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .sample_size(30);
    targets = all
}
criterion_main!(benches);
