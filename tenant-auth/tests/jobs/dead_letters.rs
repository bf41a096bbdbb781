//! What cannot be opened, and whose it was.

use futures_util::FutureExt;
use tenant_auth::{
    CachedRegistry, TenantId, TokenMinter,
    jobs::{DeadReason, JobEnvelope, Jobs, JobsBuilder, OpenError, RunError},
};
use tenant_context::{MemoryRegistry, Rejection, TenantRecord};
use tenant_testkit::{ManualClock, context};

use crate::fixture::{Fixture, Letters, MINUTE, builder};

/// A job without a tenant ran as the system.
#[test]
fn a_job_without_a_tenant_goes_to_the_dead_letter() {
    let fixture = Fixture::new();
    let ran = fixture
        .jobs
        .run(None, |_, _| async { Ok::<_, Rejection>(()) });
    let ran = ran.now_or_never().unwrap().unwrap_err();
    assert!(matches!(
        ran,
        RunError::Open(OpenError::Dead(DeadReason::Missing))
    ));
    assert!(!ran.is_temporary());
    assert_eq!(*fixture.letters.lock(), [(DeadReason::Missing, None)]);
}

#[test]
fn what_cannot_be_opened_goes_to_the_dead_letter_each_for_its_reason() {
    let fixture = Fixture::with(|builder| builder.max_ttl(120 * MINUTE).max_payload(100));
    let ada = fixture.ada();
    let good = fixture.jobs.seal(&ada, b"payload").unwrap();
    let other = |change: fn(JobsBuilder) -> JobsBuilder, payload: &[u8]| {
        let jobs = change(builder(&fixture.tenants, &fixture.letters))
            .build()
            .unwrap();
        jobs.seal(&ada, payload).unwrap()
    };
    let parts: Vec<&str> = good.as_str().split('.').collect();
    let text = |text: String| JobEnvelope::new(text);
    for (envelope, reason) in [
        (text(String::new()), DeadReason::Malformed),
        (text("tj1.".into()), DeadReason::Malformed),
        (
            text(good.as_str().replace("tj1.", "tj2.")),
            DeadReason::Version,
        ),
        (text(format!("{}.x", good.as_str())), DeadReason::Malformed),
        (text(format!("{}=", good.as_str())), DeadReason::Malformed),
        (
            text(format!("tj1.{}..{}", parts[1], parts[3])),
            DeadReason::Altered,
        ),
        (
            text(format!("tj1.{}.{}.", parts[1], parts[2])),
            DeadReason::Altered,
        ),
        (
            text(format!(
                "tj1.{}.{}.{}",
                "A".repeat(90_000),
                parts[2],
                parts[3]
            )),
            DeadReason::TooLong,
        ),
        (other(|jobs| jobs, &[b'x'; 101]), DeadReason::TooLong),
        (
            other(|jobs| jobs.queue("invoices"), b""),
            DeadReason::Foreign,
        ),
        (
            other(
                |jobs| jobs.sign_with(TokenMinter::hs256("2026-02", [8; 32]).unwrap()),
                b"",
            ),
            DeadReason::UnknownKey,
        ),
    ] {
        assert_eq!(fixture.dead(Some(&envelope)), reason, "{envelope:?}");
    }
    let long = builder(&fixture.tenants, &fixture.letters).build().unwrap();
    let long = long.prepare(&ada).ttl(121 * MINUTE).seal(b"").unwrap();
    assert_eq!(fixture.dead(Some(&long)), DeadReason::LivesTooLong);
    assert_eq!(
        fixture.tenant_of(&good).unwrap(),
        "acme",
        "and the good one opens"
    );
    assert_eq!(fixture.dead(Some(&good)), DeadReason::Replayed);
    let late = fixture.jobs.seal(&ada, b"").unwrap();
    fixture.clock.advance(60 * MINUTE);
    assert_eq!(fixture.dead(Some(&late)), DeadReason::Expired);
    let letters = fixture.letters.lock();
    assert_eq!(letters.len(), 14, "each once");
    for (reason, tenant) in letters.iter() {
        let named = !matches!(
            reason,
            DeadReason::Malformed
                | DeadReason::Version
                | DeadReason::TooLong
                | DeadReason::UnknownKey
        ) && (*reason != DeadReason::Altered || tenant.is_some());
        assert_eq!(tenant.as_deref(), named.then_some("acme"), "{reason}");
    }
}

#[test]
fn a_key_of_the_same_name_and_another_secret_opens_nothing() {
    let fixture = Fixture::new();
    let forger = Jobs::builder(fixture.tenants.clone())
        .queue("reports")
        .sign_with(TokenMinter::hs256("2026-01", [8; 32]).unwrap())
        .on_dead_letter(|_| {})
        .build()
        .unwrap();
    let envelope = forger.seal(&fixture.ada(), b"").unwrap();
    assert_eq!(fixture.dead(Some(&envelope)), DeadReason::Altered);
    assert_eq!(
        *fixture.letters.lock(),
        [(DeadReason::Altered, None)],
        "it is nobody's"
    );
}

#[test]
fn a_queue_per_tenant_opens_its_own_tenants_jobs_only() {
    let fixture = Fixture::new();
    let envelope = fixture.jobs.seal(&fixture.ada(), b"").unwrap();
    let open = |tenant| {
        let tenant = TenantId::parse(tenant).unwrap();
        fixture
            .jobs
            .open_for(&tenant, Some(&envelope))
            .now_or_never()
            .unwrap()
    };
    assert!(matches!(
        open("globex"),
        Err(OpenError::Dead(DeadReason::Foreign))
    ));
    assert!(matches!(
        open("Acme"),
        Err(OpenError::Dead(DeadReason::Foreign))
    ));
    assert!(open("acme").is_ok());
    assert_eq!(fixture.letters.lock().len(), 2);
}

#[test]
fn a_tenant_that_has_left_has_no_jobs() {
    let clock = ManualClock::new();
    let registry = MemoryRegistry::new();
    let acme = TenantId::parse("acme").unwrap();
    registry.insert(TenantRecord::new(acme.clone()));
    let tenants = CachedRegistry::builder(registry.clone())
        .clock(clock.clone())
        .build()
        .unwrap();
    let letters = Letters::default();
    let jobs = builder(&tenants, &letters).build().unwrap();
    let envelope = jobs.seal(&context(&tenants, "acme", "ada"), b"").unwrap();
    registry.remove(&acme);
    clock.advance(MINUTE);
    let refused = jobs
        .open(Some(&envelope))
        .now_or_never()
        .unwrap()
        .unwrap_err();
    assert!(matches!(
        refused,
        OpenError::Dead(DeadReason::TenantUnknown)
    ));
}
