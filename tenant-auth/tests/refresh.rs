//! Refresh tokens: rotation, replays, parallel refreshes, crashes.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "tests"
)]

use std::{
    collections::HashSet,
    future::Future,
    pin::Pin,
    sync::{Arc, Barrier},
    task::{Context, Poll},
    time::Duration,
};

use futures_util::FutureExt;
use parking_lot::Mutex;
use proptest::prelude::*;
use tenant_auth::{
    CachedRegistry, Principal, PrincipalId, TenantId,
    refresh::{
        Issued, MemoryRefreshStore, NewSession, RefreshError, RefreshStore, RefreshTokens, Session,
        SessionEnded, SessionId,
    },
};
use tenant_context::BoxError;
use tenant_testkit::{ManualClock, tenants};

const GRACE: Duration = Duration::from_secs(10);

struct Fixture<S = MemoryRefreshStore> {
    clock: ManualClock,
    tenants: CachedRegistry,
    refresh: RefreshTokens<S>,
    ended: Arc<Mutex<Vec<SessionEnded>>>,
}

impl Fixture {
    fn new(grace: Duration) -> Self {
        Self::on(grace, |store| store)
    }
}

impl<S: RefreshStore> Fixture<S> {
    fn on(grace: Duration, store: impl FnOnce(MemoryRefreshStore) -> S) -> Self {
        let clock = ManualClock::new();
        let tenants = tenants(&["acme", "globex"], &clock);
        let ended: Arc<Mutex<Vec<SessionEnded>>> = Arc::default();
        let told = Arc::clone(&ended);
        let kept = MemoryRefreshStore::with_clock(100, clock.clone());
        let refresh = RefreshTokens::builder(tenants.clone(), store(kept))
            .concurrent_grace(grace)
            .on_reuse(move |session| told.lock().push(session.clone()))
            .build()
            .unwrap();
        Self {
            clock,
            tenants,
            refresh,
            ended,
        }
    }

    fn begin(&self) -> Issued {
        finish(self.refresh.begin(new_session()))
    }

    fn rotate(&self, token: &str) -> Result<Issued, RefreshError> {
        finished(self.refresh.rotate(token, "web"))
    }
}

fn new_session() -> NewSession {
    let ada = Principal::human(PrincipalId::parse("ada").unwrap());
    NewSession::new(TenantId::parse("acme").unwrap(), ada, "web")
        .scopes(["a:read"])
        .roles(["viewer"])
}

/// Polls a future of a store that answers when it is polled again.
fn finished<T>(future: impl Future<Output = T>) -> T {
    let mut future = Box::pin(future);
    for _ in 0..100 {
        if let Some(done) = future.as_mut().now_or_never() {
            return done;
        }
    }
    unreachable!("it hangs")
}

fn finish(future: impl Future<Output = Result<Issued, RefreshError>>) -> Issued {
    finished(future).unwrap()
}

#[test]
fn a_token_is_exchanged_for_its_successor_and_is_invalid_at_once() {
    let fixture = Fixture::new(Duration::ZERO);
    let first = fixture.begin();
    let second = fixture.rotate(first.token.expose()).unwrap();
    let third = fixture.rotate(second.token.expose()).unwrap();
    assert_eq!(third.session.id(), first.session.id());
    assert_eq!(
        (third.session.generation(), third.session.scopes()),
        (2, &["a:read".to_owned()][..])
    );
    assert!(matches!(
        fixture.rotate(first.token.expose()),
        Err(RefreshError::Reused)
    ));
    let ended = fixture.ended.lock();
    assert_eq!((ended.len(), ended[0].session), (1, first.session.id()));
    assert_eq!(
        (ended[0].tenant.as_str(), ended[0].principal.id().as_str()),
        ("acme", "ada")
    );
}

