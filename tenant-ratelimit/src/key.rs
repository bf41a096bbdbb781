//! Keys of the application's own dimensions.

use std::{
    fmt,
    hash::{BuildHasher, Hash, RandomState},
    sync::OnceLock,
};

use siphasher::sip128::{Hasher128, SipHasher13};
use tenant_context::{Principal, TenantContext};

/// What a request is counted by in a [`dimension`](crate::RateLimitLayerBuilder::dimension) of your own,
/// within its tenant.
///
/// A key is made from what was verified: the principal, the actor, the credential, a claim, a constant of
/// the program. What a client may write as it likes mints as many keys as it likes, each with a whole
/// budget; so such a key is built with [`unverified`](Self::unverified) only, by that name.
///
/// It is 16 bytes: a hash of what it was made from, keyed with a secret of the process, in which no two
/// different inputs are alike (`SipHash` of 128 bits, over injective bytes). Copying is free.
///
/// ```
/// use tenant_ratelimit::{Key, Quota};
///
/// let limits = tenant_ratelimit::layer()
///     .dimension("project", Quota::per_second(20), |tenant, _head| Key::claim(tenant, "project"))
///     .build()?;
/// # Ok::<(), tenant_ratelimit::ConfigError>(())
/// ```
///
/// ```compile_fail
/// let key = tenant_ratelimit::Key::from("x-project-id of a header");
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Key(u128);

/// The most bytes of a claim that is a key.
const MAX_CLAIM: usize = 1024;

impl Key {
    /// On whose behalf the request is made.
    pub fn principal(tenant: &TenantContext) -> Self {
        Self::of_principal(tenant.principal())
    }

    /// Who acts: the current actor, or else the principal.
    pub fn actor(tenant: &TenantContext) -> Self {
        Self::of_principal(tenant.actor())
    }

    /// The credential, if it has an id.
    pub fn credential(tenant: &TenantContext) -> Option<Self> {
        let credential = tenant.credential()?;
        Some(Self::made(b"credential", credential.as_str().as_bytes()))
    }

    /// A claim of the credential's own, if it is there, a text or a whole number, and at most 1,024 bytes.
    pub fn claim(tenant: &TenantContext, name: &str) -> Option<Self> {
        let text = tenant.claim::<String>(name);
        let (kind, text) = match (text, tenant.claim::<i64>(name)) {
            (Some(text), _) => (b"text".as_slice(), text),
            (None, Some(number)) => (b"number".as_slice(), number.to_string()),
            (None, None) => return None,
        };
        (text.len() <= MAX_CLAIM).then(|| {
            let name = Self::made(b"claim", name.as_bytes());
            name.and(Self::made(kind, text.as_bytes()))
        })
    }

    /// One key for all requests.
    pub fn constant(name: &'static str) -> Self {
        Self::made(b"constant", name.as_bytes())
    }

    /// Anything, also what a client may write as it likes: whoever does can mint keys, each with a budget of
    /// its own, until the tenant's share is used up.
    pub fn unverified(bytes: impl AsRef<[u8]>) -> Self {
        Self::made(b"unverified", bytes.as_ref())
    }

    /// Both together. The order counts.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let (one, other) = (self.0.to_be_bytes(), other.0.to_be_bytes());
        Self::made(&one, &other)
    }

    pub(crate) fn of_principal(principal: &Principal) -> Self {
        let kind = principal.kind().as_str();
        Self::made(kind.as_bytes(), principal.id().as_str().as_bytes())
    }

    /// What keeps a dimension's keys apart from all others'.
    pub(crate) fn dimension(name: &str) -> Self {
        Self::made(b"dimension", name.as_bytes())
    }

    /// The key of a cell: keys of different dimensions are different. Both are hashes under a secret: nobody can
    /// look for two whose sums are equal.
    pub(crate) const fn within(self, dimension: Self) -> Self {
        Self(self.0 ^ dimension.0)
    }

    pub(crate) fn made(kind: &[u8], text: &[u8]) -> Self {
        Self::hashed(kind, text)
    }

    pub(crate) fn hashed(kind: &[u8], what: impl Hash) -> Self {
        static SECRET: OnceLock<SipHasher13> = OnceLock::new();
        let secret = SECRET.get_or_init(|| {
            // The standard library's own random keys are not to be had, but what they make of two numbers is.
            let random = RandomState::new();
            SipHasher13::new_with_keys(random.hash_one(0), random.hash_one(1))
        });
        // Slices are hashed with their lengths.
        let mut hasher = *secret;
        (kind, what).hash(&mut hasher);
        Self(hasher.finish128().as_u128())
    }

    pub(crate) const fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }

    /// For tables.
    #[allow(clippy::cast_possible_truncation, reason = "half of a hash is a hash")]
    pub(crate) const fn hash(self) -> u64 {
        self.0 as u64
    }
}

impl fmt::Debug for Key {
    /// Not what it was made from: that may be a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").finish_non_exhaustive()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn i11_keys_are_injective(one: (Vec<u8>, Vec<u8>), two: (Vec<u8>, Vec<u8>)) {
            let key = |(a, b): &(Vec<u8>, Vec<u8>)| Key::unverified(a).and(Key::unverified(b));
            prop_assert_eq!(key(&one) == key(&two), one == two);
            prop_assert_eq!(
                Key::made(&one.0, &one.1) == Key::made(&two.0, &two.1),
                one == two
            );
        }

        #[test]
        fn i11_joined_parts_do_not_shift(a in ".{0,8}", b in ".{0,8}", cut in 0..9_usize) {
            // `a:b`,`c` and `a`,`b:c`.
            let joined: String = [a.as_str(), b.as_str()].concat();
            let cut = joined.char_indices().map(|(at, _)| at).nth(cut).unwrap_or(joined.len());
            let (c, d) = joined.split_at(cut);
            let key = |a: &str, b: &str| Key::unverified(a).and(Key::unverified(b));
            prop_assert_eq!(key(&a, &b) == key(c, d), a == c);
        }
    }

    #[test]
    fn kinds_and_dimensions_keep_apart() {
        let keys = [
            Key::unverified("x"),
            Key::constant("x"),
            Key::unverified("x").within(Key::dimension("a")),
            Key::unverified("x").within(Key::dimension("b")),
            Key::made(b"human", b"x"),
            Key::made(b"agent", b"x"),
        ];
        for (at, key) in keys.iter().enumerate() {
            assert_eq!(keys.iter().position(|other| other == key), Some(at));
        }
        assert_eq!(format!("{:?}", Key::unverified("secret")), "Key { .. }");
    }
}
