//! Background jobs that carry their tenant: sealed where a request is served, opened where it is worked
//! on, through the same door as a request.
//!
//! [`Jobs::seal`] turns a context and a payload into a [`JobEnvelope`]: signed, versioned, with tenant,
//! principal, chain of actors, scopes, expiry, a hash of the payload and an id. Any queue carries it as a
//! string. [`Jobs::run`] opens it: the signature, the queue, the expiry and the payload are verified, the
//! tenant is looked up as it is **now**, what was revoked since is asked for [if it is given](#revocation), and the work runs in the scope of a [`TenantContext`](tenant_context::TenantContext). What cannot
//! be opened goes to the dead-letter callback, never to the system's authority; there is nothing else that
//! a job could run under.
//!
//! | what happens | then |
//! |---|---|
//! | the tenant is suspended | it cannot seal; its jobs stay in the queue ([`OpenError::Suspended`]); those that run are dropped ([`RunError::Cancelled`]) |
//! | an envelope is missing, altered, expired, of another queue, tenant or key | the dead-letter callback, [`OpenError::Dead`] |
//! | what it was sealed with is revoked | the same ([`DeadReason::Revoked`]); those that run are dropped. Only [what was given](#revocation) to the builder is asked |
//! | the tenants cannot be asked | [`OpenError::Unavailable`]: the queue tries again |
//! | the work fails | [`RunError::Failed`]: the queue may deliver the job again |
//! | the work succeeds | a further delivery of the same envelope is dead ([`DeadReason::Replayed`]) |
//!
//! # Example
//!
//! ```
//! use tenant_auth::{CachedRegistry, Rejection, TenantContext, TokenMinter, jobs::{JobEnvelope, Jobs}};
//! # use tenant_auth::{ApiKeys, Issuers, MemoryRegistry, Revocations};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let tenants = CachedRegistry::builder(MemoryRegistry::new()).build()?;
//! # let (revocations, issuers) = (Revocations::builder(&tenants).build()?, Issuers::new());
//! # let api_keys = ApiKeys::in_memory("sk", "live", [7; 32])?;
//! let jobs = Jobs::builder(tenants)
//!     .queue("reports")
//!     .sign_with(TokenMinter::eddsa_generate("2026-01")?)         // a process that only works: `.verify_with(key)`
//!     .revocations(revocations)                                   // the layer's; a worker's own has the same store
//!     .issuers(issuers)
//!     .api_keys(api_keys)
//!     .on_dead_letter(|letter| eprintln!("dead: {} of {:?}", letter.reason, letter.tenant))
//!     .build()?;
//!
//! /// POST /reports
//! fn submit(jobs: &Jobs, tenant: &TenantContext) -> Result<JobEnvelope, Rejection> {
//!     Ok(jobs.prepare(tenant).scopes(["reports:write"]).seal_json(&"2026-01")?)
//! }
//!
//! /// The worker: one message of the queue.
//! async fn work(jobs: &Jobs, message: Option<JobEnvelope>) -> Result<(), Box<dyn std::error::Error>> {
//!     jobs.run(message.as_ref(), |tenant, payload| async move {
//!         let month: String = serde_json::from_slice(&payload)?;
//!         eprintln!("the report of {} for {month}", tenant.tenant_id());
//!         Ok::<_, serde_json::Error>(())
//!     }).await?;
//!     Ok(())
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Whose authority, and for how long
//!
//! A job acts for the principal that sealed it, with its actors, and with its scopes and roles or with
//! fewer of them ([`NewJob::scopes`]): name what the job needs. It outlives the token it was sealed with,
//! since jobs wait; its own life is [`ttl`](JobsBuilder::ttl), from the sealing to the end of the work, at most
//! [`max_ttl`](JobsBuilder::max_ttl), which the opening side checks too. A job of a job has the same end: a
//! context that came from an envelope cannot seal a longer one.
//!
//! # Revocation
//!
//! An envelope names the credential it was sealed with, and all that this was derived from. They are looked up where it is
//! opened, and only in what the builder was given there:
//!
//! | given | a job ends with |
//! |---|---|
//! | [`revocations`](JobsBuilder::revocations) | a [`Revocation`](crate::Revocation) of the token or API key, its session, subject, actors, issuer or signing key, and of all that it was derived from |
//! | [`issuers`](JobsBuilder::issuers) | an issuer of these that was removed before it is opened |
//! | [`api_keys`](JobsBuilder::api_keys) | an API key that was revoked, rotated away or has expired in these |
//! | none of them | its own life, or its tenant's |
//!
//! What an ingress names has nothing to be revoked by.
//!
//! # Replays
//!
//! An envelope can be opened again after its work failed or was cancelled, not while it runs, and not after
//! it succeeded, until it expires. This is remembered in the process, for
//! [`replay_capacity`](JobsBuilder::replay_capacity) jobs. Where several processes work on one queue, its
//! delivery must be exclusive (as a queue's lock is), and work that must not happen twice should record
//! [`Job::id`] in the transaction that does it.
//!
//! # Bounds
//!
//! | what | bound |
//! |---|---|
//! | a payload | 256 KiB ([`JobsBuilder::max_payload`]) |
//! | claims | 64 KiB; 8 actors, 256 scopes, 256 roles |
//! | remembered jobs | 100,000 ([`JobsBuilder::replay_capacity`]), 10,000 of one tenant ([`JobsBuilder::tenant_replay_capacity`]); beyond it jobs wait |
//! | life | 1 h ([`JobsBuilder::ttl`]), at most 24 h ([`JobsBuilder::max_ttl`]) |

mod builder;
mod envelope;
mod error;
mod open;
mod replays;
mod run;
mod seal;
mod wire;

use std::{fmt, sync::Arc};

use tenant_context::{Clock, Resolver};

use self::replays::Replays;
pub use self::{
    builder::JobsBuilder,
    envelope::{JobEnvelope, JobId},
    error::{DeadLetter, DeadReason, OpenError, RunError, SealError},
    run::Job,
    seal::NewJob,
};
use crate::{ApiKeys, Issuers, Revocations, TokenMinter, VerifyingKey};

/// Seals and opens the jobs of one queue. See the [module's documentation](self). Clones share
/// everything.
#[derive(Clone)]
pub struct Jobs(Arc<Shared>);

/// The claim of a job's context, and of all that is derived from it, that says, in Unix seconds, until when what it seals
/// may live. It only shortens, whoever sets it.
pub(crate) const UNTIL: &str = "tenant-auth:job-until";

struct Shared {
    queue: String,
    signer: Option<TokenMinter>,
    keys: Vec<VerifyingKey>,
    resolver: Resolver,
    revocations: Option<Revocations>,
    issuers: Option<Issuers>,
    api_keys: Option<ApiKeys>,
    clock: Arc<dyn Clock>,
    limits: Limits,
    replays: Arc<Replays>,
    on_dead_letter: Box<dyn Fn(DeadLetter<'_>) + Send + Sync>,
}

#[derive(Clone, Copy, Debug)]
struct Limits {
    ttl: std::time::Duration,
    max_ttl: std::time::Duration,
    max_payload: usize,
    replay_capacity: usize,
    tenant_replay_capacity: usize,
}

impl fmt::Debug for Jobs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Jobs")
            .field("queue", &self.0.queue)
            .field("signer", &self.0.signer)
            .field("keys", &self.0.keys)
            .field("limits", &self.0.limits)
            .finish_non_exhaustive()
    }
}
