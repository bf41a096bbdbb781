//! Requests that got no record, until the worker writes down how many they were.

use std::collections::HashMap;

use tenant_context::TenantId;

use super::Entry;
use crate::AuditError;

#[derive(Debug, Default)]
pub(crate) struct Losses {
    /// Served without a record, by tenant; `None`: before a tenant was known.
    pub(crate) dropped: HashMap<Option<TenantId>, u64>,
    /// Refused, because there was no place for their record.
    pub(crate) refused: u64,
    /// Refusals before a tenant was known, beyond the share that they have of the queue: by reason.
    pub(crate) anonymous: HashMap<String, u64>,
}

/// The most reasons that are told apart.
const MAX_REASONS: usize = 64;

impl Losses {
    pub(super) fn is_empty(&self) -> bool {
        self.refused == 0 && self.dropped.is_empty() && self.anonymous.is_empty()
    }

    /// For a worker that ends before it could record them.
    pub(super) fn say_unrecorded(&self) {
        if self.is_empty() {
            return;
        }
        let sum = |counts: &mut dyn Iterator<Item = &u64>| {
            counts.fold(0_u64, |sum, count| sum.saturating_add(*count))
        };
        tracing::error!(
            dropped = sum(&mut self.dropped.values()),
            refused = self.refused,
            refusals = sum(&mut self.anonymous.values()),
            "the audit worker ended before it had recorded how many requests have no record"
        );
    }

    pub(super) fn anonymous(&mut self, reason: String) {
        if self.anonymous.is_empty() {
            tracing::warn!("many requests are refused before a tenant is known: they are counted");
        }
        let known = self.anonymous.len() < MAX_REASONS || self.anonymous.contains_key(&reason);
        let reason = if known { reason } else { "other".to_owned() };
        let count = self.anonymous.entry(reason).or_default();
        *count = count.saturating_add(1);
    }

    pub(super) fn dropped(&mut self, entry: &Entry) {
        if self.dropped.is_empty() {
            tracing::error!("the audit queue is full: requests are served without a record");
        }
        let tenant = match entry {
            Entry::Request(cell) => {
                cell.with(|facts| facts.identity.as_ref().map(|who| who.tenant().id().clone()))
            }
            Entry::Intent(_) => None,
            Entry::Event(occurred) => occurred.who.tenant().cloned(),
        };
        let count = self.dropped.entry(tenant).or_default();
        *count = count.saturating_add(1);
    }

    pub(super) fn refused(&mut self, why: &AuditError) {
        if self.refused == 0 {
            tracing::error!(
                error = why as &dyn std::error::Error,
                "requests are refused: they cannot be recorded"
            );
        }
        self.refused = self.refused.saturating_add(1);
    }
}
