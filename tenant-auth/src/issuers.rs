//! The issuers that are trusted: added and removed while requests are served.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tenant_context::{ConfigError, Parent};

use crate::{
    Issuer, issuer,
    jwks::{Arrival, LiveKeys, State},
    jwt::Unverified,
    origin::Seal,
    reason::Reason,
    ring::Ring,
};

/// The issuers that a layer trusts, as a handle: they are added and removed while it serves, hundreds
/// of them, without a restart. Clones are the same set.
///
/// A change holds for the next request before the call returns, also for credentials that are
/// cached. Requests that have been admitted go on.
///
/// ```
/// use tenant_auth::{Issuer, Issuers, VerifyingKey};
///
/// let issuers = Issuers::new();
/// # let tenants = tenant_auth::CachedRegistry::builder(tenant_auth::MemoryRegistry::new()).build()?;
/// let layer = tenant_auth::layer(tenants).issuers(issuers.clone()).build()?;
///
/// let issuer = Issuer::new("https://id.customer.example").audience("api");
/// issuers.add(issuer.key(VerifyingKey::hs256([7; 32])))?;       // a customer brings its own
/// assert!(issuers.remove("https://id.customer.example"));       // and leaves
/// # Ok::<(), tenant_auth::ConfigError>(())
/// ```
#[derive(Clone, Default)]
pub struct Issuers(Arc<Inner>);

#[derive(Default)]
struct Inner {
    table: ArcSwap<Table>,
    /// One change at a time; readers never wait.
    changing: Mutex<()>,
    /// How many issuers have been removed.
    removals: AtomicU64,
}

#[derive(Clone, Default)]
pub(crate) struct Table {
    by_name: HashMap<Box<str>, Arc<Trusted>>,
    templates: Vec<Arc<Trusted>>,
    removed: Removed,
}

/// Issuers that were trusted once: what was derived from their tokens is signed by others.
#[derive(Clone, Default)]
struct Removed {
    names: HashSet<Arc<str>>,
    templates: HashSet<Arc<str>>,
    /// There were more than are kept: whoever is not trusted now counts as removed.
    more: bool,
}

/// The issuer that a token names.
pub(crate) struct Named<'n> {
    pub(crate) trusted: &'n Trusted,
    /// The token's `iss`.
    pub(crate) iss: &'n str,
    /// The tenant in it, if it is one of a template's.
    pub(crate) tenant: Option<&'n str>,
}

/// An issuer that is trusted, or was.
pub(crate) struct Trusted {
    pub(crate) name: Arc<str>,
    pub(crate) issuer: Issuer,
    pub(crate) keys: Keys,
    pub(crate) seal: Arc<Seal>,
}

/// The keys of an issuer.
pub(crate) enum Keys {
    Given(Arc<Ring>),
    Live(Arc<LiveKeys>),
}

impl Keys {
    /// The keys as they are now; otherwise the fetch to wait for, if `patient`.
    pub(crate) fn ring(&self, patient: bool) -> Result<Arc<Ring>, Unverified> {
        let keys = match self {
            Self::Given(ring) => return Ok(Arc::clone(ring)),
            Self::Live(keys) => keys,
        };
        if let State::Usable(ring) = keys.state() {
            return Ok(ring);
        }
        match keys.first() {
            Some(arrival) if patient => Err(Unverified::Wait(arrival)),
            _ => match keys.state() {
                // Fetched in between.
                State::Usable(ring) => Ok(ring),
                State::Unusable => Err(Unverified::Unavailable),
            },
        }
    }

    /// A token names a key that is not among them: the fetch to wait for, if there is one.
    pub(crate) fn unknown(&self, kid: &str) -> Option<Arrival> {
        match self {
            Self::Given(_) => None,
            Self::Live(keys) => keys.unknown(kid),
        }
    }
}

impl Issuers {
    /// The most issuers of one handle.
    pub const MAX: usize = 10_000;
    /// The most [templates](Issuer::template) among them.
    pub const MAX_TEMPLATES: usize = 64;

    /// No issuer yet: no token is accepted.
    pub fn new() -> Self {
        Self::default()
    }

