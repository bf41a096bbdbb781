//! Jobs: what travels, when they start, when they end, and what becomes of what cannot be opened.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests"
)]

use std::{future::pending, sync::Arc, time::Duration};

use futures_util::FutureExt;
use parking_lot::Mutex;
use tenant_auth::{
    CachedRegistry, CredentialId, Principal, PrincipalId, RejectionKind, Revocation, Revocations,
    TenantContext, TenantId, TokenMinter, UnixTime,
    jobs::{DeadReason, JobEnvelope, Jobs, JobsBuilder, OpenError, RunError, SealError},
};
use tenant_context::{Claims, EndReason, MemoryRegistry, Rejection, TenantRecord};
use tenant_testkit::{Gate, ManualClock, claims, context, context_with, tenants};

const MINUTE: Duration = Duration::from_secs(60);

/// What reached the dead-letter callback: the reason, and whose it is.
type Letters = Arc<Mutex<Vec<(DeadReason, Option<String>)>>>;

struct Fixture {
    clock: ManualClock,
    tenants: CachedRegistry,
    jobs: Jobs,
    letters: Letters,
}

impl Fixture {
    fn new() -> Self {
        Self::with(|builder| builder)
    }

    fn with(change: impl FnOnce(JobsBuilder) -> JobsBuilder) -> Self {
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

    fn ada(&self) -> TenantContext {
        context(&self.tenants, "acme", "ada")
    }

    fn dead(&self, envelope: Option<&JobEnvelope>) -> DeadReason {
        let Err(OpenError::Dead(reason)) = self.jobs.open(envelope).now_or_never().unwrap() else {
            panic!("it was opened, or may be later");
        };
        let (told, _) = self.letters.lock().last().cloned().unwrap();
        assert_eq!(told, reason);
        reason
    }

    fn tenant_of(&self, envelope: &JobEnvelope) -> Result<String, RunError<Rejection>> {
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

fn builder(tenants: &CachedRegistry, letters: &Letters) -> JobsBuilder {
    let letters = Arc::clone(letters);
    Jobs::builder(tenants.clone())
        .queue("reports")
        .sign_with(TokenMinter::hs256("2026-01", [7; 32]).unwrap())
        .on_dead_letter(move |letter| {
            let tenant = letter.tenant.map(ToString::to_string);
            letters.lock().push((letter.reason, tenant));
        })
}

#[test]
fn what_a_context_says_travels_with_its_job() {
    let fixture = Fixture::new();
    let id = |text| PrincipalId::parse(text).unwrap();
    let mut full = claims("acme", "ada")
        .actor(Principal::agent(id("bot-2")))
        .actor(Principal::agent(id("bot-1")))
        .scopes(["reports:write", "reports:read"])
        .roles(["developer"])
        .credential(CredentialId::parse("jti-1").unwrap());
    full.resource_prefix = Some("/reports".to_owned());
    full.issuer = Some("https://id.example.com".into());
    full.org_id = Some("emea".to_owned());
    full.issued_at = Some(ManualClock::START);
    full.stated_expiry = Some(ManualClock::START.saturating_add(60 * MINUTE));
    full.parents = vec![tenant_context::Parent::new(
        CredentialId::parse("jti-0").unwrap(),
        full.expires_at,
        vec!["reports:*".into()],
    )];
    full.purpose = Some("month's end".to_owned());
    full.operator_of = Some(TenantId::parse("globex").unwrap());
    full.custom.insert("read_only".to_owned(), true.into());
    let ada = context_with(&fixture.tenants, full);
    let envelope = fixture.jobs.seal(&ada, b"payload").unwrap();
    let job = fixture
        .jobs
        .open(Some(&envelope))
        .now_or_never()
        .unwrap()
        .unwrap();
    let mut expected: Claims = ada.to_claims();
    expected.expires_at = ManualClock::START.saturating_add(60 * MINUTE);
    expected.stated_expiry = None;
    let mut opened = job.context().to_claims();
    assert!(opened.custom.remove("tenant-auth:job-until").is_some());
    assert_eq!(opened, expected);
    assert_eq!(job.payload(), b"payload");
}

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
    let job = fixture.jobs.open(Some(&envelope)).now_or_never().unwrap();
    assert_eq!(job.unwrap().context().expires_at(), end);
    fixture.clock.advance(10 * MINUTE);
    assert!(visiting.check().is_ok(), "the leeway");
    let late = fixture.jobs.seal(&visiting, b"").unwrap_err();
    assert_eq!(Rejection::from(late).reason(), "expired");
}

#[test]
fn a_job_has_the_scopes_it_names_and_no_others() {
    let fixture = Fixture::new();
    let scopes = claims("acme", "ada")
        .scopes(["a:read", "b:read"])
        .roles(["admin"]);
    let ada = context_with(&fixture.tenants, scopes);
    let narrow = fixture
        .jobs
        .prepare(&ada)
        .scopes(["a:read"])
        .seal(b"")
        .unwrap();
    let job = fixture
        .jobs
        .open(Some(&narrow))
        .now_or_never()
        .unwrap()
        .unwrap();
    assert_eq!(job.context().scopes().collect::<Vec<_>>(), ["a:read"]);
    assert!(job.context().allows("a:read"));
    assert!(
        !job.context().allows("b:read"),
        "its role gave back what was left out"
    );
    let wide = fixture
        .jobs
        .prepare(&ada)
        .scopes(["a:read", "c:read"])
        .seal(b"");
    let rejection = Rejection::from(wide.unwrap_err());
    assert_eq!(rejection.kind(), RejectionKind::InsufficientScope);
}

/// An administrator's job for one thing is no administrator.
#[test]
fn a_job_with_fewer_scopes_does_not_act_in_its_principals_roles() {
    let fixture = Fixture::new();
    let roles = ["admin", "founder", "agent"];
    let ada = context_with(&fixture.tenants, claims("acme", "ada").roles(roles));
    let opened = |envelope: JobEnvelope| {
        let job = fixture.jobs.open(Some(&envelope)).now_or_never().unwrap();
        let job = job.unwrap();
        roles.map(|role| job.context().require_role(role).is_ok())
    };
    let narrowed = |scope: &str| {
        fixture
            .jobs
            .prepare(&ada)
            .scopes([scope])
            .seal(b"")
            .unwrap()
    };
    assert_eq!(opened(fixture.jobs.seal(&ada, b"").unwrap()), [true; 3]);
    // What no scope stands for may be more than what is left; `agent` says of itself that it is not.
    assert_eq!(opened(narrowed("reports:read")), [false, false, true]);
    assert_eq!(opened(narrowed("*")), [true, false, true]);
}

/// A credential that names no scope in its scope claim allows nothing, whatever its roles are.
#[test]
fn a_job_of_a_credential_that_is_limited_to_nothing_is_too() {
    let fixture = Fixture::new();
    let nothing = claims("acme", "ada")
        .scopes(Vec::<String>::new())
        .roles(["admin"]);
    let ada = context_with(&fixture.tenants, nothing);
    assert!(!ada.allows("a:read"));
    let envelope = fixture.jobs.seal(&ada, b"").unwrap();
    let job = fixture
        .jobs
        .open(Some(&envelope))
        .now_or_never()
        .unwrap()
        .unwrap();
    assert!(!job.context().allows("a:read"));
    let by_role = context_with(&fixture.tenants, claims("acme", "ada").roles(["admin"]));
    let envelope = fixture.jobs.seal(&by_role, b"").unwrap();
    let job = fixture
        .jobs
        .open(Some(&envelope))
        .now_or_never()
        .unwrap()
        .unwrap();
    assert!(job.context().allows("a:read"));
    // And one that is given nothing has nothing, not what its roles allow.
    let nothing = fixture.jobs.prepare(&by_role).scopes(None::<String>);
    let envelope = nothing.seal(b"").unwrap();
    let job = fixture.jobs.open(Some(&envelope)).now_or_never().unwrap();
    assert!(!job.unwrap().context().allows("a:read"));
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
fn a_job_of_a_job_does_not_outlive_it() {
    let fixture = Fixture::new();
    let first = fixture
        .jobs
        .prepare(&fixture.ada())
        .ttl(10 * MINUTE)
        .seal(b"")
        .unwrap();
    let job = fixture
        .jobs
        .open(Some(&first))
        .now_or_never()
        .unwrap()
        .unwrap();
    fixture.clock.advance(5 * MINUTE);
    let second = fixture.jobs.seal(job.context(), b"").unwrap();
    let second = fixture
        .jobs
        .open(Some(&second))
        .now_or_never()
        .unwrap()
        .unwrap();
    let end = UnixTime::from_secs(ManualClock::START.as_secs() + 600);
    assert_eq!(second.context().expires_at(), end);
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
    assert!(matches!(seal(257), Err(SealError::ClaimsTooLong)));

    // A job's end is carried on in whole seconds.
    let short = Duration::from_millis(1500);
    let short = fixture.jobs.prepare(&ada).ttl(short).seal(b"").unwrap();
    let job = fixture.jobs.open(Some(&short)).now_or_never().unwrap();
    let job = job.unwrap();
    fixture.clock.advance(Duration::from_millis(1200));
    assert!(job.context().check().is_ok());
    let late = fixture.jobs.seal(job.context(), b"").unwrap_err();
    assert_eq!(Rejection::from(late).reason(), "expired");
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

#[test]
fn i8_no_payload_is_shown() {
    let fixture = Fixture::new();
    let envelope = fixture.jobs.seal(&fixture.ada(), b"canary").unwrap();
    let job = fixture
        .jobs
        .open(Some(&envelope))
        .now_or_never()
        .unwrap()
        .unwrap();
    let encoded = envelope.as_str().rsplit('.').next().unwrap();
    let shown = format!("{envelope:?} {job:?} {:?}", fixture.jobs);
    assert!(
        !shown.contains("canary") && !shown.contains(encoded),
        "{shown}"
    );
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

#[test]
fn a_builder_says_what_is_missing() {
    let tenants = tenants(&["acme"], &ManualClock::new());
    let key = || TokenMinter::hs256("a", [7; 32]).unwrap();
    let jobs = || {
        Jobs::builder(tenants.clone())
            .queue("q")
            .sign_with(key())
            .on_dead_letter(|_| {})
    };
    assert!(jobs().build().is_ok());
    for (builder, part) in [
        (jobs().queue(""), "queue"),
        (
            Jobs::builder(tenants.clone())
                .queue("q")
                .on_dead_letter(|_| {}),
            "no key",
        ),
        (jobs().verify_with(key().verifying_key()), "own"),
        (
            jobs().verify_with(tenant_auth::VerifyingKey::hs256([7; 32])),
            "kid",
        ),
        (
            jobs().verify_with(tenant_auth::VerifyingKey::hs256([7; 3]).kid("b")),
            "32",
        ),
        (
            Jobs::builder(tenants.clone()).queue("q").sign_with(key()),
            "on_dead_letter",
        ),
        (jobs().ttl(Duration::ZERO), "ttl"),
        (
            jobs().ttl(MINUTE).max_ttl(Duration::from_secs(59)),
            "max_ttl",
        ),
        (jobs().max_ttl(Duration::from_secs(31 * 86_400)), "max_ttl"),
        (jobs().max_payload(usize::MAX), "max_payload"),
        (jobs().replay_capacity(0), "replay_capacity"),
    ] {
        let error = builder.build().unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
}