#[test]
fn i5_a_replay_of_any_generation_revokes_the_session_and_says_so_once() {
    for replayed in 0..5 {
        let fixture = Fixture::new(GRACE);
        let mut tokens = vec![fixture.begin().token];
        for at in 0..5 {
            tokens.push(fixture.rotate(tokens[at].expose()).unwrap().token);
        }
        fixture.clock.advance(GRACE);
        assert!(
            matches!(
                fixture.rotate(tokens[replayed].expose()),
                Err(RefreshError::Reused)
            ),
            "{replayed}"
        );
        for token in &tokens {
            assert!(matches!(
                fixture.rotate(token.expose()),
                Err(RefreshError::Revoked)
            ));
        }
        assert_eq!(fixture.ended.lock().len(), 1);
    }
}

/// 415 of 679 refresh tokens revoked by concurrent tabs.
#[test]
fn concurrent_tabs_get_one_successor_and_no_false_revocation() {
    let fixture = Fixture::new(GRACE);
    let first = fixture.begin();
    let successors: HashSet<String> = parallel(&fixture, &first)
        .into_iter()
        .map(|answer| answer.unwrap().token.expose().to_owned())
        .collect();
    assert_eq!(successors.len(), 1);
    assert!(fixture.ended.lock().is_empty());
    let successor = successors.into_iter().next().unwrap();
    assert_eq!(
        fixture.rotate(&successor).unwrap().session.generation(),
        2,
        "and it is good"
    );
}

#[test]
fn without_grace_100_parallel_refreshes_are_one_successor_and_one_revocation() {
    let fixture = Fixture::new(Duration::ZERO);
    let first = fixture.begin();
    let answers = parallel(&fixture, &first);
    let successors: Vec<&Issued> = answers
        .iter()
        .filter_map(|answer| answer.as_ref().ok())
        .collect();
    assert_eq!(successors.len(), 1);
    assert_eq!(fixture.ended.lock().len(), 1, "one revocation");
    assert!(
        answers
            .iter()
            .flat_map(Result::as_ref)
            .all(|issued| issued.session.generation() == 1)
    );
    let dead = fixture.rotate(successors[0].token.expose());
    assert!(
        matches!(dead, Err(RefreshError::Revoked)),
        "the thief's or the owner's: nobody can tell"
    );
}

