//! What is sealed, with which key, and what is shown of it.

use std::time::Duration;

use futures_util::FutureExt;
use tenant_auth::{
    TokenMinter,
    jobs::{Jobs, JobsBuilder, SealError},
};
use tenant_context::Rejection;
use tenant_testkit::{claims, context_with};

use crate::fixture::Fixture;

#[test]
fn keys_overlap_and_a_worker_cannot_seal() {
    let fixture = Fixture::new();
    let (old, new) = (
        TokenMinter::eddsa_generate("2026-01").unwrap(),
        TokenMinter::es256_generate("2026-02").unwrap(),
    );
    let jobs = |change: &dyn Fn(JobsBuilder) -> JobsBuilder| {
        change(
            Jobs::builder(fixture.tenants.clone())
                .queue("q")
                .on_dead_letter(|_| {}),
        )
        .build()
        .unwrap()
    };
    let before = jobs(&|jobs| jobs.sign_with(old.clone()));
    let after = jobs(&|jobs| jobs.sign_with(new.clone()));
    let worker = jobs(&|jobs| {
        jobs.verify_with(old.verifying_key())
            .verify_with(new.verifying_key())
    });
    for sealer in [before, after] {
        let envelope = sealer.seal(&fixture.ada(), b"").unwrap();
        assert!(worker.open(Some(&envelope)).now_or_never().unwrap().is_ok());
    }
    assert!(matches!(
        worker.seal(&fixture.ada(), b""),
        Err(SealError::NoKey)
    ));
}

#[test]
fn what_nobody_would_open_is_not_sealed() {
    let fixture = Fixture::new();
    let ada = context_with(&fixture.tenants, claims("acme", "ada").scopes(["*"]));
    let seal = |scopes: usize| {
        let scopes = (0..scopes).map(|n| format!("a:{n}"));
        fixture.jobs.prepare(&ada).scopes(scopes).seal(b"")
    };
    assert_eq!(fixture.tenant_of(&seal(256).unwrap()).unwrap(), "acme");
    let many = seal(257).unwrap_err();
    assert!(matches!(many, SealError::ClaimsTooLong));
    // Another try is of no use.
    assert_eq!(Rejection::from(many).status(), 400);

    // A job's end is carried on in whole seconds.
    let short = Duration::from_millis(1500);
    let short = fixture.jobs.prepare(&ada).ttl(short).seal(b"").unwrap();
    let job = fixture.open(Some(&short)).unwrap();
    fixture.clock.advance(Duration::from_millis(1200));
    assert!(job.context().check().is_ok());
    let late = fixture.jobs.seal(job.context(), b"").unwrap_err();
    assert_eq!(Rejection::from(late).reason(), "expired");
}

#[test]
fn i8_no_payload_is_shown() {
    let fixture = Fixture::new();
    let envelope = fixture.jobs.seal(&fixture.ada(), b"canary").unwrap();
    let job = fixture.open(Some(&envelope)).unwrap();
    let encoded = envelope.as_str().rsplit('.').next().unwrap();
    let shown = format!("{envelope:?} {job:?} {:?}", fixture.jobs);
    assert!(
        !shown.contains("canary") && !shown.contains(encoded),
        "{shown}"
    );
}
