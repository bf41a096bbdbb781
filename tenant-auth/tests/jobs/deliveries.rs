//! Workers, and what is delivered to them again.

use std::future::pending;

use futures_util::FutureExt;
use tenant_auth::{
    TenantContext,
    jobs::{DeadReason, JobEnvelope, OpenError, RunError},
};
use tenant_context::Rejection;
use tenant_testkit::context;

use crate::fixture::Fixture;

/// Worker thread keeps the last job's tenant.
#[test]
fn a_reused_worker_starts_without_a_tenant() {
    let fixture = Fixture::new();
    let jobs: Vec<JobEnvelope> = [("acme", "ada"), ("globex", "gus"), ("acme", "abe")]
        .map(|(tenant, who)| {
            fixture
                .jobs
                .seal(&context(&fixture.tenants, tenant, who), b"")
                .unwrap()
        })
        .into();
    let seen = std::thread::scope(|threads| {
        threads
            .spawn(|| {
                jobs.iter()
                    .map(|envelope| {
                        assert!(
                            TenantContext::current().is_err(),
                            "a tenant was left behind"
                        );
                        fixture.tenant_of(envelope).unwrap()
                    })
                    .collect::<Vec<_>>()
            })
            .join()
            .unwrap()
    });
    assert_eq!(seen, ["acme", "globex", "acme"]);
    // Neither does a job that panics, fails or is dropped leave one.
    let envelope = fixture.jobs.seal(&fixture.ada(), b"").unwrap();
    let panics = |_, _| async { std::panic::resume_unwind(Box::new(())) };
    let run = fixture
        .jobs
        .run::<_, _, (), Rejection>(Some(&envelope), panics);
    assert!(
        std::panic::AssertUnwindSafe(run)
            .catch_unwind()
            .now_or_never()
            .unwrap()
            .is_err()
    );
    assert!(TenantContext::current().is_err());
    let work = |_, _| pending::<Result<(), Rejection>>();
    assert!(
        fixture
            .jobs
            .run(Some(&envelope), work)
            .now_or_never()
            .is_none()
    );
    assert!(TenantContext::current().is_err());
}

#[test]
fn work_that_fails_or_is_given_up_is_delivered_again_and_work_that_is_done_is_not() {
    let fixture = Fixture::new();
    let envelope = fixture.jobs.seal(&fixture.ada(), b"").unwrap();
    let fails = |_, _| async { Err::<(), _>(Rejection::not_found()) };
    let failed = fixture
        .jobs
        .run(Some(&envelope), fails)
        .now_or_never()
        .unwrap()
        .unwrap_err();
    assert!(matches!(&failed, RunError::Failed(_)) && failed.is_temporary());
    let work = |_, _| pending::<Result<(), Rejection>>();
    let mut given_up = Box::pin(fixture.jobs.run(Some(&envelope), work));
    assert!(given_up.as_mut().now_or_never().is_none());
    let twice = fixture.tenant_of(&envelope).unwrap_err();
    assert!(
        matches!(twice, RunError::Open(OpenError::Running)),
        "two at once: {twice}"
    );
    drop(given_up);
    assert_eq!(fixture.tenant_of(&envelope).unwrap(), "acme");
    assert_eq!(fixture.dead(Some(&envelope)), DeadReason::Replayed);
}

#[test]
fn i7_a_full_memory_of_jobs_opens_no_more() {
    let fixture = Fixture::with(|jobs| jobs.replay_capacity(1));
    let [one, two] =
        [b"1", b"2"].map(|payload| fixture.jobs.seal(&fixture.ada(), payload).unwrap());
    assert!(fixture.tenant_of(&one).is_ok());
    let full = fixture.tenant_of(&two).unwrap_err();
    assert!(matches!(full, RunError::Open(OpenError::Unavailable(_))) && full.is_temporary());
}
