//! From entries to chained lines: the worker's books.

use std::{borrow::Cow, collections::HashMap, sync::Arc};

use tenant_context::{
    Clock, Identity, Monotonic, TenantId, Trail, TrailCell, TrailFacts, UnixTime,
};

use crate::{
    Batch, ChainBatch, ChainId, Expired, Head, Outcome, Recovery, Resumed,
    chain::{ChainKey, FieldHasher, hex_digits, seal},
    queue::{Losses, Occurred, Who},
    record::{Actor, Draft, Encoder, What},
    request::{Intent, Request},
    stamp::micros,
};

/// One chain, as far as it is written or about to be.
struct Chain {
    id: ChainId,
    key: ChainKey,
    head: Head,
    /// This process's mark in the chain's event ids, in hexadecimal digits.
    mark: [u8; 16],
    region: Option<Arc<str>>,
    /// Where the chain's lines of the current batch stand.
    slot: Option<usize>,
}

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

/// What a record's place in its chain adds to it.
struct Content<'a> {
    actor: Actor<'a>,
    at: UnixTime,
    facts: &'a TrailFacts,
    what: What<'a>,
    /// The intent whose outcome this is.
    intent: Option<&'a Intent>,
}

/// Who makes the audit's own records.
pub(crate) const OWN_ACTOR: &str = "tenant-audit";

/// Buffers that are kept for the next batch, and how long they may be.
const SPARE: usize = 64;
const SPARE_BYTES: usize = 4 << 20;

impl Chain {
    /// The mark differs from chain to chain: an id shows its tenant nothing of the others.
    fn new(id: ChainId, head: Head, secret: u64) -> Self {
        let digest = FieldHasher::new("tenant-audit/mark/1")
            .field(&secret.to_be_bytes())
            .field(id.file_name().as_bytes())
            .finish();
        let mut mark = [b'0'; 16];
        if let Some(bytes) = digest.first_chunk::<8>() {
            hex_digits(bytes, &mut mark);
        }
        Self {
            key: ChainKey::of(&id),
            id,
            head,
            mark,
            region: None,
            slot: None,
        }
    }

    /// Ordered by time; unique by the process's mark and the number in the chain.
    fn event_id(&self, at: UnixTime, out: &mut Vec<u8>) {
        out.clear();
        hexadecimal(micros(at), 14, out);
        out.push(b'-');
        out.extend_from_slice(&self.mark);
        out.push(b'-');
        hexadecimal(self.head.seq.saturating_add(1), 1, out);
    }

    /// Adds a record, and gives its event id.
    fn add<'a>(
        &mut self,
        content: &'a Content<'_>,
        encoder: &mut Encoder,
        batch: &mut Vec<ChainBatch>,
        spare: &mut Vec<Vec<u8>>,
        buffer: &'a mut Vec<u8>,
    ) -> Option<&'a str> {
        let event_id = if let Some(intent) = content.intent {
            &*intent.event_id
        } else {
            self.event_id(content.at, buffer);
            // Digits and dashes.
            std::str::from_utf8(buffer).unwrap_or_default()
        };
        let draft = Draft {
            event_id,
            tenant: self.id.tenant().map(AsRef::as_ref),
            actor: content.actor,
            at: content.at,
            facts: content.facts,
            what: content.what,
        };
        let slot = *self.slot.get_or_insert(batch.len());
        if slot == batch.len() {
            let lines = spare.pop().unwrap_or_default();
            batch.push(ChainBatch::new(
                self.id.clone(),
                self.head,
                lines,
                self.region.clone(),
            ));
        }
        let lines = batch.get_mut(slot)?;
        let sealed = lines.push(content.at, |out| {
            seal(&self.key, &mut self.head, out, |out| {
                encoder.encode(&draft, out)
            })
        });
        if let Err(error) = sealed {
            // Text, integers and finite numbers always encode.
            tracing::error!(
                error = &error as &dyn std::error::Error,
                event_id,
                "a record could not be encoded"
            );
            return None;
        }
        lines.head = self.head;
        match content.what {
            What::Intent(_) => lines.opened.push(event_id.to_owned()),
            _ if content.intent.is_some() => lines.closed.push(event_id.to_owned()),
            _ => {}
        }
        Some(event_id)
    }
}

