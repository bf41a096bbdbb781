//! API keys in a store that other processes share: what it is asked, and what happens when it is slow, silent or raced.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::panic,
    unreachable_pub,
    dead_code,
    reason = "tests"
)]

mod common;

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use common::{Fixture, in_header, now, reason};
use futures_util::FutureExt;
use parking_lot::Mutex;
use tenant_auth::{
    ApiKeyDigest, ApiKeyError, ApiKeyRecord, ApiKeySecret, ApiKeyState, ApiKeyStore, ApiKeys,
    CredentialId, Delegation, FailureBudget, MemoryApiKeyStore, Principal, PrincipalId, SecretTag,
    SigningKey, TenantContext, TenantId, TokenIssuer, UnixTime,
};
use tenant_context::{BoxError, Clock, RequestHead};
use tenant_testkit::{Gate, ManualClock};

type Hook = Box<dyn FnOnce() + Send>;

/// A database: shared, counted, and at times slow, down, or changed by somebody else in the middle.
#[derive(Clone)]
struct Database {
    kept: MemoryApiKeyStore,
    down: Arc<AtomicBool>,
    /// Knows no key any more.
    emptied: Arc<AtomicBool>,
    reads: Arc<AtomicUsize>,
    writes: Arc<AtomicUsize>,
    /// What a read waits for before it answers with what it has read.
    gate: Arc<Mutex<Option<Gate>>>,
    /// What happens after a key or a list was read, and before it is answered.
    after_read: Arc<Mutex<Option<Hook>>>,
}

impl Database {
    fn new() -> Self {
        Self {
            kept: MemoryApiKeyStore::new(),
            down: Arc::default(),
            emptied: Arc::default(),
            reads: Arc::default(),
            writes: Arc::default(),
            gate: Arc::default(),
            after_read: Arc::default(),
        }
    }

    fn changed<T>(&self, answer: T) -> T {
        let hook = self.after_read.lock().take();
        if let Some(hook) = hook {
            hook();
        }
        answer
    }

    fn ask(&self, counter: &AtomicUsize) -> Result<(), BoxError> {
        counter.fetch_add(1, SeqCst);
        if self.down.load(SeqCst) {
            return Err("down".into());
        }
        Ok(())
    }
}

impl ApiKeyStore for Database {
    async fn insert(&self, record: ApiKeyRecord) -> Result<(), BoxError> {
        self.ask(&self.writes)?;
        self.kept.insert(record).await
    }

    async fn find(&self, digests: &[ApiKeyDigest]) -> Result<Option<ApiKeyRecord>, BoxError> {
        self.ask(&self.reads)?;
        let found = self.kept.find(digests).await;
        let gate = self.gate.lock().clone();
        if let Some(gate) = gate {
            gate.pass().await;
        }
        if self.emptied.load(SeqCst) {
            return Ok(None);
        }
        found
    }

    async fn load(
        &self,
        tenant: &TenantId,
        id: &CredentialId,
    ) -> Result<Option<ApiKeyRecord>, BoxError> {
        self.ask(&self.reads)?;
        self.changed(self.kept.load(tenant, id).await)
    }

    async fn list(&self, tenant: &TenantId) -> Result<Vec<ApiKeyRecord>, BoxError> {
        self.ask(&self.reads)?;
        self.changed(self.kept.list(tenant).await)
    }

    async fn replace(&self, version: u64, record: ApiKeyRecord) -> Result<bool, BoxError> {
        self.ask(&self.writes)?;
        self.kept.replace(version, record).await
    }

    async fn rotate(
        &self,
        version: u64,
        record: ApiKeyRecord,
        successor: ApiKeyRecord,
    ) -> Result<bool, BoxError> {
        self.ask(&self.writes)?;
        self.kept.rotate(version, record, successor).await
    }

    async fn touch(&self, uses: &[(CredentialId, UnixTime)]) -> Result<(), BoxError> {
        self.ask(&self.writes)?;
        self.kept.touch(uses).await
    }

