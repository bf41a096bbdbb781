//! The rows by their stable names, in the order of the table.

mod audit;
mod auth_cold;
mod auth_edge;
mod auth_hit;
mod by_hand;
mod cache;
mod cache_scale;
mod cache_sockets;
mod expert;
mod flood;
mod jobs;
mod layer;
mod limitador;
mod limits;
mod mint;
mod noop;
mod raw;
pub mod simulation;
mod stack;

use std::sync::Arc;

use crate::{Result, row::Row, token::Tokens};

/// What the rows of a run share: the keys, and the audit's worker.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Shared {
    pub(crate) tokens: Tokens,
    pub(crate) recorder: std::sync::OnceLock<stack::Recorder>,
}

impl Shared {
    /// Nothing is made before a row asks for it.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }
}

type Make = fn(&'static Definition, &Arc<Shared>) -> Result<Row>;

/// A row that can be made.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Definition {
    /// The stable name.
    pub name: &'static str,
    /// What is done.
    pub about: &'static str,
    /// The row that stands for what is inside of this one.
    pub inner: Option<&'static str>,
    /// Whether it touches more memory than the caches hold, or keeps a thread busy.
    pub heavy: bool,
    make: Make,
}

impl Definition {
    const fn new(name: &'static str, about: &'static str, make: Make) -> Self {
        Self {
            name,
            about,
            inner: None,
            heavy: false,
            make,
        }
    }

    /// Measured after the others: what it leaves in the caches would be charged to them.
    const fn heavy(mut self) -> Self {
        self.heavy = true;
        self
    }

    const fn over(mut self, inner: &'static str) -> Self {
        self.inner = Some(inner);
        self
    }

    fn row(&'static self, work: impl crate::row::Work + 'static) -> Row {
        Row {
            name: self.name,
            about: self.about,
            inner: self.inner,
            work: Box::new(work),
        }
    }

    /// Makes the row.
    ///
    /// # Errors
    ///
    /// What the row's parts say.
    pub fn make(&'static self, shared: &Arc<Shared>) -> Result<Row> {
        (self.make)(self, shared).map_err(|error| format!("row {}: {error}", self.name).into())
    }
}

