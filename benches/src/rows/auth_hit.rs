//! Credentials that are known: the look-up alone, without the layer around it.

use std::{
    hash::{BuildHasher, Hash, Hasher},
    hint::black_box,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
};

use dashmap::DashMap;
use futures_util::FutureExt;
use http::{HeaderValue, Request, header::AUTHORIZATION, request::Parts};
use tenant_auth::{
    ApiKeys, Authenticated, Issuer, NewApiKey, NewToken, Principal, PrincipalId, SystemClock,
    TenantId, TokenMinter, VerifyingKey,
};
use tenant_context::{Authenticate, Lookup, RequestHead};

use super::{Definition, Shared, stack};
use crate::{
    Result,
    drive::Tally,
    row::{Operation, Row, Work},
    token::{AUDIENCE, Algorithm, ISSUER, TENANT},
};

/// NH (UMAC, CRYPTO '99) with two Toeplitz iterations, over 64-bit words.
pub(super) fn nh(key: &[[u64; 2]], text: &[u8]) -> [u128; 2] {
    let word = |half: &[u8]| {
        half.first_chunk()
            .map_or(0, |bytes| u64::from_le_bytes(*bytes))
    };
    let mut sums = [0_u128; 2];
    let (blocks, _) = text.as_chunks::<16>();
    for (block, keys) in blocks.iter().zip(key.windows(2)) {
        let (left, right) = block.split_at(8);
        let (left, right) = (word(left), word(right));
        for (sum, [k, l]) in sums.iter_mut().zip(keys) {
            let product =
                u128::from(left.wrapping_add(*k)).wrapping_mul(u128::from(right.wrapping_add(*l)));
            *sum = sum.wrapping_add(product);
        }
    }
    sums
}

pub(super) fn key_of_nh() -> Vec<[u64; 2]> {
    let odd = 0x9e37_79b9_7f4a_7c15_u64;
    let mut state = 1_u64;
    let mut next = || {
        state = state.wrapping_mul(odd).rotate_left(29);
        state
    };
    (0..600).map(|_| [next(), next()]).collect()
}

