//! Loading what is not there: once for all callers who ask for it.

use std::{any::Any, future::Future, sync::Arc};

use tenant_context::Rejection;

use crate::{
    CacheKey, Namespace, Scope,
    flight::{Flight, Follow, Followed, Lead},
    namespace::{At, value_of},
    partition::{Epoch, Gone, Partition},
};

/// What is stored for a key.
#[derive(Clone, Debug)]
pub(crate) enum Slot<V> {
    Value(V),
    /// It is known that there is none.
    Absent,
}

impl<V> Slot<V> {
    pub(crate) const fn value(&self) -> Option<&V> {
        match self {
            Self::Value(value) => Some(value),
            Self::Absent => None,
        }
    }
}

type Outcome<V, E> = Result<Slot<V>, E>;

/// How a caller gets its value.
enum Way<T, O: Clone> {
    Have(T),
    Lead(Registered, Lead<O>),
    Follow(Registered, Follow<O>),
    /// What is under way for the key has errors of another type, or found what the caller has no use for.
    Alone,
}

/// A flight's place in its partition. It goes with the last who has to do with the flight.
struct Registered {
    partition: Arc<Partition>,
    key: Box<[u8]>,
    flight: Arc<dyn Any + Send + Sync>,
}

impl Registered {
    fn is_mine(&self, known: Option<&Arc<dyn Any + Send + Sync>>) -> bool {
        known.is_some_and(|known| std::ptr::addr_eq(Arc::as_ptr(known), Arc::as_ptr(&self.flight)))
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        let mut flights = self.partition.flights.lock();
        // The map's and this one: nobody else leads or follows, and whoever would needs the lock.
        if Arc::strong_count(&self.flight) <= 2 && self.is_mine(flights.get(&self.key)) {
            flights.remove(&self.key);
        }
    }
}

