//! The tenant cache from one tenant to 10,000, the engine under it alone, and what a partition in use costs.

use std::{
    hash::BuildHasher,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
};

use bytes::Bytes;
use hashbrown::{DefaultHashBuilder, HashTable};
use parking_lot::RwLock;
use tenant_cache::TenantContext;
use tenant_context::{Clock, Monotonic, SystemClock};

use super::{
    Definition, Shared,
    cache::{Tenants, VALUES, scattered, value, values},
};
use crate::{
    Result, allocations,
    row::{Operation, Row},
};

/// As many values as `cache/hit` has, spread over so many tenants.
fn spread(definition: &'static Definition, count: u64) -> Result<Row> {
    let (_cache, values) = values()?;
    let tenants = Tenants::new()?.many(count)?;
    let of = move |key: u64| -> Option<(usize, u64)> {
        let tenant = key.checked_rem(count)?;
        Some((usize::try_from(tenant).ok()?, key))
    };
    for key in 0..VALUES {
        if let Some((tenant, key)) = of(key)
            && let Some(tenant) = tenants.get(tenant)
        {
            values.insert(tenant, &key, value())?;
        }
    }
    let mut next = scattered(VALUES);
    Ok(definition.row(Operation::new(move || {
        let Some((tenant, key)) = of(next()) else {
            return false;
        };
        tenants
            .get(tenant)
            .is_some_and(|tenant| matches!(values.get(tenant, &key), Ok(Some(_))))
    })))
}

pub(super) fn hit_10(definition: &'static Definition, _: &Arc<Shared>) -> Result<Row> {
    spread(definition, 10)
}

pub(super) fn hit_100(definition: &'static Definition, _: &Arc<Shared>) -> Result<Row> {
    spread(definition, 100)
}

pub(super) fn hit_1k(definition: &'static Definition, _: &Arc<Shared>) -> Result<Row> {
    spread(definition, 1_000)
}

/// What the engine keeps of a value.
struct Held {
    hash: u64,
    key: [u8; KEY],
    used: AtomicBool,
    entry: Arc<(Monotonic, Bytes)>,
}

/// A number's key, as it is encoded.
const KEY: usize = 17;

fn encoded(number: u64) -> [u8; KEY] {
    let mut key = [0; KEY];
    if let Some(place) = key.last_chunk_mut::<8>() {
        *place = number.to_be_bytes();
    }
    key
}

/// What the cache is made of, by hand and for nobody: a keyed hash of an encoded key, a table behind a lock, CLOCK's mark, an
/// expiry compared with the clock, and a shared value.
#[allow(clippy::unnecessary_wraps, reason = "all rows are made alike")]
pub(super) fn engine(definition: &'static Definition, _: &Arc<Shared>) -> Result<Row> {
    let (hasher, clock) = (DefaultHashBuilder::default(), SystemClock::new());
    let mut table = HashTable::new();
    for number in 0..VALUES {
        let key = encoded(number);
        let hash = hasher.hash_one(key.as_slice());
        let held = Held {
            hash,
            key,
            used: AtomicBool::new(false),
            entry: Arc::new((Monotonic::MAX, value())),
        };
        table.insert_unique(hash, held, |held| held.hash);
    }
    let table = RwLock::new(table);
    let mut next = scattered(VALUES);
    Ok(definition.row(Operation::new(move || {
        let key = encoded(next());
        let hash = hasher.hash_one(key.as_slice());
        let now = clock.coarse_monotonic();
        let found = {
            let table = table.read();
            table
                .find(hash, |held| held.hash == hash && held.key == key)
                .map(|held| {
                    if !held.used.load(Ordering::Relaxed) {
                        held.used.store(true, Ordering::Relaxed);
                    }
                    Arc::clone(&held.entry)
                })
        };
        found
            .filter(|entry| now < entry.0)
            .map(|entry| entry.1.clone())
            .is_some()
    })))
}

/// A row that is no time: its bytes are what a tenant with one value keeps alive, for each of 10,000.
pub(super) fn bytes_per_active(definition: &'static Definition, _: &Arc<Shared>) -> Result<Row> {
    static LIVE: OnceLock<f64> = OnceLock::new();
    let live = if let Some(live) = LIVE.get() {
        *live
    } else {
        let live = measure_bytes()?;
        *LIVE.get_or_init(|| live)
    };
    Ok(definition.row(Operation::new(|| true).with_bytes(live)))
}

#[allow(clippy::cast_precision_loss, reason = "far below 2^52")]
fn measure_bytes() -> Result<f64> {
    let (_cache, values) = values()?;
    let tenants: Vec<TenantContext> = Tenants::new()?.many(VALUES)?;
    let mut stored = 0_u64;
    let live = allocations::live(|| {
        for tenant in &tenants {
            // What the value itself holds is not the partition's.
            let inserted = values.insert(tenant, &7_u64, Bytes::new());
            stored = stored.saturating_add(inserted.is_ok().into());
        }
    });
    if stored == VALUES {
        Ok(live as f64 / VALUES as f64)
    } else {
        Err("not every tenant's value was stored".into())
    }
}