    async fn count_other_secrets(&self, newest: SecretTag) -> Result<usize, BoxError> {
        self.kept.count_other_secrets(newest).await
    }
}

/// A process with a database.
fn process(database: &Database, clock: &ManualClock) -> Fixture {
    with_capacity(database, clock, 100)
}

fn with_capacity(database: &Database, clock: &ManualClock, keys: usize) -> Fixture {
    let mut fixture = Fixture::new();
    fixture.clock = clock.clone();
    fixture.tenants = tenant_testkit::tenants(&["acme", "globex"], clock);
    fixture.keys = ApiKeys::builder("sk", "live", [7; 32])
        .store(database.clone())
        .clock(clock.clone())
        .capacity(keys)
        .build()
        .unwrap();
    fixture.layered(|layer| layer)
}

fn acme() -> TenantId {
    TenantId::parse("acme").unwrap()
}

fn send(process: &Fixture, key: &ApiKeySecret) -> String {
    reason(process.admit(in_header(key.expose())))
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_key_in_use_costs_the_store_one_question_in_five_seconds_and_no_write() {
    let (database, clock) = (Database::new(), ManualClock::new());
    let process = process(&database, &clock);
    let (key, id) = process.api_key("acme", "ci");
    let written = database.writes.load(SeqCst);
    for _ in 0..60 {
        for _ in 0..100 {
            assert_eq!(send(&process, &key), "ok");
        }
        clock.advance(SECOND);
    }
    assert_eq!(database.reads.load(SeqCst), 12);
    assert_eq!(database.writes.load(SeqCst), written, "6,000 requests");
    let last = clock.unix().saturating_sub(SECOND);
    now(process.keys.sweep());
    now(process.keys.sweep());
    assert_eq!(
        database.writes.load(SeqCst),
        written + 1,
        "one for all of them"
    );
    let record = now(database.kept.load(&acme(), &id)).unwrap();
    assert_eq!(record.last_used_at(), Some(last));
    assert_eq!(record.version(), 0, "a use is no change");
}

#[test]
fn i5_a_revocation_elsewhere_holds_within_five_seconds() {
    let (database, clock) = (Database::new(), ManualClock::new());
    let (here, there) = (process(&database, &clock), process(&database, &clock));
    let (key, id) = here.api_key("acme", "ci");
    let held = there.admit(in_header(key.expose())).unwrap();
    now(here.keys.revoke(&acme(), &id));
    assert_eq!(send(&here, &key), "revoked", "at once");
    clock.advance(5 * SECOND);
    assert_eq!(send(&there, &key), "revoked");
    assert!(held.check().is_err(), "and what is held");
}

#[test]
fn i5_a_revocation_that_lands_while_the_key_is_read_is_seen() {
    let (database, clock) = (Database::new(), ManualClock::new());
    let process = process(&database, &clock);
    for rotated in [false, true] {
        let (key, id) = process.api_key("acme", "ci");
        let gate = Gate::closed();
        *database.gate.lock() = Some(gate.clone());
        let (head, ()) = in_header(key.expose()).into_parts();
        let mut deciding =
            pin!(TenantContext::admit(&process.auth, &RequestHead::new(&head)).wait());
        assert!(
            deciding.as_mut().now_or_never().is_none(),
            "the store has read, and not answered"
        );
        if rotated {
            now(process.keys.rotate_now(&acme(), &id));
        } else {
            now(process.keys.revoke(&acme(), &id));
        }
        gate.open();
        assert_ne!(reason(deciding.now_or_never().unwrap()), "ok");
        *database.gate.lock() = None;
        assert_ne!(send(&process, &key), "ok");
    }
}

#[test]
fn while_a_slow_store_is_asked_about_a_key_its_other_requests_go_on() {
    let (database, clock) = (Database::new(), ManualClock::new());
    let process = process(&database, &clock);
    let (key, _) = process.api_key("acme", "ci");
    assert_eq!(send(&process, &key), "ok");
    clock.advance(5 * SECOND);
    let asked = database.reads.load(SeqCst);
    let gate = Gate::closed();
    *database.gate.lock() = Some(gate.clone());
    let (head, ()) = in_header(key.expose()).into_parts();
    let mut first = pin!(TenantContext::admit(&process.auth, &RequestHead::new(&head)).wait());
    assert!(first.as_mut().now_or_never().is_none());
    for _ in 0..10 {
        assert_eq!(send(&process, &key), "ok");
    }
    assert_eq!(database.reads.load(SeqCst), asked + 1, "one asks for all");
    gate.open();
    assert_eq!(reason(first.now_or_never().unwrap()), "ok");
}

#[test]
fn i5_a_key_that_is_gone_from_the_store_ends_with_all_that_it_admitted() {
    let (database, clock) = (Database::new(), ManualClock::new());
    let process = process(&database, &clock);
    let (key, _) = process.api_key("acme", "ci");
    let held = process.admit(in_header(key.expose())).unwrap();
    database.emptied.store(true, SeqCst);
    clock.advance(5 * SECOND);
    assert!(held.check().is_ok(), "nobody has looked");
    assert_eq!(send(&process, &key), "api_key_unknown");
    assert_eq!(held.check().unwrap_err().reason(), "revoked");
}

/// Whoever cannot be asked about is not one who failed.
#[test]
fn a_store_that_is_down_spends_nobodys_failure_budget() {
    let (database, clock) = (Database::new(), ManualClock::new());
    let budget = FailureBudget::per_minute(2);
    let process = process(&database, &clock).layered(|layer| layer.failure_budget(budget));
    let (key, _) = process.api_key("acme", "ci");
    database.down.store(true, SeqCst);
    for _ in 0..10 {
        assert_eq!(send(&process, &key), "store_unavailable");
    }
    database.down.store(false, SeqCst);
    assert_eq!(send(&process, &key), "ok");
}

#[test]
fn i7_a_silent_store_is_waited_for_thirty_seconds_and_then_keys_are_refused() {
    let (database, clock) = (Database::new(), ManualClock::new());
    let process = process(&database, &clock);
    let (key, id) = process.api_key("acme", "ci");
    let (cold, _) = process.api_key("acme", "cold");
    assert_eq!(send(&process, &key), "ok");
    database.down.store(true, SeqCst);
    let asked = database.reads.load(SeqCst);
    for second in 0..40 {
        let expected = if second < 30 {
            "ok"
        } else {
            "store_unavailable"
        };
        for _ in 0..3 {
            assert_eq!(send(&process, &key), expected, "after {second} s");
        }
        clock.advance(SECOND);
    }
    assert!(
        database.reads.load(SeqCst) - asked < 60,
        "it is not stormed"
    );
    assert_eq!(send(&process, &cold), "store_unavailable");
    let failed = process.keys.revoke(&acme(), &id).now_or_never().unwrap();
    assert!(matches!(failed, Err(ApiKeyError::Unavailable(_))));
    database.down.store(false, SeqCst);
    assert_eq!(send(&process, &cold), "ok");
}

#[test]
fn i5_a_revocation_that_the_store_does_not_take_holds_here_all_the_same() {
    let (database, clock) = (Database::new(), ManualClock::new());
    let process = process(&database, &clock);
    let (key, id) = process.api_key("acme", "ci");
    assert_eq!(send(&process, &key), "ok");
    database.down.store(true, SeqCst);
    let failed = process.keys.revoke(&acme(), &id).now_or_never().unwrap();
    assert!(matches!(failed, Err(ApiKeyError::Unavailable(_))));
    assert_eq!(send(&process, &key), "revoked");
}

#[test]
fn a_key_has_one_successor_however_many_rotate_it_at_once() {
    let (database, clock) = (Database::new(), ManualClock::new());
    let processes = [process(&database, &clock), process(&database, &clock)];
    let (_, id) = processes[0].api_key("acme", "ci");
    let rotated: Vec<_> = std::thread::scope(|scope| {
        let rotate = |n: usize| {
            let (keys, id) = (processes[n % 2].keys.clone(), id.clone());
            scope.spawn(move || keys.rotate(&acme(), &id).now_or_never().unwrap())
        };
        let threads: Vec<_> = (0..16).map(rotate).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    assert_eq!(rotated.iter().filter(|rotated| rotated.is_ok()).count(), 1);
    for failed in rotated.iter().filter_map(|rotated| rotated.as_ref().err()) {
        assert!(matches!(failed, ApiKeyError::Rotated), "{failed:?}");
    }
    assert_eq!(now(processes[0].keys.list(&acme())).len(), 2);
}

#[test]
fn a_rotation_that_lost_the_race_adds_no_key() {
    let (database, clock) = (Database::new(), ManualClock::new());
    let (slow, fast) = (process(&database, &clock), process(&database, &clock));
    let (_, id) = slow.api_key("acme", "ci");
    let (keys, theirs) = (fast.keys.clone(), id.clone());
    *database.after_read.lock() = Some(Box::new(move || {
        now(keys.rotate(&acme(), &theirs));
    }));
    let late = slow.keys.rotate(&acme(), &id).now_or_never().unwrap();
    assert!(matches!(late, Err(ApiKeyError::Rotated)), "{late:?}");
    assert_eq!(now(slow.keys.list(&acme())).len(), 2);

    let (keys, revoked) = (fast.keys.clone(), fast.api_key("acme", "other").1);
    let theirs = revoked.clone();
    *database.after_read.lock() = Some(Box::new(move || {
        now(keys.revoke(&acme(), &theirs));
    }));
    let late = slow.keys.rotate(&acme(), &revoked).now_or_never().unwrap();
    assert!(matches!(late, Err(ApiKeyError::Ended)), "{late:?}");
}

#[test]
fn a_key_that_is_rotated_while_its_tenants_keys_are_revoked_does_not_escape() {
    let (database, clock) = (Database::new(), ManualClock::new());
    let (admin, thief) = (process(&database, &clock), process(&database, &clock));
    let (_, id) = admin.api_key("acme", "ci");
    let stolen: Arc<Mutex<Option<ApiKeySecret>>> = Arc::default();
    let (keys, slot) = (thief.keys.clone(), Arc::clone(&stolen));
    *database.after_read.lock() = Some(Box::new(move || {
        *slot.lock() = Some(now(keys.rotate(&acme(), &id)).secret);
    }));
    assert_eq!(
        now(admin.keys.revoke_tenant(&acme())),
        2,
        "the successor too"
    );
    let stolen = stolen.lock().take().unwrap();
    assert_eq!(send(&admin, &stolen), "revoked");
    assert_eq!(send(&thief, &stolen), "revoked");
}

#[test]
fn i6_keys_that_nobody_uses_are_forgotten_and_those_in_use_are_not() {
    let (database, clock) = (Database::new(), ManualClock::new());
    let process = with_capacity(&database, &clock, 3);
    let held: Vec<_> = (0..3)
        .map(|n| {
            let (key, id) = process.api_key("acme", &format!("held-{n}"));
            (process.admit(in_header(key.expose())).unwrap(), key, id)
        })
        .collect();
    let (fourth, _) = process.api_key("acme", "fourth");
    assert_eq!(
        send(&process, &fourth),
        "api_keys_full",
        "none in use is forgotten"
    );
    now(process.keys.revoke(&acme(), &held[0].2));
    assert!(
        held[0].0.check().is_err(),
        "a revocation reaches all that is held"
    );

    let process = process.layered(|layer| layer.cache_capacity(0));
    drop(held);
    for n in 0..20 {
        let (key, _) = process.api_key("acme", &format!("passing-{n}"));
        assert_eq!(send(&process, &key), "ok", "{n}");
    }
}

#[test]
fn a_key_is_hashed_anew_in_the_store_once_whichever_process_sees_it_first() {
    let (database, clock) = (Database::new(), ManualClock::new());
    let processes = [process(&database, &clock), process(&database, &clock)];
    let (key, id) = processes[0].api_key("acme", "ci");
    for process in &processes {
        assert_eq!(send(process, &key), "ok");
        process.keys.rotate_secret([8; 32]).unwrap();
    }
    let before = now(database.kept.load(&acme(), &id)).unwrap();
    assert_eq!(now(processes[0].keys.under_old_secrets()), 1);
    for _ in 0..3 {
        for process in &processes {
            assert_eq!(send(process, &key), "ok");
        }
    }
    let after = now(database.kept.load(&acme(), &id)).unwrap();
    assert_eq!(after.version(), before.version() + 1);
    assert!(after.digest() != before.digest());
    for process in &processes {
        assert_eq!(now(process.keys.under_old_secrets()), 0);
        process.keys.retire_old_secrets();
        assert_eq!(send(process, &key), "ok");
    }
}

#[test]
fn i7_a_store_that_answers_with_another_key_admits_nobody() {
    #[derive(Clone)]
    struct Confused(Arc<Mutex<Option<ApiKeyRecord>>>);

    impl ApiKeyStore for Confused {
        async fn insert(&self, record: ApiKeyRecord) -> Result<(), BoxError> {
            self.0.lock().get_or_insert(record);
            Ok(())
        }
        async fn find(&self, _: &[ApiKeyDigest]) -> Result<Option<ApiKeyRecord>, BoxError> {
            Ok(self.0.lock().clone())
        }
        async fn load(
            &self,
            _: &TenantId,
            _: &CredentialId,
        ) -> Result<Option<ApiKeyRecord>, BoxError> {
            Ok(self.0.lock().clone())
        }
        async fn list(&self, _: &TenantId) -> Result<Vec<ApiKeyRecord>, BoxError> {
            Ok(self.0.lock().clone().into_iter().collect())
        }
        async fn replace(&self, _: u64, _: ApiKeyRecord) -> Result<bool, BoxError> {
            Ok(true)
        }
        async fn rotate(&self, _: u64, _: ApiKeyRecord, _: ApiKeyRecord) -> Result<bool, BoxError> {
            Ok(true)
        }
        async fn touch(&self, _: &[(CredentialId, UnixTime)]) -> Result<(), BoxError> {
            Ok(())
        }
        async fn count_other_secrets(&self, _: SecretTag) -> Result<usize, BoxError> {
            Ok(0)
        }
    }

    let mut fixture = Fixture::new();
    fixture.keys = ApiKeys::builder("sk", "live", [7; 32])
        .store(Confused(Arc::default()))
        .clock(fixture.clock.clone())
        .build()
        .unwrap();
    let fixture = fixture.layered(|layer| layer);
    let (mine, _) = fixture.api_key("globex", "ci");
    let (yours, id) = fixture.api_key("acme", "ci");
    assert_eq!(send(&fixture, &mine), "ok");
    assert_eq!(
        send(&fixture, &yours),
        "store_unavailable",
        "it is globex's record"
    );
    assert!(now(fixture.keys.list(&acme())).is_empty());
    let revoked = fixture.keys.revoke(&acme(), &id).now_or_never().unwrap();
    assert!(matches!(revoked, Err(ApiKeyError::Unknown)));
    assert_eq!(
        now(fixture.keys.list(&TenantId::parse("globex").unwrap()))[0].state(ManualClock::START),
        ApiKeyState::Active
    );
}

#[test]
fn i5_what_was_derived_from_a_key_ends_with_it_also_where_the_key_was_never_seen() {
    let (database, clock) = (Database::new(), ManualClock::new());
    let issuer = TokenIssuer::builder("https://own.example.com", "api")
        .key(SigningKey::eddsa_generate("own").unwrap())
        .clock(clock.clone())
        .build()
        .unwrap();
    let trusting = || process(&database, &clock).layered(|layer| layer.jwt(issuer.as_issuer()));
    let here = trusting();
    let (key, id) = now(here
        .keys
        .issue(common::new_key("acme", "ci").scopes(["reports:*"])));
    let holder = here.admit(in_header(key.expose())).unwrap();
    let bot = Principal::agent(PrincipalId::parse("bot").unwrap());
    let derived = issuer
        .delegate(&holder, Delegation::to(bot).scopes(["reports:read"]))
        .unwrap();
    let there = trusting();
    let held = there.bearer(derived.expose()).unwrap();
    now(there.keys.revoke(&acme(), &id));
    assert!(held.check().is_err(), "what is held elsewhere");
    assert_eq!(there.reason(derived.expose()), "revoked");
    drop((holder, held));
    now(there.keys.sweep());
    now(there.keys.sweep());
    assert_eq!(
        there.reason(derived.expose()),
        "revoked",
        "and is not forgotten"
    );
    assert_eq!(
        trusting().reason(derived.expose()),
        "revoked",
        "nor by who comes later"
    );
}

/// What is held there was made before; the key itself is never presented there.
#[test]
fn i5_a_key_revoked_elsewhere_ends_what_was_derived_from_it_as_soon_as_itself() {
    let (database, clock) = (Database::new(), ManualClock::new());
    let issuer = TokenIssuer::builder("https://own.example.com", "api")
        .key(SigningKey::eddsa_generate("own").unwrap())
        .clock(clock.clone())
        .build()
        .unwrap();
    let trusting = || process(&database, &clock).layered(|layer| layer.jwt(issuer.as_issuer()));
    let (here, there) = (trusting(), trusting());
    let (key, id) = now(here
        .keys
        .issue(common::new_key("acme", "ci").scopes(["reports:*"])));
    let holder = here.admit(in_header(key.expose())).unwrap();
    let delegate = |to: &str| {
        let bot = Principal::agent(PrincipalId::parse(to).unwrap());
        let delegation = Delegation::to(bot).scopes(["reports:read"]);
        issuer.delegate(&holder, delegation).unwrap()
    };
    let (cached, fresh) = (delegate("bot"), delegate("bat"));
    let held = there.bearer(cached.expose()).unwrap();
    now(here.keys.revoke(&acme(), &id));
    clock.advance(Duration::from_secs(5));
    assert_eq!(there.reason(cached.expose()), "revoked");
    assert_eq!(there.reason(fresh.expose()), "revoked");
    assert_eq!(held.check().unwrap_err().reason(), "revoked");
}

#[test]
fn what_was_derived_from_a_key_goes_on_while_the_store_is_down_as_long_as_the_key_itself() {
    let (database, clock) = (Database::new(), ManualClock::new());
    let issuer = TokenIssuer::builder("https://own.example.com", "api")
        .key(SigningKey::eddsa_generate("own").unwrap())
        .clock(clock.clone())
        .build()
        .unwrap();
    let fixture = process(&database, &clock).layered(|layer| layer.jwt(issuer.as_issuer()));
    let (key, _) = now(fixture
        .keys
        .issue(common::new_key("acme", "ci").scopes(["reports:*"])));
    let holder = fixture.admit(in_header(key.expose())).unwrap();
    let bot = Principal::agent(PrincipalId::parse("bot").unwrap());
    let delegation = Delegation::to(bot).scopes(["reports:read"]);
    let derived = issuer.delegate(&holder, delegation).unwrap();
    let send = || {
        let admitted = fixture.bearer(derived.expose());
        admitted.map_or_else(|it| it.reason().to_owned(), |_| "ok".to_owned())
    };
    assert_eq!(send(), "ok");
    database.down.store(true, SeqCst);
    clock.advance(Duration::from_secs(6));
    assert_eq!(send(), "ok");
    clock.advance(Duration::from_secs(300));
    assert_eq!(send(), "store_unavailable");
}