fn parallel(fixture: &Fixture, first: &Issued) -> Vec<Result<Issued, RefreshError>> {
    let barrier = Barrier::new(100);
    std::thread::scope(|threads| {
        let threads: Vec<_> = (0..100)
            .map(|_| {
                threads.spawn(|| {
                    barrier.wait();
                    fixture.rotate(first.token.expose())
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    })
}

#[test]
fn a_crash_between_swap_and_answer_is_recovered_within_the_grace() {
    for (grace, recovers) in [(GRACE, true), (Duration::ZERO, false)] {
        let fixture = Fixture::on(grace, Slow);
        let first = fixture.begin();
        let mut crashed = Box::pin(fixture.refresh.rotate(first.token.expose(), "web"));
        // Load, then the swap is done and its answer is not read any more.
        assert!(crashed.as_mut().now_or_never().is_none());
        assert!(crashed.as_mut().now_or_never().is_none());
        drop(crashed);
        let again = fixture.rotate(first.token.expose());
        assert_eq!(again.is_ok(), recovers);
        if let Ok(again) = again {
            assert_eq!(
                again.session.generation(),
                1,
                "the swap was done, and is not done twice"
            );
            assert!(fixture.rotate(again.token.expose()).is_ok());
        }
    }
}

#[test]
fn the_grace_ends_and_is_for_the_same_client_and_the_last_generation() {
    let fixture = Fixture::new(GRACE);
    let first = fixture.begin();
    let second = fixture.rotate(first.token.expose()).unwrap();
    fixture.clock.advance(Duration::from_nanos(9_999_999_999));
    assert_eq!(
        fixture.rotate(first.token.expose()).unwrap().token,
        second.token
    );
    fixture.clock.advance(Duration::from_nanos(1));
    assert!(matches!(
        fixture.rotate(first.token.expose()),
        Err(RefreshError::Reused)
    ));

    let fixture = Fixture::new(GRACE);
    let first = fixture.begin();
    fixture.rotate(first.token.expose()).unwrap();
    let other = finished(fixture.refresh.rotate(first.token.expose(), "cli"));
    assert!(matches!(other, Err(RefreshError::Reused)), "another client");

    let fixture = Fixture::new(GRACE);
    let first = fixture.begin();
    let second = fixture.rotate(first.token.expose()).unwrap();
    fixture.rotate(second.token.expose()).unwrap();
    assert!(
        matches!(
            fixture.rotate(first.token.expose()),
            Err(RefreshError::Reused)
        ),
        "two generations ago"
    );
}

#[test]
fn a_token_in_another_clients_hands_ends_the_session() {
    let fixture = Fixture::new(GRACE);
    let first = fixture.begin();
    let stolen = finished(fixture.refresh.rotate(first.token.expose(), "evil"));
    assert!(matches!(stolen, Err(RefreshError::Reused)));
    assert!(matches!(
        fixture.rotate(first.token.expose()),
        Err(RefreshError::Revoked)
    ));
    assert_eq!(fixture.ended.lock().len(), 1);
}

#[test]
fn what_was_not_issued_here_revokes_nothing() {
    let fixture = Fixture::new(GRACE);
    let first = fixture.begin();
    let good = first.token.expose();
    let stranger = Fixture::new(GRACE).begin();
    let cut = &good[..good.len() - 1];
    for bad in [
        "",
        "rt_",
        cut,
        &format!("{good}A"),
        &good.to_lowercase(),
        stranger.token.expose(),
    ] {
        assert!(
            matches!(fixture.rotate(bad), Err(RefreshError::Invalid)),
            "{bad}"
        );
    }
    for at in 3..good.len() {
        let mut changed = good.as_bytes().to_vec();
        changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(changed).unwrap();
        assert!(
            matches!(fixture.rotate(&changed), Err(RefreshError::Invalid)),
            "{at}"
        );
    }
    assert!(fixture.ended.lock().is_empty());
    assert!(fixture.rotate(good).is_ok());
}

#[test]
fn i5_a_suspended_tenant_refreshes_nothing_and_loses_nothing() {
    let fixture = Fixture::new(Duration::ZERO);
    let first = fixture.begin();
    fixture.tenants.suspend(first.session.tenant());
    assert!(matches!(
        fixture.rotate(first.token.expose()),
        Err(RefreshError::Suspended)
    ));
    assert!(matches!(
        finished(fixture.refresh.begin(new_session())),
        Err(RefreshError::Suspended)
    ));
    fixture.tenants.resume(first.session.tenant());
    assert!(fixture.rotate(first.token.expose()).is_ok());
}

#[test]
fn a_session_ends_when_it_is_idle_when_it_is_old_and_when_its_owner_signs_out() {
    let day = Duration::from_secs(86_400);
    let fixture = Fixture::new(Duration::ZERO);
    let idle = fixture.begin();
    fixture.clock.advance(day * 30);
    assert!(matches!(
        fixture.rotate(idle.token.expose()),
        Err(RefreshError::Expired)
    ));
    let mut old = fixture.begin();
    for _ in 0..4 {
        fixture.clock.advance(day * 20);
        old = fixture.rotate(old.token.expose()).unwrap();
    }
    fixture.clock.advance(day * 10);
    assert!(matches!(
        fixture.rotate(old.token.expose()),
        Err(RefreshError::Expired)
    ));
    let left = fixture.begin();
    assert!(finished(fixture.refresh.end_session(left.session.id())).unwrap());
    assert!(!finished(fixture.refresh.end_session(left.session.id())).unwrap());
    assert!(matches!(
        fixture.rotate(left.token.expose()),
        Err(RefreshError::Revoked)
    ));
}

#[test]
fn i8_neither_the_store_nor_debug_gives_a_token_away() {
    let fixture = Fixture::new(GRACE);
    let first = fixture.begin();
    let second = fixture.rotate(first.token.expose()).unwrap();
    let kept = serde_json::to_string(&second.session).unwrap();
    let secrets = [&first, &second].map(|issued| {
        let text = &issued.token.expose()[3..];
        base64::Engine::decode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, text).unwrap()
            [24..56]
            .to_vec()
    });
    for secret in secrets {
        let shown = serde_json::to_string(&secret).unwrap();
        assert!(!kept.contains(&shown));
    }
    let shown = format!("{first:?} {:?}", fixture.refresh);
    assert!(!shown.contains(&first.token.expose()[3..20]), "{shown}");
    assert_eq!(
        serde_json::from_str::<Session>(&kept).unwrap(),
        second.session
    );
}

#[test]
fn i6_a_full_store_begins_no_session_and_forgets_none() {
    let fixture = Fixture::new(Duration::ZERO);
    let all: Vec<Issued> = (0..100).map(|_| fixture.begin()).collect();
    assert!(matches!(
        finished(fixture.refresh.begin(new_session())),
        Err(RefreshError::Unavailable(_))
    ));
    assert!(
        all.iter()
            .all(|issued| fixture.rotate(issued.token.expose()).is_ok())
    );
}

#[test]
fn a_builder_says_what_is_wrong() {
    let tenants = tenants(&["acme"], &ManualClock::new());
    let refresh = || RefreshTokens::builder(tenants.clone(), MemoryRefreshStore::new(1));
    assert!(refresh().on_reuse(|_| {}).build().is_ok());
    for (builder, part) in [
        (refresh(), "on_reuse"),
        (
            refresh()
                .on_reuse(|_| {})
                .concurrent_grace(Duration::from_secs(61)),
            "concurrent_grace",
        ),
        (refresh().on_reuse(|_| {}).idle(Duration::ZERO), "idle"),
        (
            refresh().on_reuse(|_| {}).life(Duration::from_secs(1)),
            "life",
        ),
    ] {
        let error = builder.build().unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
}

/// A store each of whose answers takes a poll after the deed is done.
struct Slow(MemoryRefreshStore);

#[derive(Default)]
struct OncePending(bool);

impl Future for OncePending {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        if std::mem::replace(&mut self.0, true) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }
}

impl RefreshStore for Slow {
    async fn insert(&self, session: Session) -> Result<(), BoxError> {
        let answer = self.0.insert(session).await;
        OncePending::default().await;
        answer
    }

    async fn load(&self, id: SessionId) -> Result<Option<Session>, BoxError> {
        let answer = self.0.load(id).await;
        OncePending::default().await;
        answer
    }

    async fn swap(&self, generation: u64, session: Session) -> Result<bool, BoxError> {
        let answer = self.0.swap(generation, session).await;
        OncePending::default().await;
        answer
    }

    async fn revoke(&self, id: SessionId) -> Result<bool, BoxError> {
        let answer = self.0.revoke(id).await;
        OncePending::default().await;
        answer
    }

    async fn revoke_all(
        &self,
        tenant: &TenantId,
        principal: Option<&PrincipalId>,
    ) -> Result<Vec<SessionId>, BoxError> {
        let answer = self.0.revoke_all(tenant, principal).await;
        OncePending::default().await;
        answer
    }
}

/// Whoever presents a stolen token decides when his request ends, and not whether its owner is told.
#[test]
fn i5_a_replay_that_is_given_up_at_any_moment_is_told_if_it_ended_the_session() {
    let mut half_way = 0;
    for polls in 0..8 {
        let fixture = Fixture::on(Duration::ZERO, Slow);
        let first = fixture.begin();
        let second = fixture.rotate(first.token.expose()).unwrap();
        let mut replay = Box::pin(fixture.refresh.rotate(first.token.expose(), "web"));
        let answered = (0..polls).any(|_| replay.as_mut().now_or_never().is_some());
        drop(replay);
        let told = fixture.ended.lock().len();
        match fixture.rotate(second.token.expose()) {
            Ok(_) => assert_eq!(told, 0),
            Err(RefreshError::Revoked) => assert_eq!(told, 1, "after {polls} polls"),
            Err(error) => panic!("{error}"),
        }
        half_way += usize::from(!answered && told > 0);
        assert!(!answered || told == 1);
    }
    assert!(half_way > 0, "none was given up in the midst");
}

#[test]
fn a_copy_of_the_store_gives_no_token_to_who_has_the_one_before() {
    for (grace, given) in [(Duration::ZERO, false), (GRACE, true)] {
        let fixture = Fixture::new(grace);
        let first = fixture.begin();
        let second = fixture.rotate(first.token.expose()).unwrap();
        let stored = serde_json::to_value(&second.session).unwrap();
        assert_eq!(stored["previous"].is_object(), given, "{stored}");
    }
}

#[test]
fn a_session_is_named_by_what_its_access_tokens_say() {
    let id = Fixture::new(Duration::ZERO).begin().session.id();
    assert_eq!(id.to_string().parse(), Ok(id));
    for other in [
        "",
        "session-7",
        &id.to_string()[1..],
        &format!("{id}0"),
        &"A".repeat(32),
        &"é".repeat(16),
    ] {
        assert!(other.parse::<SessionId>().is_err(), "{other}");
    }
}

type Running = Pin<Box<dyn Future<Output = Result<Issued, RefreshError>>>>;

#[derive(Clone, Copy, Debug)]
enum Step {
    /// Begin a refresh with one of the tokens that were ever issued.
    Refresh(prop::sample::Index),
    /// Poll one of those that run, or give it up.
    Poll(prop::sample::Index),
    Drop(prop::sample::Index),
    Wait,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => any::<prop::sample::Index>().prop_map(Step::Refresh),
        6 => any::<prop::sample::Index>().prop_map(Step::Poll),
        1 => any::<prop::sample::Index>().prop_map(Step::Drop),
        1 => Just(Step::Wait),
    ]
}

proptest! {
    /// However refreshes interleave, crash and replay: no generation has two tokens.
    #[test]
    fn refresh_never_forks(steps in proptest::collection::vec(step(), 0..80), graced in any::<bool>()) {
        let fixture = Fixture::on(if graced { GRACE } else { Duration::ZERO }, Slow);
        let mut issued = vec![fixture.begin()];
        let (mut running, mut given_up) = (Vec::<Running>::new(), 0);
        for step in steps {
            match step {
                Step::Refresh(which) => {
                    let (refresh, token) = (fixture.refresh.clone(), which.get(&issued).token.clone());
                    running.push(Box::pin(async move { refresh.rotate(token.expose(), "web").await }));
                }
                Step::Poll(which) if !running.is_empty() => {
                    let at = which.index(running.len());
                    if let Some(answer) = running[at].as_mut().now_or_never() {
                        drop(running.swap_remove(at));
                        issued.extend(answer.ok());
                    }
                }
                Step::Drop(which) if !running.is_empty() => {
                    given_up += 1;
                    drop(running.swap_remove(which.index(running.len())));
                }
                Step::Wait => fixture.clock.advance(GRACE / 2),
                _ => {}
            }
        }
        let mut by_generation: Vec<(u64, &str)> =
            issued.iter().map(|one| (one.session.generation(), one.token.expose())).collect();
        by_generation.sort_unstable();
        by_generation.dedup();
        let generations: HashSet<u64> = by_generation.iter().map(|(generation, _)| *generation).collect();
        prop_assert_eq!(generations.len(), by_generation.len(), "two tokens of one generation");
        // Once; and whoever gave a replay up half-way told of it, too.
        prop_assert!(fixture.ended.lock().len() <= 1 + given_up);
    }
}
