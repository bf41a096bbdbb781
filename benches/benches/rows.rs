//! The rows of the report under criterion.

#![allow(missing_docs, reason = "criterion's macros make items without docs")]
#![allow(
    clippy::panic,
    reason = "a row that cannot be made, or refuses, is no benchmark"
)]

use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use tenant_benches::rows::{self, Shared};

#[allow(
    clippy::disallowed_methods,
    reason = "a benchmark measures the system's time"
)]
fn all(criterion: &mut Criterion) {
    let shared = Shared::new();
    for definition in rows::ALL {
        let mut row = match definition.make(&shared) {
            Ok(row) => row,
            Err(error) => panic!("{error}"),
        };
        criterion.bench_function(definition.name, |bencher| {
            bencher.iter_custom(|operations| {
                let mut left = usize::try_from(operations).unwrap_or(usize::MAX);
                let mut taken = Duration::ZERO;
                while left > 0 {
                    let batch = left.min(row.work.largest_batch());
                    row.work.prepare(batch);
                    let start = Instant::now();
                    row.work.run();
                    taken = taken.saturating_add(start.elapsed());
                    row.work.settle();
                    left = left.saturating_sub(batch);
                }
                taken
            });
        });
        let refused = row.work.tally().refused;
        assert_eq!(refused, 0, "{}: requests were refused", definition.name);
    }
}

criterion_group!(benches, all);
criterion_main!(benches);