/// At least so many hexadecimal digits.
fn hexadecimal(value: u64, least: usize, out: &mut Vec<u8>) {
    let mut digits = [b'0'; 16];
    hex_digits(&value.to_be_bytes(), &mut digits);
    let zeros = digits.iter().take_while(|digit| **digit == b'0').count();
    let from = zeros.min(digits.len().saturating_sub(least));
    out.extend_from_slice(digits.get(from..).unwrap_or_default());
}

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
        let intent = request.intent.get();
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
                let _known = request.intent.set(Intent { event_id, at });
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

    /// Adds the records of what has been kept for long enough. The sink deletes it when they are durable.
    pub(crate) fn expire(&mut self, expired: Vec<Expired>, now: UnixTime) {
        for one in expired {
            let details = [
                ("hash", hex::encode(one.through.hash()).into()),
                ("through", one.through.seq().into()),
            ];
            self.own(
                one.chain.tenant(),
                Expired::ACTION,
                Outcome::Success,
                "retention",
                &details,
                now,
            );
            let lines = self.batch.iter_mut();
            if let Some(lines) = lines.rev().find(|lines| *lines.chain() == one.chain) {
                lines.expired = Some(one.through);
            }
        }
    }

    /// Adds the records of a gap: how many requests of each tenant were served, and how many refused,
    /// without one.
    pub(crate) fn gap(&mut self, losses: &mut Losses, now: UnixTime) {
        for (tenant, dropped) in losses.dropped.drain() {
            self.own(
                tenant.as_ref(),
                "audit.gap",
                Outcome::Failure,
                "queue_full",
                &[("requests", dropped.into())],
                now,
            );
        }
        for (reason, count) in losses.anonymous.drain() {
            let facts = [("reason", reason.into()), ("requests", count.into())];
            self.own(
                None,
                "audit.refusals",
                Outcome::Blocked,
                "refused_before_identity",
                &facts,
                now,
            );
        }
        let refused = std::mem::take(&mut losses.refused);
        if refused > 0 {
            self.own(
                None,
                "audit.refused",
                Outcome::Blocked,
                "audit-unavailable",
                &[("requests", refused.into())],
                now,
            );
        }
    }

    fn recovered(&mut self, chain: &ChainId, recovery: &Recovery, now: UnixTime) {
        let mut details = vec![("unsealed_records", recovery.unsealed_records.into())];
        if let Some(torn) = &recovery.torn {
            details.push(("torn_bytes", torn.bytes.into()));
            details.push(("torn_sha256", hex::encode(torn.sha256).into()));
        }
        self.own(
            chain.tenant(),
            Recovery::ACTION,
            Outcome::Success,
            "unclean_shutdown",
            &details,
            now,
        );
    }

    /// Reports the intents that have no outcome: whether their handlers ran is not known.
    fn intents(&mut self, chain: &ChainId, mut intents: Vec<String>, now: UnixTime) {
        const SHOWN: usize = 16;
        let shown: Vec<&str> = intents.iter().take(SHOWN).map(AsRef::as_ref).collect();
        tracing::error!(
            chain = %chain,
            intents = intents.len(),
            "requests were about to be served when the process ended: their outcomes are not known"
        );
        let details = [
            ("event_ids", serde_json::Value::from(shown)),
            ("intents", intents.len().into()),
        ];
        self.own(
            chain.tenant(),
            "audit.intent_open",
            Outcome::Failure,
            "unclean_shutdown",
            &details,
            now,
        );
        if let Some(lines) = self.batch.iter_mut().find(|lines| lines.chain() == chain) {
            lines.closed.append(&mut intents);
        }
    }

    /// A record of the audit's own.
    fn own(
        &mut self,
        tenant: Option<&TenantId>,
        action: &'static str,
        outcome: Outcome,
        reason: &'static str,
        details: &[(&'static str, serde_json::Value)],
        at: UnixTime,
    ) {
        let mut facts = TrailFacts::default();
        facts.action = Some(action.into());
        facts.details = details
            .iter()
            .map(|(name, value)| (Cow::Borrowed(*name), value.clone()))
            .collect();
        let content = Content {
            actor: Actor::System(OWN_ACTOR),
            at,
            facts: &facts,
            what: What::Event {
                outcome,
                reason: Some(reason),
            },
            intent: None,
        };
        self.put(tenant, &content);
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn hexadecimal_is_as_the_standard_library_writes_it(value in any::<u64>(), shift in 0_u32..64) {
            for value in [value, value >> shift, 0] {
                let mut out = Vec::new();
                hexadecimal(value, 14, &mut out);
                prop_assert_eq!(String::from_utf8(out).unwrap(), format!("{value:014x}"));
                let mut out = Vec::new();
                hexadecimal(value, 1, &mut out);
                prop_assert_eq!(String::from_utf8(out).unwrap(), format!("{value:x}"));
            }
        }
    }
}