impl<V: Clone + Send + Sync + 'static> Namespace<V> {
    /// The key's value, or what `load` finds, which is kept as the namespace says.
    ///
    /// However many callers of one tenant ask for one key at a time, one of them loads, and the others wait for what it
    /// finds. If that one is cancelled or panics, another's `load` runs instead. An error goes to all who waited for it,
    /// and is not kept. Callers of different tenants never wait for each other.
    ///
    /// A load that was overtaken by a purge, an [`insert`](Self::insert), a [`remove`](Self::remove) of the key or an
    /// invalidated tag is handed to whoever asked before that, and is not kept; who asks afterwards loads anew.
    ///
    /// A load must not ask for its own key: it would wait for itself.
    ///
    /// # Errors
    ///
    /// What `load` fails with; the rejection, as an `E`, if the context has ended.
    pub async fn get_or_try_insert_with<K, E>(
        &self,
        scope: &impl Scope,
        key: &K,
        load: impl Future<Output = Result<V, E>>,
    ) -> Result<V, E>
    where
        K: CacheKey + ?Sized,
        E: From<Rejection> + Clone + Send + Sync + 'static,
    {
        self.find(
            scope,
            key,
            load,
            |value| Slot::Value(value.clone()),
            |slot| slot.value().cloned(),
        )
        .await
    }

    /// The key's value, or what `load` finds; if that is `None`, it is remembered for the
    /// [`negative_ttl`](Self::negative_ttl). Otherwise as [`get_or_try_insert_with`](Self::get_or_try_insert_with).
    ///
    /// # Errors
    ///
    /// As [`get_or_try_insert_with`](Self::get_or_try_insert_with).
    pub async fn get_or_try_find_with<K, E>(
        &self,
        scope: &impl Scope,
        key: &K,
        load: impl Future<Output = Result<Option<V>, E>>,
    ) -> Result<Option<V>, E>
    where
        K: CacheKey + ?Sized,
        E: From<Rejection> + Clone + Send + Sync + 'static,
    {
        let into = |found: &Option<V>| found.clone().map_or(Slot::Absent, Slot::Value);
        self.find(scope, key, load, into, |slot| Some(slot.value().cloned()))
            .await
    }

    /// `from` says what a caller makes of a stored slot: `None` if it has no use for it.
    async fn find<K, T, E>(
        &self,
        scope: &impl Scope,
        key: &K,
        load: impl Future<Output = Result<T, E>>,
        into: impl Fn(&T) -> Slot<V>,
        from: impl Fn(&Slot<V>) -> Option<T>,
    ) -> Result<T, E>
    where
        K: CacheKey + ?Sized,
        E: From<Rejection> + Clone + Send + Sync + 'static,
    {
        scope.holds().map_err(E::from)?;
        let place = || {
            let room = scope.partition(&self.cache)?;
            // Before the look: what is invalidated from here on is not found by who asks later.
            let epoch = room.begin()?;
            Some((Arc::clone(room.partition()), self.at(&room, key), epoch))
        };
        let Some((partition, at, epoch)) = place() else {
            return load.await;
        };
        let mut way = self.way::<T, E>(&partition, &at, epoch, &from);
        loop {
            way = match way {
                Way::Have(value) => return Ok(value),
                Way::Lead(place, leading) => {
                    let found = load.await;
                    let outcome = found.as_ref().map(&into).map_err(E::clone);
                    self.land(&place, &at, leading, outcome);
                    return found;
                }
                Way::Follow(place, follow) => match follow.await {
                    Followed::Lead(leading) => Way::Lead(place, leading),
                    Followed::Landed(Err(error)) => return Err(error),
                    Followed::Landed(Ok(slot)) => from(&slot).map_or(Way::Alone, Way::Have),
                },
                Way::Alone => return load.await,
            }
        }
    }

    fn way<T, E>(
        &self,
        partition: &Arc<Partition>,
        at: &At,
        epoch: Epoch,
        from: &impl Fn(&Slot<V>) -> Option<T>,
    ) -> Way<T, Outcome<V, E>>
    where
        E: Clone + Send + Sync + 'static,
    {
        let look = || {
            let now = self.cache.now();
            let entry = partition.find(at.place(epoch), now)?;
            let fresh = entry.is_fresh(now);
            value_of(&entry).and_then(from).map(|value| (value, fresh))
        };
        if let Some((value, true)) = look() {
            partition.count(true);
            return Way::Have(value);
        }
        partition.count(false);
        let mut flights = partition.flights.lock();
        // It may have landed before the lock was ours.
        let stale = match look() {
            Some((value, true)) => return Way::Have(value),
            stale => stale.map(|(value, _)| value),
        };
        let place = |flight| Registered {
            partition: Arc::clone(partition),
            key: at.key().into(),
            flight,
        };
        if let Some(known) = flights.get(at.key()) {
            let Ok(flight) = Arc::clone(known).downcast::<Flight<Outcome<V, E>>>() else {
                return Way::Alone;
            };
            if flight.epoch == epoch {
                return match stale {
                    Some(stale) => Way::Have(stale),
                    None => Way::Follow(place(Arc::clone(known)), flight.follow()),
                };
            }
        }
        let (flight, lead) = Flight::begin(epoch);
        let flight: Arc<dyn Any + Send + Sync> = flight;
        flights.insert(at.key().into(), Arc::clone(&flight));
        Way::Lead(place(flight), lead)
    }

    fn land<E: Clone>(
        &self,
        place: &Registered,
        at: &At,
        lead: Lead<Outcome<V, E>>,
        outcome: Outcome<V, E>,
    ) {
        let epoch = lead.epoch();
        // The application's code (weights, tags) runs before the lock.
        let prepared = match (&outcome, epoch) {
            (Ok(slot), Some(epoch)) => {
                let keep = match slot {
                    Slot::Value(value) => self.keep_of(value),
                    Slot::Absent => crate::Keep::default(),
                };
                Some((self.prepare(epoch, slot.clone(), &keep), epoch))
            }
            _ => None,
        };
        let mut gone = Gone::new();
        let mut flights = place.partition.flights.lock();
        // A purge, an insertion or a removal of the key has taken the flight out: what it found is old.
        if place.is_mine(flights.get(at.key())) {
            flights.remove(at.key());
            if let Some((prepared, epoch)) = prepared {
                self.commit(&place.partition, at, epoch, prepared, &mut gone);
            }
        }
        drop(flights);
        drop(gone);
        lead.land(outcome);
        self.cache.tidy();
    }
}