pub(super) fn token_hash(definition: &'static Definition, shared: &Arc<Shared>) -> Result<Row> {
    let token = shared.tokens.token(Algorithm::EdDsa)?.into_bytes();
    let key = key_of_nh();
    let expected = nh(&key, &token);
    Ok(definition.row(Operation::new(move || {
        nh(black_box(&key), black_box(&token)) == expected
    })))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Digest(pub(super) [u128; 2]);

impl Hash for Digest {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let [one, other] = self.0;
        let bytes = (one ^ other.rotate_left(64)).to_le_bytes();
        let word = bytes.last_chunk().copied().unwrap_or_default();
        state.write_u64(u64::from_le_bytes(word));
    }
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct PassThrough;

pub(super) struct Passed(u64);

impl BuildHasher for PassThrough {
    type Hasher = Passed;

    fn build_hasher(&self) -> Passed {
        Passed(0)
    }
}

impl Hasher for Passed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {}

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

/// One of so many keys, found again and again.
#[allow(clippy::unnecessary_wraps, reason = "all rows are made alike")]
pub(super) fn map_hit(definition: &'static Definition, _: &Arc<Shared>) -> Result<Row> {
    let key = key_of_nh();
    let digest = |n: u32| Digest(nh(&key, format!("{n:0>64}").as_bytes()));
    let map = DashMap::with_hasher(PassThrough);
    for n in 0..OTHERS {
        map.insert(digest(n), Arc::new(n));
    }
    let wanted = digest(7);
    Ok(definition.row(Operation::new(move || {
        let found = map.get(black_box(&wanted)).map(|found| Arc::clone(&found));
        found.is_some_and(|found| *found == 7)
    })))
}

const OTHERS: u32 = 100_000;
const SECRET: [u8; 32] = [7; 32];

/// The chain alone, which remembers what it has verified, and what makes tokens for it.
fn chain() -> Result<(Authenticated, TokenMinter)> {
    let issuer = Issuer::new(ISSUER)
        .audience(AUDIENCE)
        .key(VerifyingKey::hs256(SECRET).kid("bench"));
    let authenticated = tenant_auth::layer(stack::tenants()?)
        .jwt(issuer)
        .authenticate()?;
    Ok((authenticated, TokenMinter::hs256("bench", SECRET)?))
}

/// A head with a token of the usual length.
fn bearing(minter: &TokenMinter, n: u32) -> Result<Parts> {
    let token = |padding: usize| {
        let new = NewToken::new(ISSUER, AUDIENCE, TENANT, format!("user-{n:0>6}"));
        minter.mint(
            &new.claim("nonce", "n".repeat(padding)),
            &SystemClock::new(),
        )
    };
    let missing = crate::token::LENGTH.saturating_sub(token(0)?.len());
    let bearer = format!("Bearer {}", token(missing.saturating_mul(3) / 4)?);
    head(AUTHORIZATION.as_str(), &bearer)
}

pub(super) fn head(name: &str, value: &str) -> Result<Parts> {
    let request = Request::builder().header(name, HeaderValue::from_str(value)?);
    Ok(request.body(())?.into_parts().0)
}

pub(super) fn admits(authenticated: &Authenticated, head: &Parts) -> bool {
    match authenticated.authenticate(&RequestHead::new(black_box(head))) {
        Lookup::Ready(answer) => answer.is_ok(),
        // The first look at the tenant, which the registry answers at once.
        pending => pending
            .wait()
            .now_or_never()
            .is_some_and(|answer| answer.is_ok()),
    }
}

fn hits(definition: &'static Definition, others: u32) -> Result<Row> {
    let (authenticated, minter) = chain()?;
    for n in 0..others {
        let other = Request::builder().header(
            AUTHORIZATION,
            format!(
                "Bearer {}",
                minter.mint(
                    &NewToken::new(ISSUER, AUDIENCE, TENANT, format!("other-{n}")),
                    &SystemClock::new()
                )?
            ),
        );
        if !admits(&authenticated, &other.body(())?.into_parts().0) {
            return Err("a token was not admitted".into());
        }
    }
    let head = bearing(&minter, 0)?;
    Ok(definition.row(Operation::new(move || admits(&authenticated, &head))))
}

pub(super) fn hit(definition: &'static Definition, _: &Arc<Shared>) -> Result<Row> {
    hits(definition, 0)
}

pub(super) fn hit_100k(definition: &'static Definition, _: &Arc<Shared>) -> Result<Row> {
    hits(definition, OTHERS)
}

/// Hits on this thread, while another thread does the same with another token of the tenant.
struct BesideAnother<F> {
    own: Operation<F>,
    running: Arc<AtomicBool>,
    ended: Arc<AtomicBool>,
    other: Option<JoinHandle<()>>,
}

impl<F> BesideAnother<F> {
    fn new(own: Operation<F>, mut other: impl FnMut() + Send + 'static) -> Self {
        let (running, ended) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
        let (run, end) = (Arc::clone(&running), Arc::clone(&ended));
        let other = std::thread::spawn(move || {
            while !end.load(Ordering::Relaxed) {
                if run.load(Ordering::Relaxed) {
                    (0..100).for_each(|_| other());
                } else {
                    std::thread::park();
                }
            }
        });
        Self {
            own,
            running,
            ended,
            other: Some(other),
        }
    }

    fn wake(&self) {
        if let Some(other) = &self.other {
            other.thread().unpark();
        }
    }
}

impl<F: FnMut() -> bool> Work for BesideAnother<F> {
    fn prepare(&mut self, operations: usize) {
        self.own.prepare(operations);
        self.running.store(true, Ordering::Relaxed);
        self.wake();
    }

    fn run(&mut self) {
        self.own.run();
    }

    fn settle(&mut self) {
        self.running.store(false, Ordering::Relaxed);
    }

    fn tally(&self) -> Tally {
        self.own.tally()
    }

    fn largest_batch(&self) -> usize {
        self.own.largest_batch()
    }
}

impl<F> Drop for BesideAnother<F> {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        self.wake();
        if let Some(other) = self.other.take() {
            // It ends at once, and has nothing to say.
            let _ended = other.join();
        }
    }
}

pub(super) fn hit_2_threads(definition: &'static Definition, _: &Arc<Shared>) -> Result<Row> {
    let (authenticated, minter) = chain()?;
    let (own, others) = (bearing(&minter, 0)?, bearing(&minter, 1)?);
    let shared = authenticated.clone();
    let own = Operation::new(move || admits(&authenticated, &own));
    let other = move || {
        black_box(admits(&shared, &others));
    };
    Ok(definition.row(BesideAnother::new(own, other)))
}

fn api_key(definition: &'static Definition, remembered: usize) -> Result<Row> {
    let keys = ApiKeys::in_memory("sk", "live", SECRET)?;
    let owner = Principal::service(PrincipalId::parse("ci")?);
    let issuing = keys.issue(NewApiKey::new(TenantId::parse(TENANT)?, owner));
    let issued = issuing.now_or_never();
    let (key, _) = issued.ok_or("a store in memory answers at once")??;
    let authenticated = tenant_auth::layer(stack::tenants()?)
        .api_keys(keys)
        .cache_capacity(remembered)
        .authenticate()?;
    let head = head("x-api-key", key.expose())?;
    Ok(definition.row(Operation::new(move || admits(&authenticated, &head))))
}

pub(super) fn api_key_hit(definition: &'static Definition, _: &Arc<Shared>) -> Result<Row> {
    api_key(definition, 1000)
}

pub(super) fn api_key_cold(definition: &'static Definition, _: &Arc<Shared>) -> Result<Row> {
    api_key(definition, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tokens_have_their_length_and_are_admitted() {
        let (authenticated, minter) = chain().unwrap();
        let head = bearing(&minter, 3).unwrap();
        let length = head.headers[AUTHORIZATION].len() - "Bearer ".len();
        assert!(length.abs_diff(crate::token::LENGTH) < 4, "{length}");
        assert!(admits(&authenticated, &head));
        assert!(!admits(&authenticated, &Request::new(()).into_parts().0));
    }
}
