//! Samples all rows in turn, so that whatever the machine does meets all of them alike.

#![allow(
    clippy::cast_precision_loss,
    reason = "counts and times of one run are far below 2^52"
)]

use std::time::{Duration, Instant};

use crate::{
    Result,
    allocations::{self, Allocations},
    row::Row,
};

/// How long to measure.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Plan {
    /// When to stop, if the rounds are done by then.
    pub time: Duration,
    /// The fewest rounds: each is one batch of every row.
    pub rounds: usize,
}

impl Plan {
    /// A plan for the report.
    pub const fn of(time: Duration) -> Self {
        Self { time, rounds: 30 }
    }

    /// This share of its time.
    #[must_use]
    pub fn share(self, share: f64) -> Self {
        Self {
            time: self.time.mul_f64(share),
            ..self
        }
    }

    /// A plan that only shows that all rows run.
    pub const fn quick() -> Self {
        Self {
            time: Duration::from_secs(1),
            rounds: 3,
        }
    }
}

/// What was measured of a row, each figure for one operation.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Measured {
    /// The row's name.
    pub name: &'static str,
    /// What is done.
    pub about: &'static str,
    /// The row that stands for what is inside.
    pub inner: Option<&'static str>,
    /// Nanoseconds, in the fastest batch.
    pub ns_min: f64,
    /// Nanoseconds, in the median batch.
    pub ns_median: f64,
    /// Allocations on the request's thread.
    pub allocs: f64,
    /// Bytes of these allocations.
    pub bytes: f64,
    /// How many batches were timed.
    pub batches: usize,
    /// How many operations were not ready at once, of all.
    pub pended: u64,
}

/// A batch takes about so long, if the row allows it.
const BATCH: Duration = Duration::from_micros(200);
const SMALLEST_BATCH: usize = 8;
/// Batches that bring everything to its warm state, and then batches that are counted.
const WARM_UP: usize = 20;
const COUNTED: usize = 8;

struct Samples {
    row: Row,
    batch: usize,
    ns: Vec<f64>,
}

impl Samples {
    fn warm_up(row: Row) -> Result<Self> {
        let largest = row.work.largest_batch();
        let smallest = SMALLEST_BATCH.min(largest);
        let mut samples = Self {
            row,
            batch: smallest,
            ns: Vec::new(),
        };
        let mut fastest = f64::MAX;
        for _ in 0..WARM_UP {
            fastest = fastest.min(samples.batch()?);
        }
        let wanted = BATCH.as_nanos() as f64 / fastest.max(1.0);
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "clamped to small positive numbers"
        )]
        let batch = wanted.clamp(smallest as f64, largest as f64) as usize;
        samples.batch = batch;
        Ok(samples)
    }

    /// One batch; nanoseconds for each operation.
    fn batch(&mut self) -> Result<f64> {
        // What ran before has the caches: a quarter of a batch brings them back.
        let work = &mut self.row.work;
        work.prepare(self.batch / 4);
        work.run();
        work.prepare(self.batch);
        #[allow(
            clippy::disallowed_methods,
            reason = "a benchmark measures the system's time"
        )]
        let start = Instant::now();
        work.run();
        let ns = start.elapsed().as_nanos() as f64 / self.batch as f64;
        let ns = work.figure().unwrap_or(ns);
        work.settle();
        self.check()?;
        Ok(ns)
    }

    fn check(&self) -> Result<()> {
        let tally = self.row.work.tally();
        if tally.refused == 0 {
            return Ok(());
        }
        let status = tally.status.map_or_else(
            || "no status: an error, or a check that failed".to_owned(),
            |status| status.to_string(),
        );
        Err(format!(
            "row {}: {} operations were refused ({status}); the figures would be of refusals",
            self.row.name, tally.refused
        )
        .into())
    }

    fn allocations(&mut self) -> (f64, f64) {
        let mut sum = Allocations::default();
        for _ in 0..COUNTED {
            let work = &mut self.row.work;
            work.prepare(self.batch);
            let seen = allocations::count(|| work.run());
            work.settle();
            sum.count = sum.count.saturating_add(seen.count);
            sum.bytes = sum.bytes.saturating_add(seen.bytes);
        }
        let operations = COUNTED as f64 * self.batch as f64;
        let bytes = self.row.work.bytes();
        let bytes = bytes.unwrap_or(sum.bytes as f64 / operations);
        (sum.count as f64 / operations, bytes)
    }

    fn finish(mut self) -> Result<Measured> {
        let (allocs, bytes) = self.allocations();
        self.check()?;
        self.ns.sort_by(f64::total_cmp);
        let at = |index: usize| self.ns.get(index).copied().unwrap_or(f64::NAN);
        Ok(Measured {
            name: self.row.name,
            about: self.row.about,
            inner: self.row.inner,
            ns_min: at(0),
            ns_median: at(self.ns.len() / 2),
            allocs,
            bytes,
            batches: self.ns.len(),
            pended: self.row.work.tally().pended,
        })
    }
}

/// Measures the rows.
///
/// # Errors
///
/// A row refused a request.
pub fn measure(rows: Vec<Row>, plan: Plan) -> Result<Vec<Measured>> {
    let mut rows = rows
        .into_iter()
        .map(Samples::warm_up)
        .collect::<Result<Vec<_>>>()?;
    #[allow(
        clippy::disallowed_methods,
        reason = "a benchmark measures the system's time"
    )]
    let start = Instant::now();
    let mut rounds = 0_usize;
    while rounds < plan.rounds || start.elapsed() < plan.time {
        for row in &mut rows {
            let ns = row.batch()?;
            row.ns.push(ns);
        }
        rounds = rounds.saturating_add(1);
    }
    rows.into_iter().map(Samples::finish).collect()
}

#[cfg(test)]
mod tests {
    use std::hint::black_box;

    use super::*;
    use crate::row::Operation;

    fn row(operation: impl FnMut() -> bool + 'static) -> Row {
        Row {
            name: "test",
            about: "",
            inner: None,
            work: Box::new(Operation::new(operation)),
        }
    }

    #[test]
    fn a_row_that_allocates_once_is_counted_once() {
        let rows = vec![row(|| *black_box(Box::new(true)))];
        let measured = measure(rows, Plan::quick()).unwrap();
        assert_eq!((measured[0].allocs, measured[0].bytes), (1.0, 1.0));
        assert!(measured[0].ns_min > 0.0 && measured[0].ns_min <= measured[0].ns_median);
    }

    #[test]
    fn a_row_that_is_refused_gives_no_figure() {
        let mut left = 1000_u32;
        let rows = vec![row(move || {
            left = left.saturating_sub(1);
            left > 0
        })];
        let error = measure(rows, Plan::quick()).unwrap_err();
        assert!(error.to_string().contains("refused"), "{error}");
    }
}
