//! Who holds how much of the cache, what goes first, and what ends when. Pure: the entries themselves
//! are elsewhere.
//!
//! No tenant has a fixed share: one alone may fill the cache. When there is no room, a newcomer
//! displaces entries of its own tenant, unless another tenant holds clearly more (twice as much, in
//! powers of two): then that one's. So whoever holds little loses nothing to whoever holds much, however
//! many tokens that one presents.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
    hash::Hash,
};

use tenant_context::{TenantId, UnixTime};

/// What the cache may hold.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) entries: usize,
    pub(crate) bytes: usize,
}

impl Bounds {
    /// Whether an entry of this weight fits at all.
    pub(super) const fn admit(&self, weight: usize) -> bool {
        self.entries > 0 && weight <= self.bytes
    }
}

/// One entry, as the book sees it.
#[derive(Clone, Debug)]
pub(super) struct Account {
    pub(super) tenant: TenantId,
    pub(super) weight: usize,
    pub(super) ends: UnixTime,
}

pub(super) struct Book<K> {
    accounts: HashMap<K, Numbered>,
    holders: HashMap<TenantId, Holder<K>>,
    /// Tenants by the power of two of what they hold.
    classes: BTreeMap<u32, BTreeSet<TenantId>>,
    ends: BTreeMap<(UnixTime, u64), K>,
    weight: usize,
    next: u64,
}

struct Numbered {
    account: Account,
    /// Its place among those that end at the same time.
    number: u64,
    /// Its place in its tenant's line.
    turn: u64,
}

struct Holder<K> {
    weight: usize,
    line: BTreeMap<u64, K>,
}

impl<K> Default for Book<K> {
    fn default() -> Self {
        Self {
            accounts: HashMap::new(),
            holders: HashMap::new(),
            classes: BTreeMap::new(),
            ends: BTreeMap::new(),
            weight: 0,
            next: 0,
        }
    }
}

impl<K: Copy + Eq + Hash> Book<K> {
    /// Opens an account, in place of the one of this key, and says which have to go. An entry that was
    /// `found` since the last look gets another turn.
    pub(super) fn open(
        &mut self,
        key: K,
        account: Account,
        bounds: &Bounds,
        mut found: impl FnMut(&K) -> bool,
    ) -> Vec<K> {
        self.close(&key);
        let mut gone = Vec::new();
        while self.accounts.len() >= bounds.entries
            || self.weight.saturating_add(account.weight) > bounds.bytes
        {
            let Some(oldest) = self
                .victim(&account.tenant)
                .and_then(|tenant| self.oldest(&tenant, &mut found))
            else {
                break;
            };
            self.close(&oldest);
            gone.push(oldest);
        }
        self.add(key, account);
        gone
    }

    /// Closes an account, if there is one.
    pub(super) fn close(&mut self, key: &K) {
        let Some(Numbered {
            account,
            number,
            turn,
        }) = self.accounts.remove(key)
        else {
            return;
        };
        self.ends.remove(&(account.ends, number));
        self.weight = self.weight.saturating_sub(account.weight);
        let Some(holder) = self.holders.get_mut(&account.tenant) else {
            return;
        };
        holder.line.remove(&turn);
        let held = holder.weight;
        holder.weight = held.saturating_sub(account.weight);
        let holds = holder.weight;
        if holder.line.is_empty() {
            self.holders.remove(&account.tenant);
        }
        self.reclass(&account.tenant, held, holds);
    }

    /// Closes one account that has ended.
    pub(super) fn close_ended(&mut self, now: UnixTime) -> Option<K> {
        let (_, key) = self
            .ends
            .first_key_value()
            .filter(|((end, _), _)| *end <= now)?;
        let key = *key;
        self.close(&key);
        Some(key)
    }

    pub(super) fn next_end(&self) -> Option<UnixTime> {
        self.ends.first_key_value().map(|((end, _), _)| *end)
    }

    fn add(&mut self, key: K, account: Account) {
        let number = self.number();
        self.ends.insert((account.ends, number), key);
        self.weight = self.weight.saturating_add(account.weight);
        let holder = self
            .holders
            .entry(account.tenant.clone())
            .or_insert_with(|| Holder {
                weight: 0,
                line: BTreeMap::new(),
            });
        holder.line.insert(number, key);
        let held = holder.weight;
        holder.weight = held.saturating_add(account.weight);
        let holds = holder.weight;
        self.reclass(&account.tenant, held, holds);
        let turn = number;
        let numbered = Numbered {
            account,
            number,
            turn,
        };
        self.accounts.insert(key, numbered);
    }

    fn number(&mut self) -> u64 {
        self.next = self.next.wrapping_add(1);
        self.next
    }

    /// Whose entry goes when this tenant needs room.
    fn victim(&self, newcomer: &TenantId) -> Option<TenantId> {
        let (top, tenants) = self.classes.last_key_value()?;
        let held = self.holders.get(newcomer).map_or(0, |holder| holder.weight);
        if class(held) == Some(*top) {
            Some(newcomer.clone())
        } else {
            tenants.first().cloned()
        }
    }

    /// The first in a tenant's line that was not found since it was last looked at.
    fn oldest(&mut self, tenant: &TenantId, found: &mut impl FnMut(&K) -> bool) -> Option<K> {
        let rounds = self.holders.get(tenant)?.line.len();
        for _ in 0..rounds {
            let turn = self.number();
            let line = &mut self.holders.get_mut(tenant)?.line;
            let first = line.first_entry()?;
            if !found(first.get()) {
                return Some(*first.get());
            }
            let key = first.remove();
            line.insert(turn, key);
            self.accounts.get_mut(&key)?.turn = turn;
        }
        let line = &self.holders.get(tenant)?.line;
        line.first_key_value().map(|(_, key)| *key)
    }

