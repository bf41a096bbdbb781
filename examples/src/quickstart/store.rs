//! The invoices: a store as a repository over a database would be written.
//!
//! Nothing here takes a tenant id. A row leaves the store as a [`TenantScoped`] value, with the owner
//! that stands in the row itself, and lists are made for the tenant of a [`TenantContext`].

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use futures_util::{Stream, stream};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tenant_context::{ForTenant, Rejection, TenantContext, TenantId, TenantScoped, prefix_covers};
use tokio::sync::broadcast;
use uuid::Uuid;

/// One invoice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Invoice {
    pub(crate) id: Uuid,
    pub(crate) customer: String,
    pub(crate) cents: u64,
}

/// What all of a tenant's invoices come to.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Totals {
    pub(crate) invoices: u64,
    pub(crate) cents: u64,
}

/// All invoices of all tenants, as in one shared table. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct Store(Arc<Inner>);

#[derive(Default)]
struct Inner {
    rows: Mutex<HashMap<Uuid, Row>>,
    changes: Mutex<HashMap<TenantId, broadcast::Sender<Invoice>>>,
    calls: AtomicU64,
}

struct Row {
    owner: TenantId,
    invoice: Invoice,
}

/// What a credential must allow, whoever asks.
pub(crate) const READ: &str = "invoices:read";
pub(crate) const WRITE: &str = "invoices:write";

/// Where an invoice is, for credentials that are limited to a part of them.
fn path(id: Uuid) -> String {
    format!("invoices/{id}")
}

/// Changes that a watcher may lag behind before it loses the oldest.
const BACKLOG: usize = 64;

impl Store {
    /// Adds an invoice of this tenant. Its id is random: it tells nobody how many there are.
    pub(crate) fn create(
        &self,
        tenant: &TenantContext,
        customer: String,
        cents: u64,
    ) -> Result<Invoice, Rejection> {
        self.count_call();
        tenant.require(WRITE)?;
        let id = Uuid::new_v4();
        tenant.require_resource(&path(id))?;
        let invoice = Invoice {
            id,
            customer,
            cents,
        };
        let row = Row {
            owner: tenant.tenant_id().clone(),
            invoice: invoice.clone(),
        };
        self.0.rows.lock().insert(id, row);
        self.publish(tenant, &invoice);
        Ok(invoice)
    }

    /// The invoice with this id, whoever owns it: only its owner gets it out, with a credential that may read.
    pub(crate) fn find(&self, id: Uuid) -> Option<TenantScoped<Invoice>> {
        self.count_call();
        let rows = self.0.rows.lock();
        rows.get(&id)
            .map(|row| TenantScoped::new(row.owner.clone(), row.invoice.clone()).at(path(id)))
    }

    /// This tenant's invoices, the largest first.
    pub(crate) fn list(&self, tenant: &TenantContext) -> Result<Vec<Invoice>, Rejection> {
        self.count_call();
        tenant.require(READ)?;
        let within = |id| {
            let prefix = tenant.resource_prefix();
            prefix.is_none_or(|prefix| prefix_covers(prefix, &path(id)))
        };
        let rows = self.0.rows.lock();
        let mut own: Vec<Invoice> = rows
            .values()
            .filter(|row| row.owner == *tenant.tenant_id() && within(row.invoice.id))
            .map(|row| row.invoice.clone())
            .collect();
        own.sort_by_key(|invoice| (std::cmp::Reverse(invoice.cents), invoice.id));
        Ok(own)
    }

    /// Sets an invoice's amount. Whose it is and the change are one step.
    pub(crate) fn update(
        &self,
        tenant: &TenantContext,
        id: Uuid,
        cents: u64,
    ) -> Result<Invoice, Rejection> {
        self.count_call();
        tenant.require(WRITE)?;
        let changed = {
            let mut rows = self.0.rows.lock();
            let row = rows
                .get_mut(&id)
                .map(|row| TenantScoped::new(row.owner.clone(), &mut row.invoice).at(path(id)));
            let invoice = row.for_tenant(tenant)?;
            invoice.cents = cents;
            invoice.clone()
        };
        self.publish(tenant, &changed);
        Ok(changed)
    }

    /// What this tenant's invoices come to.
    pub(crate) fn totals(&self, tenant: &TenantContext) -> Result<Totals, Rejection> {
        let own = self.list(tenant)?;
        Ok(Totals {
            invoices: own.len().try_into().unwrap_or(u64::MAX),
            cents: own.iter().fold(0, |sum, one| sum.saturating_add(one.cents)),
        })
    }

    /// Every change of this tenant's invoices from now on. The stream has no end of its own.
    pub(crate) fn changes(
        &self,
        tenant: &TenantContext,
    ) -> Result<impl Stream<Item = Invoice> + Send + use<>, Rejection> {
        self.count_call();
        tenant.require(READ)?;
        tenant.require_resource("invoices")?;
        let receiver = self.channel(tenant).subscribe();
        Ok(stream::unfold(receiver, async |mut receiver| {
            loop {
                match receiver.recv().await {
                    Ok(invoice) => return Some((invoice, receiver)),
                    Err(broadcast::error::RecvError::Lagged(_)) => {}
                    Err(broadcast::error::RecvError::Closed) => return None,
                }
            }
        }))
    }

    /// How often the store was asked: what a refused request must not move.
    pub(crate) fn calls(&self) -> u64 {
        self.0.calls.load(Ordering::SeqCst)
    }

    fn count_call(&self) {
        self.0.calls.fetch_add(1, Ordering::SeqCst);
    }

    fn publish(&self, tenant: &TenantContext, invoice: &Invoice) {
        // An error says that nobody watches.
        self.channel(tenant).send(invoice.clone()).ok();
    }

    fn channel(&self, tenant: &TenantContext) -> broadcast::Sender<Invoice> {
        let mut channels = self.0.changes.lock();
        channels
            .entry(tenant.tenant_id().clone())
            .or_insert_with(|| broadcast::Sender::new(BACKLOG))
            .clone()
    }
}
