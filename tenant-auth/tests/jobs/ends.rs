//! When a job ends or waits: with its time, its tenant or its credential.

use std::{future::pending, sync::Arc};

use futures_util::FutureExt;
use parking_lot::Mutex;
use tenant_auth::{
    CredentialId, RejectionKind, Revocation, Revocations, TenantId, UnixTime,
    jobs::{DeadReason, OpenError, RunError, SealError},
};
use tenant_context::{EndReason, Rejection};
use tenant_testkit::{Gate, ManualClock, claims, context_with, tenants};

use crate::fixture::{Fixture, Letters, MINUTE, builder};

#[test]
fn i3_an_operators_job_ends_with_the_operators_time() {
    let fixture = Fixture::new();
    let mut visiting = claims("acme", "support").scopes(["reports:read"]);
    visiting.operator_of = Some(TenantId::parse("globex").unwrap());
    let end = ManualClock::START.saturating_add(10 * MINUTE);
    visiting.stated_expiry = Some(end);
    visiting.expires_at = end.saturating_add(MINUTE);
    let visiting = context_with(&fixture.tenants, visiting);
    let envelope = fixture.jobs.seal(&visiting, b"").unwrap();
    let job = fixture.open(Some(&envelope));
    assert_eq!(job.unwrap().context().expires_at(), end);
    fixture.clock.advance(10 * MINUTE);
    assert!(visiting.check().is_ok(), "the leeway");
    let late = fixture.jobs.seal(&visiting, b"").unwrap_err();
    assert_eq!(Rejection::from(late).reason(), "expired");
}

#[test]
fn i5_a_suspended_tenant_seals_nothing() {
    let fixture = Fixture::new();
    let ada = fixture.ada();
    fixture.tenants.suspend(ada.tenant_id());
    let refused = fixture.jobs.seal(&ada, b"").unwrap_err();
    assert!(matches!(refused, SealError::Ended(_)));
    assert_eq!(
        Rejection::from(refused).kind(),
        RejectionKind::TenantSuspended
    );
}

#[test]
fn i5_a_suspended_tenants_job_waits_in_the_queue_and_starts_when_it_is_resumed() {
    let fixture = Fixture::new();
    let ada = fixture.ada();
    let envelope = fixture.jobs.seal(&ada, b"").unwrap();
    fixture.tenants.suspend(ada.tenant_id());
    let refused = fixture.tenant_of(&envelope).unwrap_err();
    assert!(matches!(refused, RunError::Open(OpenError::Suspended)));
    assert!(refused.is_temporary());
    fixture.tenants.resume(ada.tenant_id());
    assert_eq!(fixture.tenant_of(&envelope).unwrap(), "acme");
    assert!(fixture.letters.lock().is_empty());
}

#[test]
fn i5_a_running_job_is_dropped_where_it_stands_when_its_tenant_is_suspended() {
    let fixture = Fixture::new();
    let ada = fixture.ada();
    let envelope = fixture.jobs.seal(&ada, b"").unwrap();
    let gate = Gate::closed();
    let reached = Arc::new(Mutex::new(false));
    let mut run = Box::pin(fixture.jobs.run(Some(&envelope), |_, _| async {
        gate.pass().await;
        *reached.lock() = true;
        Ok::<_, Rejection>(())
    }));
    assert!(run.as_mut().now_or_never().is_none());
    fixture.tenants.suspend(ada.tenant_id());
    gate.release();
    let ended = run.now_or_never().unwrap().unwrap_err();
    assert!(matches!(ended, RunError::Cancelled(EndReason::Suspended)));
    assert!(ended.is_temporary());
    assert!(!*reached.lock(), "it went on after the suspension");
    fixture.tenants.resume(ada.tenant_id());
    assert_eq!(
        fixture.tenant_of(&envelope).unwrap(),
        "acme",
        "it is delivered again"
    );
}

