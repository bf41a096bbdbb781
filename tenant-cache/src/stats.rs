//! What one tenant's partition has done and holds.

use std::{collections::HashMap, sync::atomic::Ordering};

use tenant_context::Monotonic;

use crate::{
    cache::{AUTHORITIES, RESPONSES},
    key::KeyWriter,
    partition::Partition,
};

/// Counters of one tenant's partition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CacheStats {
    /// Reads that found a value, values and responses together.
    pub hits: u64,
    /// Reads that found none.
    pub misses: u64,
    /// Bytes held, overhead included; what has expired counts until its memory was given back.
    pub bytes: u64,
    /// Entries held.
    pub entries: u64,
    /// Entries that had to make way for others, the tenant's own or a neighbour's.
    pub evictions: u64,
    /// The bytes that no neighbour takes away.
    pub floor: u64,
    /// The most bytes it may hold.
    pub ceiling: u64,
}

impl CacheStats {
    pub(crate) fn of(partition: &Partition) -> Self {
        let bounds = partition.bounds();
        Self {
            hits: partition.hits.load(Ordering::Relaxed),
            misses: partition.misses.load(Ordering::Relaxed),
            bytes: partition.bytes(),
            entries: u64::try_from(partition.len()).unwrap_or(u64::MAX),
            evictions: partition.evictions(),
            floor: bounds.floor_bytes(),
            ceiling: bounds.ceiling_bytes(),
        }
    }
}

/// A key that is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoredKey {
    /// The namespace's name; `(responses)` and `(authorities)` for what the response cache keeps.
    pub namespace: String,
    /// The key as it was encoded.
    pub key: Vec<u8>,
    /// The bytes that it and its value are charged for.
    pub bytes: u64,
}

impl StoredKey {
    pub(crate) fn all(
        partition: &Partition,
        names: &HashMap<u32, String>,
        now: Monotonic,
    ) -> Vec<Self> {
        partition.read(|room| {
            room.iter()
                .filter(|held| !held.entry().is_over(now, &partition.marks))
                .filter_map(|held| {
                    let (number, key) = KeyWriter::namespace_of(held.key())?;
                    let namespace = match number {
                        RESPONSES => "(responses)".to_owned(),
                        AUTHORITIES => "(authorities)".to_owned(),
                        number => names.get(&number)?.clone(),
                    };
                    Some(Self {
                        namespace,
                        key: key.to_vec(),
                        bytes: held.bytes(),
                    })
                })
                .collect()
        })
    }
}
