//! One issued key: what it stands for, and who is using it.

use std::{
    net::IpAddr,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
};

use parking_lot::Mutex;
use serde_json::Value;
use tenant_context::{Claims, CredentialId, Identity, Network, Rejection, UnixTime};

use super::NewApiKey;
use crate::reason::Reason;

pub(crate) struct Record {
    claims: Claims,
    not_before: UnixTime,
    networks: Box<[Network]>,
    /// Whether it is hashed with an older secret.
    outdated: AtomicBool,
    live: Mutex<Live>,
}

#[derive(Default)]
struct Live {
    revoked: bool,
    /// The identities made from this key: what a revocation has to reach.
    identities: Vec<Weak<Identity>>,
}

impl Record {
    pub(super) fn new(new: NewApiKey, id: CredentialId) -> Self {
        let mut claims = Claims::new(new.tenant, new.principal, new.expires_at)
            .scopes(new.scopes)
            .roles(new.roles)
            .credential(id);
        claims.issued_at = new.issued_at;
        if !new.labels.is_empty() {
            let labels = new.labels.into_iter();
            let labels = labels.map(|(name, value)| (name, Value::String(value)));
            claims
                .custom
                .insert("labels".to_owned(), Value::Object(labels.collect()));
        }
        Self {
            claims,
            not_before: new.not_before,
            networks: new.networks.into(),
            outdated: AtomicBool::new(false),
            live: Mutex::default(),
        }
    }

    pub(crate) const fn claims(&self) -> &Claims {
        &self.claims
    }

    /// Whether the key is valid now.
    pub(super) fn check(&self, now: UnixTime) -> Result<(), Reason> {
        if self.live.lock().revoked {
            Err("revoked")
        } else if now >= self.claims.expires_at {
            Err("expired")
        } else if now < self.not_before {
            Err("not_yet_valid")
        } else {
            Ok(())
        }
    }

    /// Whether the key is to be presented to the store again, to be hashed with the newest secret.
    pub(crate) fn is_outdated(&self) -> bool {
        self.outdated.load(Ordering::Acquire)
    }

    pub(super) fn set_outdated(&self, outdated: bool) {
        self.outdated.store(outdated, Ordering::Release);
    }

    /// Whether the key may be used from this address, which is asked for only if it matters. `None`: it
    /// is not known.
    pub(crate) fn allows(&self, address: impl FnOnce() -> Option<IpAddr>) -> Result<(), Reason> {
        let inside = |address: IpAddr| {
            let mut networks = self.networks.iter();
            networks.any(|network| network.contains(address))
        };
        if self.networks.is_empty() || address().is_some_and(inside) {
            Ok(())
        } else {
            Err("api_key_network")
        }
    }

    /// Ties an identity to the key: a revocation that landed while it was being made refuses it, a
    /// later one ends it wherever it is held.
    pub(crate) fn adopt(&self, identity: &Arc<Identity>) -> Result<(), Rejection> {
        let mut live = self.live.lock();
        if live.revoked {
            return Err(Rejection::credential_invalid("revoked"));
        }
        if live.identities.len() == live.identities.capacity() {
            live.identities.retain(|known| known.strong_count() > 0);
            // Twice as much room as is used, so that the next sweep is that many identities away.
            let room = live.identities.len().max(4);
            live.identities.reserve(room);
        }
        live.identities.push(Arc::downgrade(identity));
        Ok(())
    }

    pub(super) fn revoke(&self) {
        let identities = {
            let mut live = self.live.lock();
            live.revoked = true;
            std::mem::take(&mut live.identities)
        };
        // Wakers are anybody's code: not under the lock.
        for identity in identities.iter().filter_map(Weak::upgrade) {
            identity.revoke();
        }
    }
}