#[test]
fn i5_the_suspension_wakes_a_job_that_waits() {
    let fixture = Fixture::new();
    let ada = fixture.ada();
    let envelope = fixture.jobs.seal(&ada, b"").unwrap();
    // On a runtime, so that it is the waker that is tested and not the poll.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(async {
        let work = |_, _| pending::<Result<(), Rejection>>();
        let worker = fixture.jobs.run(Some(&envelope), work);
        let suspend = async {
            tokio::task::yield_now().await;
            fixture.tenants.suspend(ada.tenant_id());
        };
        let (ended, ()) = tokio::join!(worker, suspend);
        let ended = ended.unwrap_err();
        assert!(matches!(ended, RunError::Cancelled(EndReason::Suspended)));
    });
}

#[test]
fn a_job_that_outlives_its_envelope_is_dropped() {
    let fixture = Fixture::new();
    let envelope = fixture.jobs.seal(&fixture.ada(), b"").unwrap();
    let work = |_, _| pending::<Result<(), Rejection>>();
    let mut run = Box::pin(fixture.jobs.run(Some(&envelope), work));
    assert!(run.as_mut().now_or_never().is_none());
    fixture.clock.advance(60 * MINUTE);
    let ended = run.now_or_never().unwrap().unwrap_err();
    assert!(matches!(ended, RunError::Cancelled(EndReason::Expired)));
    assert!(!ended.is_temporary());
}

#[test]
fn a_job_of_a_job_does_not_outlive_it() {
    let fixture = Fixture::new();
    let first = fixture
        .jobs
        .prepare(&fixture.ada())
        .ttl(10 * MINUTE)
        .seal(b"")
        .unwrap();
    let job = fixture.open(Some(&first)).unwrap();
    fixture.clock.advance(5 * MINUTE);
    let second = fixture.jobs.seal(job.context(), b"").unwrap();
    let second = fixture.open(Some(&second)).unwrap();
    let end = UnixTime::from_secs(ManualClock::START.as_secs() + 600);
    assert_eq!(second.context().expires_at(), end);
}

#[test]
fn i5_a_job_ends_with_the_credential_that_sealed_it() {
    let clock = ManualClock::new();
    let tenants = tenants(&["acme", "globex"], &clock);
    let revocations = Revocations::builder(&tenants).build().unwrap();
    let letters = Letters::default();
    let jobs = builder(&tenants, &letters)
        .revocations(revocations.clone())
        .build()
        .unwrap();
    for (issuer, revocation) in [
        (
            Some("https://id.example.com"),
            Revocation::token as fn(TenantId, CredentialId) -> Revocation,
        ),
        (None, Revocation::api_key),
    ] {
        let id = CredentialId::parse("one").unwrap();
        let mut who = claims("acme", "ada").credential(id.clone());
        who.issuer = issuer.map(Into::into);
        who.issued_at = Some(ManualClock::START);
        let ada = context_with(&tenants, who);
        let [waits, runs] = [b"1", b"2"].map(|payload| jobs.seal(&ada, payload).unwrap());
        let work = |_, _| pending::<Result<(), Rejection>>();
        let mut running = Box::pin(jobs.run(Some(&runs), work));
        assert!(running.as_mut().now_or_never().is_none());
        let other = revocation(TenantId::parse("globex").unwrap(), id.clone());
        revocations.revoke(other).now_or_never().unwrap().unwrap();
        assert!(
            running.as_mut().now_or_never().is_none(),
            "another tenant's credential of that name"
        );
        let revoked = revocation(ada.tenant_id().clone(), id);
        revocations.revoke(revoked).now_or_never().unwrap().unwrap();
        let ended = running.now_or_never().unwrap().unwrap_err();
        assert!(matches!(ended, RunError::Cancelled(EndReason::Revoked)) && !ended.is_temporary());
        let dead = jobs.open(Some(&waits)).now_or_never().unwrap().unwrap_err();
        assert!(
            matches!(dead, OpenError::Dead(DeadReason::Revoked)),
            "{dead}"
        );
    }
}
