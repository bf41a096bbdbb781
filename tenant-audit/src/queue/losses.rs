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
}

impl Losses {
    pub(super) fn is_empty(&self) -> bool {
        self.refused == 0 && self.dropped.is_empty()
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