    fn reclass(&mut self, tenant: &TenantId, held: usize, holds: usize) {
        let (from, to) = (class(held), class(holds));
        if from == to {
            return;
        }
        if let Some(from) = from
            && let Some(tenants) = self.classes.get_mut(&from)
        {
            tenants.remove(tenant);
            if tenants.is_empty() {
                self.classes.remove(&from);
            }
        }
        if let Some(to) = to {
            self.classes.entry(to).or_default().insert(tenant.clone());
        }
    }
}

/// The power of two; none of nothing.
const fn class(weight: usize) -> Option<u32> {
    weight.checked_ilog2()
}

impl<K> fmt::Debug for Book<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Book")
            .field("entries", &self.accounts.len())
            .field("tenants", &self.holders.len())
            .field("bytes", &self.weight)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, reason = "tests")]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    fn tenant(n: usize) -> TenantId {
        TenantId::parse(format!("tenant-{n}")).unwrap()
    }

    fn account(of: usize, weight: usize, ends: u64) -> Account {
        Account {
            tenant: tenant(of),
            weight,
            ends: UnixTime::from_secs(ends),
        }
    }

    const BOUNDS: Bounds = Bounds {
        entries: 100,
        bytes: 100_000,
    };

    #[test]
    fn i6_one_tenants_tokens_do_not_push_out_anothers() {
        let mut book = Book::default();
        for n in 0..10 {
            assert!(
                book.open((2, n), account(2, 100, 9), &BOUNDS, |_| false)
                    .is_empty()
            );
        }
        let mut gone = HashSet::new();
        for n in 0..10_000 {
            gone.extend(book.open((1, n), account(1, 100, 9), &BOUNDS, |_| false));
        }
        assert_eq!(book.accounts.len(), 100);
        assert!(
            gone.iter().all(|(of, _)| *of == 1),
            "tenant 2 lost an entry"
        );
        // A newcomer finds room at the cost of the one that holds most.
        let gone = book.open((3, 0), account(3, 100, 9), &BOUNDS, |_| false);
        assert!(matches!(gone[..], [(1, _)]));
    }

    #[test]
    fn what_was_found_again_stays_and_what_was_not_goes() {
        let mut book = Book::default();
        for n in 0..100 {
            book.open(n, account(1, 1, 9), &BOUNDS, |_| false);
        }
        let mut hot = HashSet::from([0, 1]);
        let gone = book.open(100, account(1, 1, 9), &BOUNDS, |key| hot.remove(key));
        assert_eq!(gone, [2]);
        let gone = book.open(101, account(1, 1, 9), &BOUNDS, |_| true);
        assert_eq!(gone.len(), 1, "if all were found the oldest goes");
    }

    #[test]
    fn what_has_ended_is_closed_in_order_and_only_then() {
        let mut book = Book::default();
        for n in [3, 1, 2, 2] {
            let key = book.next;
            book.open(key, account(1, 1, n), &BOUNDS, |_| false);
        }
        assert_eq!(book.next_end(), Some(UnixTime::from_secs(1)));
        assert_eq!(book.close_ended(UnixTime::from_nanos(999_999_999)), None);
        let mut ended = Vec::new();
        while let Some(key) = book.close_ended(UnixTime::from_secs(2)) {
            ended.push(key);
        }
        assert_eq!(ended, [1, 2, 3]);
        assert_eq!(book.next_end(), Some(UnixTime::from_secs(3)));
    }

    proptest! {
        #[test]
        fn i6_the_book_adds_up_and_keeps_its_bounds(
            steps in prop::collection::vec((0..6_u8, 0..40_u32, 0..5_usize, 1..400_usize, 0..50_u64), 1..300),
        ) {
            let bounds = Bounds { entries: 20, bytes: 2000 };
            let mut book = Book::default();
            let mut kept: HashMap<u32, Account> = HashMap::new();
            for (what, key, of, weight, time) in steps {
                match what {
                    0 => {
                        book.close(&key);
                        kept.remove(&key);
                    }
                    1 => {
                        while let Some(key) = book.close_ended(UnixTime::from_secs(time)) {
                            prop_assert!(kept.remove(&key).unwrap().ends <= UnixTime::from_secs(time));
                        }
                        prop_assert!(kept.values().all(|one| one.ends > UnixTime::from_secs(time)));
                    }
                    _ => {
                        let held = |kept: &HashMap<u32, Account>, of: &TenantId| {
                            let own = kept.values().filter(|one| one.tenant == *of);
                            own.map(|one| one.weight).sum::<usize>()
                        };
                        kept.remove(&key);
                        let newcomer = tenant(of);
                        let new = account(of, weight, time);
                        for key in book.open(key, new.clone(), &bounds, |key| key % 3 == 0) {
                            let loser = kept[&key].tenant.clone();
                            if loser != newcomer {
                                let (lost, own) = (held(&kept, &loser), held(&kept, &newcomer));
                                prop_assert!(class(lost) > class(own), "{lost} lost to {own}");
                            }
                            kept.remove(&key);
                        }
                        kept.insert(key, new);
                    }
                }
                prop_assert_eq!(book.accounts.len(), kept.len());
                prop_assert_eq!(book.ends.len(), kept.len());
                let lines = book.holders.values().map(|holder| holder.line.len());
                prop_assert_eq!(lines.sum::<usize>(), kept.len());
                prop_assert_eq!(book.weight, kept.values().map(|one| one.weight).sum::<usize>());
                prop_assert_eq!(book.classes.values().map(BTreeSet::len).sum::<usize>(), book.holders.len());
                prop_assert!(kept.len() <= bounds.entries && book.weight <= bounds.bytes);
            }
        }
    }
}
