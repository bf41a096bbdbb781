//! From entries to chained lines: the worker's books.

use std::{borrow::Cow, collections::HashMap, sync::Arc};

use tenant_context::{TenantId, Trail, TrailCell, TrailFacts, UnixTime};

use crate::{
    Batch, ChainBatch, ChainId, Head, Outcome, Recovery, Resumed,
    chain::{FieldHasher, seal},
    queue::{Losses, Occurred, Who},
    record::{Actor, Draft, What, encode, micros},
    request::Request,
};

/// One chain, as far as it is written or about to be.
struct Chain {
    id: ChainId,
    head: Head,
    /// This process's mark in the chain's event ids.
    mark: u64,
    /// Where the chain's lines of the current batch stand.
    slot: Option<usize>,
}

/// All chains of this process, and the batch that is being made.
pub(crate) struct Ledger {
    platform: Chain,
    tenants: HashMap<TenantId, Chain>,
    secret: u64,
    batch: Vec<ChainBatch>,
    /// Reused for each record's bytes.
    record: Vec<u8>,
}

/// What a record's place in its chain adds to it.
struct Content<'a> {
    actor: Actor<'a>,
    at: UnixTime,
    facts: &'a TrailFacts,
    what: What<'a>,
    /// The id of the intent whose outcome this is.
    intent: Option<&'a str>,
}

impl Chain {
    /// The mark differs from chain to chain: an id shows its tenant nothing of the others.
    fn new(id: ChainId, head: Head, secret: u64) -> Self {
        let digest = FieldHasher::new("tenant-audit/mark/1")
            .field(&secret.to_be_bytes())
            .field(id.file_name().as_bytes())
            .finish();
        let mark = digest
            .first_chunk()
            .map_or(0, |bytes| u64::from_be_bytes(*bytes));
        Self {
            id,
            head,
            mark,
            slot: None,
        }
    }

    /// Adds a record, and gives its event id.
    fn add(
        &mut self,
        content: &Content<'_>,
        batch: &mut Vec<ChainBatch>,
        record: &mut Vec<u8>,
    ) -> Option<String> {
        // Ordered by time; unique by the process's mark and the number in the chain.
        let event_id = content.intent.map_or_else(
            || {
                format!(
                    "{:014x}-{:016x}-{:x}",
                    micros(content.at),
                    self.mark,
                    self.head.seq.saturating_add(1)
                )
            },
            str::to_owned,
        );
        let draft = Draft {
            event_id: &event_id,
            tenant: self.id.tenant().map(AsRef::as_ref),
            actor: content.actor,
            at: content.at,
            facts: content.facts,
            what: match content.what {
                What::Request(request) => What::Request(request),
                What::Intent(request) => What::Intent(request),
                What::Event { outcome, reason } => What::Event { outcome, reason },
            },
        };
        record.clear();
        if let Err(error) = encode(&draft, record) {
            // Text, integers and finite numbers always encode.
            tracing::error!(
                error = &error as &dyn std::error::Error,
                event_id,
                "a record could not be encoded"
            );
            return None;
        }
        let slot = *self.slot.get_or_insert(batch.len());
        if slot == batch.len() {
            batch.push(ChainBatch::new(self.id.clone()));
        }
        if let Some(lines) = batch.get_mut(slot) {
            lines.push(|out| seal(&self.id, &mut self.head, record, out));
            lines.head = self.head;
            match content.what {
                What::Intent(_) => lines.opened.push(event_id.clone()),
                _ if content.intent.is_some() => lines.closed.push(event_id.clone()),
                _ => {}
            }
        }
        Some(event_id)
    }
}

impl Ledger {
    /// Takes the chains up where the sink left them. What the sink had to recover is recorded first.
    pub(crate) fn resume(resumed: Vec<Resumed>, secret: u64, now: UnixTime) -> Self {
        let mut ledger = Self {
            platform: Chain::new(ChainId::platform(), Head::default(), secret),
            tenants: HashMap::new(),
            secret,
            batch: Vec::new(),
            record: Vec::with_capacity(1024),
        };
        for Resumed {
            chain,
            head,
            recovery,
            intents,
        } in resumed
        {
            let chain = Chain::new(chain, head, secret);
            let id = chain.id.clone();
            match id.tenant() {
                None => ledger.platform = chain,
                Some(tenant) => {
                    ledger.tenants.insert(tenant.clone(), chain);
                }
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

    fn put(&mut self, tenant: Option<&TenantId>, content: &Content<'_>) -> Option<String> {
        let chain = match tenant {
            None => &mut self.platform,
            Some(tenant) => {
                if !self.tenants.contains_key(tenant) {
                    let id = ChainId::of_tenant(tenant.clone());
                    let chain = Chain::new(id, Head::default(), self.secret);
                    self.tenants.insert(tenant.clone(), chain);
                }
                self.tenants.get_mut(tenant)?
            }
        };
        chain.add(content, &mut self.batch, &mut self.record)
    }

    /// Adds a request's record to the chain of its verified tenant, or to the platform's.
    pub(crate) fn request(&mut self, cell: &TrailCell<Request>) {
        let facts = cell.with(std::mem::take);
        let request = cell.record();
        let identity = facts.identity.clone();
        let content = Content {
            actor: identity
                .as_deref()
                .map_or(Actor::Anonymous, Actor::Verified),
            at: request.arrival.unix,
            facts: &facts,
            what: What::Request(request),
            intent: request.intent.get().map(AsRef::as_ref),
        };
        let tenant = identity.as_deref().map(|identity| identity.tenant().id());
        self.put(tenant, &content);
    }

    /// Adds the record of a request whose handler is about to run. Its outcome will have the same id.
    pub(crate) fn intent(&mut self, trail: &Trail) {
        let Some(request) = trail.record::<Request>() else {
            return;
        };
        trail.with(|facts| {
            let identity = facts.identity.clone();
            let content = Content {
                actor: identity
                    .as_deref()
                    .map_or(Actor::Anonymous, Actor::Verified),
                at: request.arrival.unix,
                facts,
                what: What::Intent(request),
                intent: None,
            };
            let tenant = identity.as_deref().map(|identity| identity.tenant().id());
            if let Some(event_id) = self.put(tenant, &content) {
                // Written once: a request has one intent.
                let _known = request.intent.set(event_id.into());
            }
        });
    }

    /// Adds an event's record.
    pub(crate) fn event(&mut self, occurred: &Occurred) {
        let (actor, tenant) = match &occurred.who {
            Who::Tenant(context) => (Actor::Verified(context), Some(context.tenant_id())),
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
        self.put(tenant, &content);
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
            actor: Actor::System("tenant-audit"),
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
        let chains = std::mem::take(&mut self.batch);
        for chain in &chains {
            let known = match chain.chain().tenant() {
                None => Some(&mut self.platform),
                Some(tenant) => self.tenants.get_mut(tenant),
            };
            if let Some(known) = known {
                known.slot = None;
            }
        }
        Some(Arc::new(Batch::new(chains)))
    }
}