    /// Trusts an issuer.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if the issuer or one of its keys cannot be used, if there is one of this name
    /// already ([`replace`](Self::replace) it), or if there are [`MAX`](Self::MAX).
    pub fn add(&self, issuer: Issuer) -> Result<(), ConfigError> {
        self.change(issuer, |known, name| {
            if known {
                return Err(ConfigError::new(format!(
                    "issuer {name:?} is given twice; give one issuer all audiences and keys"
                )));
            }
            Ok(())
        })
    }

    /// Trusts an issuer in place of the one of its name, if there is one. What that one had admitted is
    /// verified anew, by what is said now.
    ///
    /// # Errors
    ///
    /// As [`add`](Self::add); then the old one stays.
    pub fn replace(&self, issuer: Issuer) -> Result<(), ConfigError> {
        self.change(issuer, |_, _| Ok(()))
    }

    /// Trusts this issuer no longer, nor what it has admitted, nor what others derived from that: a delegated
    /// or a service token whose chain names it is refused until it is trusted again. False if there was none of
    /// this name. Jobs ask where they were given the issuers
    /// ([`JobsBuilder::issuers`](crate::jobs::JobsBuilder::issuers)).
    pub fn remove(&self, name: &str) -> bool {
        let changing = self.0.changing.lock();
        let mut table = Table::clone(&self.0.table.load());
        let removed = table.take(name);
        if let Some(removed) = &removed {
            table.removed.add(removed);
            self.0.table.store(Arc::new(table));
            removed.seal.break_for_good();
            // After the table: whoever has seen this number has seen that table.
            self.0.removals.fetch_add(1, Ordering::SeqCst);
        }
        drop(changing);
        removed.is_some()
    }

    /// How many issuers are trusted.
    pub fn len(&self) -> usize {
        self.0.table.load().len()
    }

    /// Whether no issuer is trusted.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn change(
        &self,
        issuer: Issuer,
        allow: impl FnOnce(bool, &str) -> Result<(), ConfigError>,
    ) -> Result<(), ConfigError> {
        issuer.check()?;
        let trusted = Arc::new(Trusted::new(issuer));
        let changing = self.0.changing.lock();
        let mut table = Table::clone(&self.0.table.load());
        let name = &trusted.name;
        allow(table.get(name).is_some(), name)?;
        let old = table.take(name);
        table.put(&trusted);
        if table.len() > Self::MAX || table.templates.len() > Self::MAX_TEMPLATES {
            return Err(ConfigError::new(format!(
                "there are {} issuers or {} templates already; remove those that are not used",
                Self::MAX,
                Self::MAX_TEMPLATES
            )));
        }
        self.0.table.store(Arc::new(table));
        // After the table: whoever still finds the old one has a seal that will be broken.
        if let Some(old) = old {
            old.seal.break_for_good();
        }
        drop(changing);
        Ok(())
    }

    pub(crate) fn table(&self) -> arc_swap::Guard<Arc<Table>> {
        self.0.table.load()
    }

    pub(crate) fn removals(&self) -> u64 {
        self.0.removals.load(Ordering::SeqCst)
    }

    /// Whether an issuer was trusted here once and is no longer.
    pub(crate) fn has_removed(&self, name: &str) -> bool {
        self.0.table.load().has_removed(name)
    }
}

impl Removed {
    /// About 100 bytes each.
    const MAX: usize = 10_000;

    fn add(&mut self, trusted: &Trusted) {
        let names = if trusted.issuer.template.is_some() {
            &mut self.templates
        } else {
            &mut self.names
        };
        names.insert(Arc::clone(&trusted.name));
        if self.names.len().saturating_add(self.templates.len()) > Self::MAX {
            *self = Self {
                more: true,
                ..Self::default()
            };
        }
    }

    fn contains(&self, name: &str) -> bool {
        let mut templates = self.templates.iter();
        self.more
            || self.names.contains(name)
            || templates.any(|template| issuer::is_of_template(template, name))
    }
}

