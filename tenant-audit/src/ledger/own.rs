//! The audit's own records: what expired, what was lost, what a crash left.

use std::borrow::Cow;

use tenant_context::{TenantId, TrailFacts, UnixTime};

use super::{Ledger, chain::Content};
use crate::{ChainId, Expired, Outcome, Recovery, actor::Actor, draft::What, queue::Losses};

/// Who makes the audit's own records.
pub(crate) const OWN_ACTOR: &str = "tenant-audit";

impl Ledger {
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

    pub(super) fn recovered(&mut self, chain: &ChainId, recovery: &Recovery, now: UnixTime) {
        let mut details = vec![("unsealed_records", recovery.unsealed_records.into())];
        if let Some(torn) = &recovery.torn {
            details.push(("torn_bytes", torn.bytes.into()));
            details.push(("torn_sha256", hex::encode(torn.sha256).into()));
        }
        if recovery.spills > 0 {
            details.push(("spills_deleted", recovery.spills.into()));
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
    pub(super) fn intents(&mut self, chain: &ChainId, mut intents: Vec<String>, now: UnixTime) {
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
}
