//! What names a budget's partition to clients: an HMAC, never the tenant's id.

use std::{
    hash::{BuildHasher, RandomState},
    sync::OnceLock,
};

use hmac::{Hmac, Mac};
use sha2::Sha256;
use tenant_context::TenantId;

use crate::{Dimension, key::Key, keys::Kind};

/// Which of a dimension's cells, among those of one tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// There is one.
    Whole,
    /// It was named before.
    Named(Partition),
    Endpoint(usize),
    Key(Key),
    /// One for all keys beyond the share.
    Overflow(Kind),
}

/// The `pk` of a policy. It is the same for every request that spends the same cell, as long as the process lives:
/// another process counts for itself, and names its partitions anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Partition([u8; 16]);

impl Partition {
    /// The partition of a cell; `None` if there is one for all.
    pub(crate) fn of(dimension: Dimension, tenant: Option<&TenantId>, part: Part) -> Option<Self> {
        let key = match part {
            Part::Whole => return tenant.map(|tenant| Self::whole(dimension, tenant)),
            Part::Named(partition) => return Some(partition),
            Part::Endpoint(at) => Some(Key::made(b"endpoint", &at.to_be_bytes())),
            Part::Key(key) => Some(key),
            Part::Overflow(kind) => Some(Key::made(b"overflow", &kind.0.to_be_bytes())),
        };
        Some(Self::made(dimension, tenant, key))
    }

    /// The partition of the one cell that a tenant has of a dimension.
    pub(crate) fn whole(dimension: Dimension, tenant: &TenantId) -> Self {
        Self::made(dimension, Some(tenant), None)
    }

    fn made(dimension: Dimension, tenant: Option<&TenantId>, key: Option<Key>) -> Self {
        static SECRET: OnceLock<Hmac<Sha256>> = OnceLock::new();
        let secret = SECRET.get_or_init(|| {
            let random = RandomState::new();
            let mut secret = [0; 64];
            for (part, at) in secret.chunks_exact_mut(8).zip(0_u8..) {
                part.copy_from_slice(&random.hash_one(at).to_be_bytes());
            }
            <Hmac<Sha256> as Mac>::new(&secret.into())
        });
        let mut mac = secret.clone();
        let key = key.map(Key::to_bytes);
        let parts = [
            dimension.as_str().as_bytes(),
            tenant.map_or(&[], |tenant| tenant.as_str().as_bytes()),
            key.as_ref().map_or(&[], <[u8; 16]>::as_slice),
        ];
        for part in parts {
            // No id is as long as its length would not fit.
            mac.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            mac.update(part);
        }
        let mut short = [0; 16];
        for (to, from) in short.iter_mut().zip(mac.finalize().into_bytes()) {
            *to = from;
        }
        Self(short)
    }

    pub(crate) const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

#[cfg(all(test, not(loom)))]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn i11_partitions_differ_where_cells_do_and_the_ids_are_not_in_them() {
        let tenant = |id| TenantId::parse(id).unwrap();
        let (acme, globex) = (tenant("acme"), tenant("globex"));
        let key = Key::constant("x");
        let all = [
            Partition::of(Dimension::Tenant, Some(&acme), Part::Whole),
            Partition::of(Dimension::Tenant, Some(&globex), Part::Whole),
            Partition::of(Dimension::Endpoint, Some(&acme), Part::Endpoint(0)),
            Partition::of(Dimension::Endpoint, Some(&acme), Part::Endpoint(1)),
            Partition::of(Dimension::Agent, Some(&acme), Part::Key(key)),
            Partition::of(Dimension::Agent, Some(&globex), Part::Key(key)),
            Partition::of(Dimension::Agent, Some(&acme), Part::Key(Key::constant("y"))),
            Partition::of(Dimension::Agent, Some(&acme), Part::Overflow(Kind::AGENT)),
            Partition::of(
                Dimension::Principal,
                Some(&acme),
                Part::Overflow(Kind::PRINCIPAL),
            ),
            Partition::of(Dimension::Principal, Some(&acme), Part::Key(key)),
            Partition::of(Dimension::Address, None, Part::Key(key)),
        ]
        .map(Option::unwrap);
        for (at, one) in all.iter().enumerate() {
            assert_eq!(all.iter().position(|other| other == one), Some(at));
        }
        assert_eq!(
            Partition::of(Dimension::Tenant, Some(&acme), Part::Whole),
            Some(all[0])
        );
        assert_eq!(Partition::of(Dimension::Global, None, Part::Whole), None);
    }
}
