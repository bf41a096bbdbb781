//! What a record accounts for: a beginning that had been kept for long enough, what a crash has torn.

use std::borrow::Cow;

use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::Finding;
use crate::{Expired, Head, Recovery, ledger::OWN_ACTOR};

/// Whether the audit itself has made a record: nobody else's actor has this kind and this name.
#[derive(Deserialize)]
struct By<'a> {
    #[serde(borrow)]
    actor_id: Cow<'a, str>,
    #[serde(borrow)]
    actor_type: Cow<'a, str>,
}

fn is_own(record: &str) -> bool {
    serde_json::from_str(record)
        .is_ok_and(|by: By<'_>| by.actor_type == "system" && by.actor_id == OWN_ACTOR)
}

/// Whether a record says that all up to `start` had been kept for long enough.
pub(super) fn of_beginning(record: &str, start: &Head) -> bool {
    #[derive(Deserialize)]
    struct Account<'a> {
        #[serde(borrow)]
        action: Cow<'a, str>,
        metadata: Metadata,
    }
    #[derive(Deserialize)]
    struct Metadata {
        hash: String,
        through: u64,
    }
    if !record.contains(Expired::ACTION) || !is_own(record) {
        return false;
    }
    serde_json::from_str(record).is_ok_and(|account: Account<'_>| {
        account.action == Expired::ACTION
            && account.metadata.through == start.seq()
            && account.metadata.hash == hex::encode(start.hash())
    })
}

/// Lines that do not follow: a finding, unless the record after them accounts for them.
pub(super) struct Gap {
    pub(super) finding: Finding,
    bytes: u64,
    digest: Sha256,
}

impl Gap {
    pub(super) fn new(finding: Finding) -> Self {
        Self {
            finding,
            bytes: 0,
            digest: Sha256::new(),
        }
    }

    pub(super) fn add(&mut self, piece: &[u8], length: u64) {
        self.bytes = self.bytes.saturating_add(length);
        self.digest.update(piece);
    }

    pub(super) fn is_accounted_for(&self, record: &str) -> bool {
        #[derive(Deserialize)]
        struct Account<'a> {
            #[serde(borrow)]
            action: Cow<'a, str>,
            metadata: Metadata,
        }
        #[derive(Deserialize)]
        struct Metadata {
            torn_bytes: u64,
            torn_sha256: String,
        }
        is_own(record)
            && serde_json::from_str(record).is_ok_and(|account: Account<'_>| {
                account.action == Recovery::ACTION
                    && account.metadata.torn_bytes == self.bytes
                    && account.metadata.torn_sha256 == hex::encode(self.digest.clone().finalize())
            })
    }
}