impl Table {
    /// The issuer that a token names. It is not verified yet: it only selects. One that two templates
    /// give is none.
    pub(crate) fn select<'n>(&'n self, iss: &'n str) -> Result<Named<'n>, Reason> {
        if let Some(trusted) = self.by_name.get(iss) {
            return Ok(Named {
                trusted,
                iss,
                tenant: None,
            });
        }
        let mut named = self.templates.iter().filter_map(|trusted| {
            let tenant = trusted.issuer.tenant_of(iss)?;
            Some(Named {
                trusted,
                iss,
                tenant: Some(tenant),
            })
        });
        match (named.next(), named.next()) {
            (Some(named), None) => Ok(named),
            _ => Err("issuer"),
        }
    }

    /// Whether nobody was removed who issued one of these.
    pub(crate) fn stand_behind(&self, parents: &[Parent]) -> Result<(), Reason> {
        let mut issuers = parents.iter().filter_map(|parent| parent.issuer.as_deref());
        if issuers.any(|name| self.has_removed(name)) {
            return Err("issuer");
        }
        Ok(())
    }

    fn has_removed(&self, name: &str) -> bool {
        self.removed.contains(name) && self.select(name).is_err()
    }

    fn get(&self, name: &str) -> Option<&Arc<Trusted>> {
        let template = || self.templates.iter().find(|known| *known.name == *name);
        self.by_name.get(name).or_else(template)
    }

    fn take(&mut self, name: &str) -> Option<Arc<Trusted>> {
        self.by_name.remove(name).or_else(|| {
            let at = self
                .templates
                .iter()
                .position(|known| *known.name == *name)?;
            Some(self.templates.remove(at))
        })
    }

    fn put(&mut self, trusted: &Arc<Trusted>) {
        self.removed.names.remove(&trusted.name);
        self.removed.templates.remove(&trusted.name);
        if trusted.issuer.template.is_some() {
            self.templates.push(Arc::clone(trusted));
        } else {
            let name = Box::from(&*trusted.name);
            self.by_name.insert(name, Arc::clone(trusted));
        }
    }

    fn len(&self) -> usize {
        self.by_name.len().saturating_add(self.templates.len())
    }
}

impl Trusted {
    fn new(mut issuer: Issuer) -> Self {
        let name: Arc<str> = issuer.name.clone().into();
        let keys = match issuer.take_keys() {
            (_, Some(source)) => Keys::Live(source.begin(Arc::clone(&name), issuer.algorithms)),
            (keys, None) => Keys::Given(Arc::new(Ring::lasting(keys))),
        };
        Self {
            name,
            keys,
            issuer,
            seal: Seal::lasting(),
        }
    }
}

impl fmt::Debug for Issuers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issuers")
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, reason = "tests")]
mod tests {
    use super::*;
    use crate::VerifyingKey;

    fn issuer(name: impl Into<String>) -> Issuer {
        let key = VerifyingKey::hs256([7; 32]);
        Issuer::new(name).audience("api").key(key)
    }

    /// A handle with so many issuers.
    fn with(count: usize) -> Issuers {
        let trusted = Arc::new(Trusted::new(issuer("any")));
        let mut table = Table::default();
        for number in 0..count {
            let name = format!("issuer-{number}").into();
            table.by_name.insert(name, Arc::clone(&trusted));
        }
        let issuers = Issuers::new();
        issuers.0.table.store(Arc::new(table));
        issuers
    }

    #[test]
    fn i6_issuers_and_templates_are_bounded() {
        let issuers = with(Issuers::MAX - 1);
        issuers.add(issuer("last")).unwrap();
        let error = issuers.add(issuer("one more")).unwrap_err();
        assert!(error.to_string().contains("10000 issuers"), "{error}");
        assert_eq!(issuers.len(), Issuers::MAX, "the set is as it was");
        issuers.replace(issuer("last")).unwrap();
        assert!(issuers.remove("last"));
        issuers.add(issuer("one more")).unwrap();

        let issuers = Issuers::new();
        let template = |number: usize| {
            let name = format!("https://id-{number}.example.com/{{tenant}}");
            let key = VerifyingKey::hs256([7; 32]);
            issuers.add(Issuer::template(name).audience("api").key(key))
        };
        for number in 0..Issuers::MAX_TEMPLATES {
            template(number).unwrap();
        }
        assert!(template(Issuers::MAX_TEMPLATES).is_err());
        assert_eq!(issuers.len(), Issuers::MAX_TEMPLATES);
    }
}
