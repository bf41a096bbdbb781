//! Two tenants, their jobs, and what reached the dead-letter callback.

use std::{sync::Arc, time::Duration};

use futures_util::FutureExt;
use parking_lot::Mutex;
use tenant_auth::{
    CachedRegistry, TenantContext, TokenMinter,
    jobs::{DeadReason, Job, JobEnvelope, Jobs, JobsBuilder, OpenError, RunError},
};
use tenant_context::Rejection;
use tenant_testkit::{ManualClock, context, tenants};

pub const MINUTE: Duration = Duration::from_secs(60);

/// What reached the dead-letter callback: the reason, and whose it is.
pub type Letters = Arc<Mutex<Vec<(DeadReason, Option<String>)>>>;

pub struct Fixture {
    pub clock: ManualClock,
    pub tenants: CachedRegistry,
    pub jobs: Jobs,
    pub letters: Letters,
}

impl Fixture {
    pub fn new() -> Self {
        Self::with(|builder| builder)
    }

    pub fn with(change: impl FnOnce(JobsBuilder) -> JobsBuilder) -> Self {
        let clock = ManualClock::new();
        let tenants = tenants(&["acme", "globex"], &clock);
        let letters = Letters::default();
        let jobs = change(builder(&tenants, &letters)).build().unwrap();
        Self {
            clock,
            tenants,
            jobs,
            letters,
        }
    }

    pub fn ada(&self) -> TenantContext {
        context(&self.tenants, "acme", "ada")
    }

    pub fn open(&self, envelope: Option<&JobEnvelope>) -> Result<Job, OpenError> {
        self.jobs.open(envelope).now_or_never().unwrap()
    }

    pub fn dead(&self, envelope: Option<&JobEnvelope>) -> DeadReason {
        let Err(OpenError::Dead(reason)) = self.open(envelope) else {
            panic!("it was opened, or may be later");
        };
        let (told, _) = self.letters.lock().last().cloned().unwrap();
        assert_eq!(told, reason);
        reason
    }

    pub fn tenant_of(&self, envelope: &JobEnvelope) -> Result<String, RunError<Rejection>> {
        let work = |tenant: TenantContext, _| async move {
            assert_eq!(
                TenantContext::current().unwrap().tenant_id(),
                tenant.tenant_id()
            );
            Ok(tenant.tenant_id().to_string())
        };
        self.jobs.run(Some(envelope), work).now_or_never().unwrap()
    }
}

pub fn builder(tenants: &CachedRegistry, letters: &Letters) -> JobsBuilder {
    let letters = Arc::clone(letters);
    Jobs::builder(tenants.clone())
        .queue("reports")
        .sign_with(TokenMinter::hs256("2026-01", [7; 32]).unwrap())
        .on_dead_letter(move |letter| {
            let tenant = letter.tenant.map(ToString::to_string);
            letters.lock().push((letter.reason, tenant));
        })
}
