//! From entries to chained lines: the worker's books.

mod chain;
mod own;

use std::{collections::HashMap, sync::Arc};

use tenant_context::{Clock, Identity, Monotonic, TenantId, Trail, TrailCell, UnixTime};

use self::chain::{Chain, Content};
pub(crate) use self::own::OWN_ACTOR;
use crate::{
    Batch, ChainBatch, ChainId, Head, Resumed,
    actor::Actor,
    draft::What,
    queue::{Occurred, Who},
    record::Encoder,
    request::{Intent, Request},
};

/// What time it is, on both clocks: a request's arrival is known on the one that does not jump.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Now {
    unix: UnixTime,
    monotonic: Monotonic,
}

impl Now {
    pub(crate) fn read(clock: &dyn Clock) -> Self {
        Self {
            unix: clock.unix(),
            monotonic: clock.monotonic(),
        }
    }

    pub(crate) const fn unix(self) -> UnixTime {
        self.unix
    }

    fn of(self, arrival: Monotonic) -> UnixTime {
        self.unix
            .saturating_sub(self.monotonic.saturating_since(arrival))
    }
}

/// All chains of this process, and the batch that is being made.
pub(crate) struct Ledger {
    /// The platform's first.
    chains: Vec<Chain>,
    tenants: HashMap<TenantId, usize>,
    /// The chain of the record before: often the next one's too.
    last: usize,
    secret: u64,
    encoder: Encoder,
    batch: Vec<ChainBatch>,
    /// Lines' buffers that were written and are empty.
    spare: Vec<Vec<u8>>,
    event_id: Vec<u8>,
    /// The chains that the batch has lines of.
    touched: Vec<usize>,
}

/// Buffers that are kept for the next batch, and how long they may be.
const SPARE: usize = 64;
const SPARE_BYTES: usize = 4 << 20;

impl Ledger {
    /// Takes the chains up where the sink left them. What the sink had to recover is recorded first.
    pub(crate) fn resume(
        resumed: Vec<Resumed>,
        secret: u64,
        encoder: Encoder,
        now: UnixTime,
    ) -> Self {
        let mut ledger = Self {
            chains: vec![Chain::new(ChainId::platform(), Head::default(), secret)],
            tenants: HashMap::new(),
            last: 0,
            secret,
            encoder,
            batch: Vec::new(),
            spare: Vec::new(),
            event_id: Vec::with_capacity(64),
            touched: Vec::new(),
        };
        for Resumed {
            chain: id,
            head,
            recovery,
            intents,
        } in resumed
        {
            let at = ledger.at(id.tenant());
            if let Some(chain) = ledger.chains.get_mut(at) {
                chain.head = head;
            }
            if let Some(recovery) = recovery {
                ledger.recovered(&id, &recovery, now);
            }
            if !intents.is_empty() {
                ledger.intents(&id, intents, now);
            }
        }
        ledger
    }

    /// Where a tenant's chain stands.
    fn at(&mut self, tenant: Option<&TenantId>) -> usize {
        let Some(tenant) = tenant else {
            return 0;
        };
        let last = self
            .chains
            .get(self.last)
            .and_then(|chain| chain.id.tenant());
        if last == Some(tenant) {
            return self.last;
        }
        let at = if let Some(at) = self.tenants.get(tenant) {
            *at
        } else {
            let id = ChainId::of_tenant(tenant.clone());
            let at = self.chains.len();
            self.chains
                .push(Chain::new(id, Head::default(), self.secret));
            self.tenants.insert(tenant.clone(), at);
            at
        };
        self.last = at;
        at
    }

    fn put(&mut self, tenant: Option<&TenantId>, content: &Content<'_>) {
        let at = self.at(tenant);
        if let Some(chain) = self.chains.get_mut(at) {
            if chain.slot.is_none() {
                self.touched.push(at);
            }
            let (batch, spare) = (&mut self.batch, &mut self.spare);
            chain.add(content, &mut self.encoder, batch, spare, &mut self.event_id);
        }
    }

    /// [`put`](Self::put), of what a verified identity did, or nobody.
    fn put_by(&mut self, identity: Option<&Identity>, content: &Content<'_>) -> Option<Box<str>> {
        let at = self.at(identity.map(|identity| identity.tenant().id()));
        let chain = self.chains.get_mut(at)?;
        if chain.slot.is_none() {
            self.touched.push(at);
            // A new batch goes where the tenant's data must stay by now.
            if let Some(identity) = identity {
                chain.region = identity.tenant().region();
            }
        }
        let (batch, spare) = (&mut self.batch, &mut self.spare);
        let event_id = chain.add(content, &mut self.encoder, batch, spare, &mut self.event_id)?;
        matches!(content.what, What::Intent(_)).then(|| event_id.into())
    }

    /// Adds a request's record to the chain of its verified tenant, or to the platform's.
    pub(crate) fn request(&mut self, cell: &TrailCell<Request>, now: Now) {
        let facts = cell.with(std::mem::take);
        let request = cell.record();
        let identity = facts.identity.as_deref();
        let intent = request.intent.get().map(|intent| &**intent);
        let content = Content {
            actor: identity.map_or(Actor::Anonymous, Actor::Verified),
            at: intent.map_or_else(|| now.of(request.arrival), |intent| intent.at),
            facts: &facts,
            what: What::Request(request),
            intent,
        };
        self.put_by(identity, &content);
    }

    /// Adds the record of a request whose handler is about to run. Its outcome will have the same id.
    pub(crate) fn intent(&mut self, trail: &Trail, now: Now) {
        let Some(request) = trail.record::<Request>() else {
            return;
        };
        trail.with(|facts| {
            let identity = facts.identity.as_deref();
            let at = now.of(request.arrival);
            let content = Content {
                actor: identity.map_or(Actor::Anonymous, Actor::Verified),
                at,
                facts,
                what: What::Intent(request),
                intent: None,
            };
            if let Some(event_id) = self.put_by(identity, &content) {
                // Written once: a request has one intent.
                let _known = request.intent.set(Box::new(Intent { event_id, at }));
            }
        });
    }

    /// Adds an event's record.
    pub(crate) fn event(&mut self, occurred: &Occurred) {
        let (actor, identity) = match &occurred.who {
            Who::Tenant(context) => (Actor::Verified(context), Some(&**context)),
            Who::System(task) => (Actor::System(task), None),
        };
        let content = Content {
            actor,
            at: occurred.at,
            facts: &occurred.facts,
            what: What::Event {
                outcome: occurred.outcome,
                reason: occurred.reason.as_deref(),
            },
            intent: None,
        };
        self.put_by(identity, &content);
    }

    /// The batch made so far, if there is any.
    pub(crate) fn take(&mut self) -> Option<Arc<Batch>> {
        if self.batch.is_empty() {
            return None;
        }
        let lines = std::mem::take(&mut self.batch);
        for at in self.touched.drain(..) {
            if let Some(chain) = self.chains.get_mut(at) {
                chain.slot = None;
            }
        }
        Some(Arc::new(Batch::new(lines)))
    }

    /// Takes back the buffers of a batch that is written, if nobody else holds it.
    pub(crate) fn give_back(&mut self, batch: Arc<Batch>) {
        let Some(batch) = Arc::into_inner(batch) else {
            return;
        };
        for mut lines in batch.into_buffers() {
            if self.spare.len() < SPARE && lines.capacity() <= SPARE_BYTES {
                lines.clear();
                self.spare.push(lines);
            }
        }
    }
}
