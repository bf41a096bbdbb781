//! The keys of an issuer: one signs, all that may have signed are published.

use std::{fmt, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use serde_json::json;
use tenant_context::UnixTime;

use super::{Body, TokenIssuer};
use crate::{Issuer, KeyError, SigningKey, VerifyingKey};

/// The most keys that are published at a time.
const MAX_KEYS: usize = 16;

pub(super) struct Keys {
    /// Oldest first.
    entries: ArcSwap<Vec<Arc<Entry>>>,
    changing: Mutex<()>,
    publish_ahead: Duration,
}

#[derive(Clone)]
pub(super) struct Entry {
    key: SigningKey,
    header: Box<str>,
    signs_from: UnixTime,
    published_until: UnixTime,
}

impl Entry {
    fn new(key: SigningKey, signs_from: UnixTime) -> Result<Arc<Self>, KeyError> {
        if key.jwk().is_none() {
            return Err(KeyError::unsupported(
                "a secret is not published; sign with Ed25519, P-256 or RSA",
            ));
        }
        Ok(Arc::new(Self {
            header: key.header("at+jwt").into(),
            key,
            signs_from,
            published_until: UnixTime::MAX,
        }))
    }

    pub(super) fn token<'a>(&self, body: Body<'a>, jti: &'a str) -> Result<String, KeyError> {
        self.key.token(&self.header, &body.into_json(jti)?)
    }
}

impl Keys {
    pub(super) fn new(key: SigningKey, publish_ahead: Duration) -> Result<Self, KeyError> {
        let first = Entry::new(key, UnixTime::default())?;
        Ok(Self {
            entries: ArcSwap::from_pointee(vec![first]),
            changing: Mutex::new(()),
            publish_ahead,
        })
    }

    pub(super) const fn publish_ahead(&self) -> Duration {
        self.publish_ahead
    }

    /// The newest key that may sign; where the clock was set back, the oldest.
    pub(super) fn current(&self, now: UnixTime) -> Result<Arc<Entry>, KeyError> {
        let entries = self.entries.load();
        let newest = entries.iter().rev().find(|entry| entry.signs_from <= now);
        newest
            .or(entries.first())
            .cloned()
            .ok_or_else(|| KeyError::unsupported("the issuer has no key"))
    }

    pub(super) fn rotate(&self, key: SigningKey, now: UnixTime) -> Result<(), KeyError> {
        let signs_from = now.saturating_add(self.publish_ahead);
        let new = Entry::new(key, signs_from)?;
        // A token that was signed at the last moment lives to here, by the slowest clock.
        let last = signs_from
            .saturating_add(TokenIssuer::MAX_TTL)
            .saturating_add(Issuer::MAX_LEEWAY);
        let changing = self.changing.lock();
        let mut entries: Vec<Arc<Entry>> = Vec::clone(&self.entries.load());
        entries.retain(|entry| entry.published_until > now);
        if entries.iter().any(|entry| entry.key.kid() == new.key.kid()) {
            return Err(KeyError::format(format!(
                "a key named {:?} is published already; give each a name of its own",
                new.key.kid()
            )));
        }
        if entries.len() >= MAX_KEYS {
            return Err(KeyError::unsupported(format!(
                "{MAX_KEYS} keys are published already; rotate less often, or withdraw one"
            )));
        }
        for entry in &mut entries {
            if entry.published_until > last {
                Arc::make_mut(entry).published_until = last;
            }
        }
        entries.push(new);
        self.entries.store(Arc::new(entries));
        drop(changing);
        Ok(())
    }

    pub(super) fn withdraw(&self, kid: &str, now: UnixTime) -> bool {
        let changing = self.changing.lock();
        let signs = self.current(now).is_ok_and(|entry| entry.key.kid() == kid);
        let mut entries: Vec<Arc<Entry>> = Vec::clone(&self.entries.load());
        let before = entries.len();
        entries.retain(|entry| entry.key.kid() != kid);
        let withdrawn = !entries.is_empty() && entries.len() < before;
        if withdrawn {
            if let Some(newest) = entries.last_mut() {
                let newest = Arc::make_mut(newest);
                // What follows it, if anything did, is gone.
                newest.published_until = UnixTime::MAX;
                if signs {
                    newest.signs_from = UnixTime::default();
                }
            }
            self.entries.store(Arc::new(entries));
        }
        drop(changing);
        withdrawn
    }

    pub(super) fn published(&self, now: UnixTime) -> Vec<VerifyingKey> {
        let entries = self.entries.load();
        let published = entries.iter().filter(|entry| entry.published_until > now);
        published.map(|entry| entry.key.verifying_key()).collect()
    }

    pub(super) fn jwks(&self, now: UnixTime) -> String {
        let entries = self.entries.load();
        let published = entries.iter().filter(|entry| entry.published_until > now);
        let keys: Vec<_> = published.filter_map(|entry| entry.key.jwk()).collect();
        json!({ "keys": keys }).to_string()
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let entries = self.entries.load();
        f.debug_list()
            .entries(entries.iter().map(|entry| entry.key.kid()))
            .finish()
    }
}
