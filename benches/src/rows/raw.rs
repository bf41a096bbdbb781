//! Floors: the one thing that must be done, without anything around it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use parking_lot::Mutex;

use super::{Definition, Shared};
use crate::{
    Result,
    row::{Operation, Row},
    token::Algorithm,
};

fn signature(
    definition: &'static Definition,
    shared: &Arc<Shared>,
    algorithm: Algorithm,
) -> Result<Row> {
    let token = shared.tokens.token(algorithm)?;
    let check = shared.tokens.key(algorithm)?.raw_check(&token)?;
    Ok(definition.row(Operation::new(check)))
}

pub(super) fn hs256(definition: &'static Definition, shared: &Arc<Shared>) -> Result<Row> {
    signature(definition, shared, Algorithm::Hs256)
}

pub(super) fn rs256(definition: &'static Definition, shared: &Arc<Shared>) -> Result<Row> {
    signature(definition, shared, Algorithm::Rs256)
}

pub(super) fn es256(definition: &'static Definition, shared: &Arc<Shared>) -> Result<Row> {
    signature(definition, shared, Algorithm::Es256)
}

pub(super) fn eddsa(definition: &'static Definition, shared: &Arc<Shared>) -> Result<Row> {
    signature(definition, shared, Algorithm::EdDsa)
}

/// A bucket alone on its cache lines: the theoretical arrival time, in nanoseconds.
#[repr(align(128))]
#[derive(Debug, Default)]
pub(super) struct Cell(AtomicU64);

/// A bucket with room for a second, refilled each nanosecond.
const INTERVAL: u64 = 1;
pub(super) const TOLERANCE: u64 = 1_000_000_000;

impl Cell {
    /// The arrival time that this request would leave behind, if it is admitted.
    pub(super) fn look(&self, now: u64) -> Option<(u64, u64)> {
        let old = self.0.load(Ordering::Acquire);
        let new = old.max(now).wrapping_add(INTERVAL);
        (new.wrapping_sub(now) <= TOLERANCE).then_some((old, new))
    }

    pub(super) fn swap(&self, old: u64, new: u64) -> bool {
        self.0
            .compare_exchange(old, new, Ordering::AcqRel, Ordering::Relaxed)
            .is_ok()
    }
}

/// The cells of two threads, of which so many are the same.
pub(super) fn cells(shared: usize) -> [impl FnMut() -> bool + Send + 'static; 2] {
    let one: [Arc<Cell>; 4] = Default::default();
    let mut other: [Arc<Cell>; 4] = Default::default();
    for (cell, same) in other.iter_mut().zip(&one).take(shared) {
        *cell = Arc::clone(same);
    }
    #[allow(
        clippy::disallowed_methods,
        reason = "the clock's cost is part of the row"
    )]
    let origin = Instant::now();
    // A race that is lost is run again: what is measured are admissions.
    [one, other].map(|cells| {
        move || {
            let now = u64::try_from(origin.elapsed().as_nanos()).unwrap_or(u64::MAX);
            for cell in &cells {
                loop {
                    let Some((old, new)) = cell.look(now) else {
                        return false;
                    };
                    if cell.swap(old, new) {
                        break;
                    }
                }
            }
            true
        }
    })
}

/// Four cells, one reading of the clock, all or none.
#[allow(clippy::unnecessary_wraps, reason = "all rows are made alike")]
pub(super) fn gcra_4(definition: &'static Definition, _: &Arc<Shared>) -> Result<Row> {
    let cells: Box<[Cell; 4]> = Box::default();
    #[allow(
        clippy::disallowed_methods,
        reason = "the clock's cost is part of the row"
    )]
    let origin = Instant::now();
    Ok(definition.row(Operation::new(move || {
        let now = u64::try_from(origin.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let mut looked = [(0, 0); 4];
        for (cell, seen) in cells.iter().zip(&mut looked) {
            match cell.look(now) {
                Some(found) => *seen = found,
                None => return false,
            }
        }
        cells
            .iter()
            .zip(looked)
            .all(|(cell, (old, new))| cell.swap(old, new))
    })))
}

/// The parts of one tenant's joint decision that no order of the work avoids; what they guard is one number.
#[allow(clippy::unnecessary_wraps, reason = "all rows are made alike")]
pub(super) fn lock_and_swap(definition: &'static Definition, _: &Arc<Shared>) -> Result<Row> {
    let (own, global) = (Mutex::new(0_u64), Cell::default());
    #[allow(
        clippy::disallowed_methods,
        reason = "the clock's cost is part of the row"
    )]
    let origin = Instant::now();
    Ok(definition.row(Operation::new(move || {
        let now = u64::try_from(origin.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let mut own = own.lock();
        let Some((old, new)) = global.look(now) else {
            return false;
        };
        let swapped = global.swap(old, new);
        *own = new;
        drop(own);
        swapped
    })))
}