/// Every row.
pub const ALL: &[Definition] = &[
    Definition::new("noop", "a service that answers two bytes", noop::noop),
    Definition::new(
        "noop/with-context",
        "the same, for a request that carries a context in its extensions",
        layer::noop,
    ),
    Definition::new(
        "noop/in-router",
        "a `Router` with one route that answers the same",
        noop::in_router,
    ),
    Definition::new(
        "noop/rested",
        "the same as the first, for one request after a sleep: all is cold",
        noop::rested,
    ).heavy(),
    Definition::new(
        "layer/identity",
        "identity alone: a JWT that is known, its tenant active",
        layer::identity,
    )
    .over("noop"),
    Definition::new(
        "layer/limits",
        "limits alone: global, tenant, agent and endpoint, all charged",
        layer::limits,
    )
    .over("noop/with-context"),
    Definition::new(
        "layer/cache",
        "cache alone: a miss, and an answer that may not be stored",
        layer::cache,
    )
    .over("noop/with-context"),
    Definition::new(
        "layer/cache/hit",
        "cache alone: a hit",
        layer::cache_hit,
    )
    .over("noop/with-context"),
    Definition::new(
        "layer/audit",
        "audit alone: one record, queued for the worker",
        layer::audit,
    )
    .over("noop"),
    Definition::new(
        "layer/audit/wakes",
        "audit alone: one request after a sleep, whose record wakes the worker",
        layer::audit_wakes,
    ).heavy()
    .over("noop/rested"),
    Definition::new(
        "audit/record",
        "a record opened, filled and queued by code: action, actor, outcome",
        audit::record,
    ),
    Definition::new(
        "audit/layer",
        "the layer over a service that does nothing",
        layer::audit,
    )
    .over("noop"),
    Definition::new(
        "audit/worker-per-record",
        "encoded, chained and written by the worker, in groups of 4,096",
        audit::worker,
    ).heavy(),
    Definition::new(
        "audit/verify-mb-per-s",
        "MB/s, not ns: one chain's file verified, on one core",
        audit::verify,
    ).heavy(),
    Definition::new(
        "raw/sha256-mb-per-s",
        "MB/s, not ns: SHA-256 alone over that file's bytes, read before, on one core",
        audit::sha256,
    ).heavy(),
    Definition::new(
        "audit/burst-lost",
        "records, not ns: lost of 40,000 at once, the sink takes 1 ms for each batch",
        audit::burst,
    ).heavy(),
    Definition::new(
        "audit/burst-worst-wait",
        "the longest of these 40,000 calls",
        audit::burst_wait,
    ),
    Definition::new(
        "peer/tracing-json",
        "a `tracing` event as a JSON line to a file, through an appender that waits",
        audit::tracing_json,
    ).heavy(),
    Definition::new(
        "peer/tracing-lossy-lost",
        "lines, not ns: lost of 40,000 at once by a lossy appender of 16,384 places, 1 ms a line",
        audit::lossy,
    ).heavy(),
    Definition::new(
        "raw/stack",
        "what `stack/warm` does for this token, by hand in one function: the record and its thread, two extensions, hash and map, budgets, clock",
        by_hand::warm,
    )
    .over("noop"),
    Definition::new(
        "stack/warm",
        "audit, render, identity, limits, cache: a token that is known",
        stack::warm,
    )
    .over("noop"),
    Definition::new(
        "stack/warm/in-router",
        "the same in `Router::layer`",
        stack::warm_in_router,
    )
    .over("noop/in-router"),
    Definition::new(
        "stack/warm/around-router",
        "the same around the finished `Router`",
        stack::warm_around_router,
    )
    .over("noop/in-router"),
    Definition::new(
        "stack/cold/hs256",
        "the whole stack outside a `Router`, no token remembered: HMAC-SHA-256",
        stack::cold_hs256,
    )
    .over("noop"),
    Definition::new("stack/cold/rs256", "the same: RSA 2048", stack::cold_rs256).over("noop"),
    Definition::new("stack/cold/es256", "the same: ECDSA P-256", stack::cold_es256).over("noop"),
    Definition::new("stack/cold/eddsa", "the same: Ed25519", stack::cold_eddsa).over("noop"),
    Definition::new(
        "auth/bad-token/after-budget",
        "render and identity: bad Ed25519 tokens from one address whose budget for failures is spent",
        auth_edge::after_budget,
    ),
    Definition::new(
        "raw/sig/hs256",
        "the token's signature, key parsed once: HMAC-SHA-256",
        raw::hs256,
    ),
    Definition::new("raw/sig/rs256", "the same: RSA 2048", raw::rs256),
    Definition::new("raw/sig/es256", "the same: ECDSA P-256", raw::es256),
    Definition::new("raw/sig/eddsa", "the same: Ed25519", raw::eddsa),
    Definition::new(
        "auth/cold/hs256",
        "the chain of credentials alone, no token remembered: HMAC-SHA-256",
        auth_cold::hs256,
    )
    .over("raw/sig/hs256"),
    Definition::new("auth/cold/rs256", "the same: RSA 2048", auth_cold::rs256)
        .over("raw/sig/rs256"),
    Definition::new("auth/cold/es256", "the same: ECDSA P-256", auth_cold::es256)
        .over("raw/sig/es256"),
    Definition::new("auth/cold/eddsa", "the same: Ed25519", auth_cold::eddsa)
        .over("raw/sig/eddsa"),
    Definition::new(
        "raw/token-hash",
        "the keyed hash of an 800-byte token: NH, 64-bit words, twice",
        auth_hit::token_hash,
    ),
    Definition::new(
        "raw/map-hit",
        "one of 100,000 keys of 256 bits found in a dashmap, its value's count raised",
        auth_hit::map_hit,
    ).heavy(),
    Definition::new(
        "auth/hit",
        "the chain of credentials alone: an 800-byte token that is known",
        auth_hit::hit,
    ),
    Definition::new(
        "auth/hit/100k",
        "the same, 100,000 other tokens remembered",
        auth_hit::hit_100k,
    ).heavy(),
    Definition::new(
        "auth/hit/2-threads",
        "the same as `auth/hit`, while another thread does so too, with a token of its own",
        auth_hit::hit_2_threads,
    ).heavy(),
    Definition::new(
        "auth/api-key/hit",
        "the same: an API key that is known",
        auth_hit::api_key_hit,
    ),
    Definition::new(
        "auth/api-key/cold",
        "the same, nothing remembered",
        auth_hit::api_key_cold,
    ),
    Definition::new(
        "raw/gcra-4",
        "four padded atomics, all or none, one reading of the clock",
        raw::gcra_4,
    ),
    Definition::new(
        "raw/lock-and-swap",
        "one reading of the clock, one lock and its release, one compare-and-swap: what a tenant's joint decision is made of",
        raw::lock_and_swap,
    ),
    Definition::new(
        "peer/jsonwebtoken/hs256",
        "`jsonwebtoken::decode` alone, into claims of a service's own: HMAC-SHA-256",
        auth_cold::peer_hs256,
    ),
    Definition::new(
        "peer/jsonwebtoken/rs256",
        "the same: RSA 2048",
        auth_cold::peer_rs256,
    ),
    Definition::new(
        "peer/jsonwebtoken/es256",
        "the same: ECDSA P-256",
        auth_cold::peer_es256,
    ),
    Definition::new(
        "peer/jsonwebtoken/eddsa",
        "the same: Ed25519",
        auth_cold::peer_eddsa,
    ),
    Definition::new(
        "cache/hit",
        "a value of one tenant, of 10,000 there are",
        cache::hit,
    ).heavy(),
    Definition::new(
        "cache/hit/10-tenants",
        "the same, spread over 10 tenants",
        cache_scale::hit_10,
    ),
    Definition::new(
        "cache/hit/100-tenants",
        "the same, spread over 100 tenants",
        cache_scale::hit_100,
    ),
    Definition::new(
        "cache/hit/1k-tenants",
        "the same, spread over 1,000 tenants",
        cache_scale::hit_1k,
    ),
    Definition::new(
        "cache/hit/10k-tenants",
        "as many values, one for each tenant",
        cache::hit_10k_tenants,
    ).heavy(),
    Definition::new(
        "cache/layer-hit",
        "the layer: a stored response of 1 KiB; the copy of its header map (two allocations), its Age and Cache-Status (one)",
        cache::layer_hit,
    )
    .over("noop/with-context"),
    Definition::new(
        "cache/bytes-per-idle-partition",
        "a tenant's first look-up, which finds nothing: what it leaves is its partition",
        cache::idle_partition,
    ).heavy(),
    Definition::new(
        "cache/bytes-per-active-partition",
        "no time: what a tenant with one value keeps alive, of 10,000 tenants, the value's own bytes not counted",
        cache_scale::bytes_per_active,
    ),
    Definition::new(
        "cache/sockets/without",
        "requests a second, not ns: one connection, 16 at a time, a handler that serialises 32 rows, no cache",
        cache_sockets::without,
    ),
    Definition::new(
        "cache/sockets/with",
        "requests a second, not ns: the same, each a hit",
        cache_sockets::with,
    ),
    Definition::new(
        "raw/cache-engine-hit",
        "what the cache is made of, by hand: keyed hash, table, lock, CLOCK's mark, expiry, as many values and no tenants",
        cache_scale::engine,
    ).heavy(),
    Definition::new(
        "peer/moka-hit",
        "one moka cache with as many values and no tenants",
        cache::moka_hit,
    ).heavy(),
    Definition::new(
        "peer/response-cache-hit",
        "axum-response-cache: the same response, without tenants, variants or validation",
        cache::response_cache_hit,
    )
    .over("noop"),
    Definition::new(
        "peer/expert/hs256",
        "`from_fn` in a `Router`: jsonwebtoken, four governor limiters, a JSON line to a lossy appender",
        expert::hs256,
    )
    .over("noop/in-router"),
    Definition::new("peer/expert/eddsa", "the same: Ed25519", expert::eddsa)
        .over("noop/in-router"),
    Definition::new(
        "peer/governor-4",
        "the expert's limiters alone: one direct, three keyed",
        expert::governor_4,
    ),
    Definition::new(
        "peer/limitador-4",
        "limitador, in memory: the same four limits",
        limitador::limitador_4,
    ),
    Definition::new(
        "limits/warm",
        "the decision alone: global, tenant, agent and endpoint, an identity that is known",
        limits::warm,
    ),
    Definition::new(
        "limits/cold",
        "the same for an identity that is new, of a tenant and an agent that are known",
        limits::cold,
    ),
    Definition::new(
        "limits/refused",
        "the same four budgets, the tenant's spent: refused",
        limits::refused,
    ),
    Definition::new(
        "limits/refused/headers",
        "the same, and the answer's head: status and four headers",
        limits::refused_headers,
    ),
    Definition::new(
        "limits/warm/after-flood",
        "the same as warm, after a million made-up agents of another tenant",
        limits::after_flood,
    ),
    Definition::new(
        "limits/warm/during-flood",
        "the same while another thread makes up agents of another tenant",
        flood::agents,
    )
    .heavy(),
    Definition::new(
        "limits/warm/during-memory",
        "the same while another thread writes as much memory: what two cores share",
        flood::memory,
    )
    .heavy(),
    Definition::new(
        "limits/warm/1m-tenants",
        "the same as warm, each time for another one of a million tenants",
        limits::warm_1m,
    ).heavy(),
    Definition::new(
        "limits/2-threads/same",
        "two threads at once for one tenant: the time for one decision of either",
        limits::two_same,
    ).heavy(),
    Definition::new(
        "limits/2-threads/other",
        "two threads at once, each for a tenant of its own",
        limits::two_other,
    ).heavy(),
    Definition::new(
        "raw/gcra-4/2-threads/same",
        "two threads at once on the four atomics",
        limits::raw_same,
    ).heavy(),
    Definition::new(
        "raw/gcra-4/2-threads/other",
        "two threads at once, of the four atomics only the global one shared",
        limits::raw_other,
    ).heavy(),
    Definition::new(
        "limits/layer",
        "the decision in its layer, as `layer/limits`",
        layer::limits,
    )
    .over("noop/with-context"),
    Definition::new(
        "limits/layer/headers",
        "the same, with `Headers::Always`: an admission and its two headers",
        layer::limits_headers,
    )
    .over("noop/with-context"),
    Definition::new(
        "limits/layer/four-headers",
        "the same, and the service writes the two more that a refusal has: `Retry-After` and `Cache-Control`",
        layer::limits_four_headers,
    )
    .over("noop/with-context"),
    Definition::new(
        "limits/layer/refused",
        "the same four budgets, the tenant's spent: a refusal and its four headers",
        layer::limits_refused,
    ),
    Definition::new(
        "raw/sign/eddsa",
        "400 bytes signed: Ed25519",
        mint::sign_eddsa,
    ),
    Definition::new(
        "raw/sign/eddsa/delegated",
        "the bytes of the token of `delegate` signed: Ed25519",
        mint::sign_delegated,
    ),
    Definition::new("raw/sign/es256", "400 bytes signed: ECDSA P-256", mint::sign_es256),
    Definition::new("raw/sign/rs256", "the same: RSA 2048", mint::sign_rs256),
    Definition::new(
        "mint/eddsa",
        "an access token of two scopes: Ed25519",
        mint::eddsa,
    )
    .over("raw/sign/eddsa"),
    Definition::new("mint/es256", "the same: ECDSA P-256", mint::es256).over("raw/sign/es256"),
    Definition::new("mint/rs256", "the same: RSA 2048", mint::rs256).over("raw/sign/rs256"),
    Definition::new(
        "delegate",
        "a token for an agent, derived from a context: one scope, a minute, a purpose; Ed25519",
        mint::delegate,
    )
    .over("raw/sign/eddsa/delegated"),
    Definition::new(
        "job/seal",
        "a context and 256 bytes sealed for a queue: Ed25519",
        jobs::seal,
    ),
    Definition::new(
        "job/open",
        "the same envelope opened: signature, payload, tenant, and a context",
        jobs::open,
    ),
    Definition::new(
        "limits/bytes-per-key",
        "no time: the live bytes of an agent's cell, at a million of them",
        limits::bytes_per_key,
    ).heavy(),
];
