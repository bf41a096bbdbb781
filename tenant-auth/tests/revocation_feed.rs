//! Revocations that other processes make: when they hold here, and what their store's silence means.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::string_slice,
    clippy::panic,
    clippy::format_push_string,
    clippy::format_collect,
    unreachable_pub,
    dead_code,
    reason = "tests"
)]

mod common;

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use common::{Fixture, reason};
use futures_util::FutureExt;
use http::Request;
use parking_lot::Mutex;
use tenant_auth::{
    CredentialId, FeedPosition, RejectionKind, Revocation, RevocationFeed, RevocationNews,
    RevocationStore, Revocations, TenantId,
};
use tenant_context::BoxError;

const SILENCE: Duration = Duration::from_secs(30);
const INTERVAL: Duration = Duration::from_secs(1);

/// A log that several processes share, and that can be made to fail.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    entries: Vec<Revocation>,
    page: Option<usize>,
    mood: Mood,
    reads: usize,
}

#[derive(Clone, Copy, Default, PartialEq)]
enum Mood {
    #[default]
    Well,
    Fails,
    Hangs,
    /// Answers when its mood has changed.
    Slow,
    Panics,
}

impl Log {
    fn mood(&self, mood: Mood) {
        self.0.lock().mood = mood;
    }

    async fn ask(&self) -> Result<(), BoxError> {
        let mood = {
            let mut state = self.0.lock();
            state.reads += 1;
            state.mood
        };
        match mood {
            Mood::Well => Ok(()),
            Mood::Fails => Err("the store is down".into()),
            Mood::Hangs => std::future::pending().await,
            Mood::Slow => {
                let answered = |_: &mut Context<'_>| {
                    let mood = self.0.lock().mood;
                    if mood == Mood::Slow {
                        Poll::Pending
                    } else {
                        Poll::Ready(Ok(()))
                    }
                };
                std::future::poll_fn(answered).await
            }
            Mood::Panics => panic!("the store's code has a mistake"),
        }
    }
}

impl RevocationStore for Log {
    async fn publish(&self, revocation: &Revocation) -> Result<(), BoxError> {
        self.ask().await?;
        self.0.lock().entries.push(revocation.clone());
        Ok(())
    }

    async fn read(&self, after: Option<&FeedPosition>) -> Result<RevocationNews, BoxError> {
        self.ask().await?;
        let state = self.0.lock();
        let from: usize = after.map_or(Ok(0), |after| after.as_str().parse())?;
        let page = state.page.unwrap_or(usize::MAX);
        let revocations: Vec<_> = state
            .entries
            .iter()
            .skip(from)
            .take(page)
            .cloned()
            .collect();
        let next = from + revocations.len();
        Ok(RevocationNews {
            more: next < state.entries.len(),
            revocations,
            position: Some(FeedPosition::new(next.to_string())),
        })
    }
}

/// One process of several.
struct Process {
    fixture: Fixture,
    revocations: Revocations,
    feed: Pin<Box<RevocationFeed>>,
}

impl Process {
    fn new(log: &Log) -> Self {
        let fixture = Fixture::new();
        let (revocations, feed) = Revocations::builder(&fixture.tenants)
            .shared(log.clone(), fixture.clock.clone())
            .max_silence(SILENCE)
            .interval(INTERVAL)
            .build()
            .unwrap();
        let given = revocations.clone();
        Self {
            fixture: fixture.layered(|layer| layer.revocations(given)),
            revocations,
            feed: Box::pin(feed),
        }
    }

    /// What a runtime would do now.
    fn run(&mut self) {
        assert!(self.feed.as_mut().now_or_never().is_none(), "it never ends");
    }

    fn later(&mut self, by: Duration) {
        self.fixture.clock.advance(by);
        self.run();
    }

    fn token(&self, jti: &str) -> String {
        let mut claims = common::claims();
        claims["jti"] = jti.into();
        self.fixture.forge(&claims)
    }
}

fn revocation(jti: &str) -> Revocation {
    let acme = TenantId::parse("acme").unwrap();
    Revocation::token(acme, CredentialId::parse(jti).unwrap())
}

#[test]
fn i5_what_one_process_revokes_holds_in_the_others_within_the_interval() {
    let log = Log::default();
    let (mut here, mut there) = (Process::new(&log), Process::new(&log));
    for process in [&mut here, &mut there] {
        process.run();
    }
    let (mine, theirs) = (here.token("1"), there.token("1"));
    let held = there.fixture.bearer(&theirs).unwrap();
    assert_eq!(here.fixture.reason(&mine), "ok");
    let publishing = here.revocations.revoke(revocation("1"));
    assert_eq!(
        here.fixture.reason(&mine),
        "revoked",
        "before it is published"
    );
    assert_eq!(there.fixture.reason(&theirs), "ok");
    publishing.now_or_never().unwrap().unwrap();
    there.later(INTERVAL);
    assert_eq!(there.fixture.reason(&theirs), "revoked");
    assert_eq!(held.check().unwrap_err().reason(), "revoked");
    assert_eq!(there.fixture.reason(&there.token("2")), "ok");

    // A process that starts later reads all of it, before it serves anybody.
    log.0.lock().page = Some(1);
    for n in 2..10 {
        here.revocations
            .revoke(revocation(&n.to_string()))
            .now_or_never()
            .unwrap()
            .unwrap();
    }
    let mut new = Process::new(&log);
    let tokens: Vec<String> = (1..11).map(|n| new.token(&n.to_string())).collect();
    assert_eq!(new.fixture.reason(&tokens[9]), "revocations_stale");
    new.run();
    for token in &tokens[..9] {
        assert_eq!(new.fixture.reason(token), "revoked");
    }
    assert_eq!(new.fixture.reason(&tokens[9]), "ok");
}

#[test]
fn i5_a_silent_store_refuses_everybody_with_a_credential_and_nobody_else() {
    for mood in [Mood::Fails, Mood::Hangs, Mood::Panics] {
        let log = Log::default();
        let mut process = Process::new(&log);
        process.run();
        let token = process.token("1");
        assert_eq!(process.fixture.reason(&token), "ok");
        log.mood(mood);
        process.later(SILENCE.saturating_sub(Duration::from_nanos(1)));
        assert_eq!(process.fixture.reason(&token), "ok", "not before the bound");
        process.later(Duration::from_nanos(1));
        let refused = process.fixture.bearer(&token).unwrap_err();
        assert_eq!(refused.kind(), RejectionKind::StoreUnavailable);
        assert_eq!(refused.reason(), "revocations_stale");
        // A public route without a credential asks nothing of it.
        let nobody = process.fixture.admit(Request::new(()));
        assert_eq!(reason(nobody), "credential_missing");

        let publishing = process.revocations.revoke(revocation("2"));
        if mood == Mood::Fails {
            let told = publishing.now_or_never().unwrap();
            assert!(told.is_err(), "whoever revokes is told");
        }
        log.mood(Mood::Well);
        // A call that hangs is given up, and another is made.
        for _ in 0..3 {
            process.later(SILENCE);
        }
        assert_eq!(process.fixture.reason(&process.token("1")), "ok");
        assert_eq!(process.fixture.reason(&process.token("2")), "revoked");
    }
}

#[test]
fn i5_a_slow_answer_counts_from_when_it_was_asked_for() {
    let log = Log::default();
    let mut process = Process::new(&log);
    process.run();
    let asked_at_start = log.0.lock().reads;
    assert_eq!(asked_at_start, 1);
    // The worker is not polled: a runtime that is stuck, or a worker that was dropped.
    process.fixture.clock.advance(SILENCE);
    assert_eq!(
        process.fixture.reason(&process.token("1")),
        "revocations_stale"
    );
    process.run();
    assert_eq!(process.fixture.reason(&process.token("1")), "ok");

    // Nor does an answer that took 20 s say anything of what was revoked meanwhile.
    log.mood(Mood::Slow);
    process.later(INTERVAL);
    process.later(Duration::from_secs(20));
    log.mood(Mood::Well);
    process.run();
    log.mood(Mood::Hangs);
    // Asked 20 s ago, and 30 are as long as it may be silent.
    process.fixture.clock.advance(Duration::from_secs(9));
    assert_eq!(process.fixture.reason(&process.token("1")), "ok");
    process.fixture.clock.advance(INTERVAL);
    assert_eq!(
        process.fixture.reason(&process.token("1")),
        "revocations_stale"
    );
}

#[test]
fn a_feed_that_could_not_keep_its_promise_is_not_built() {
    let fixture = Fixture::new();
    for (interval, silence) in [(0, 30), (30, 30), (31, 30)] {
        let error = Revocations::builder(&fixture.tenants)
            .shared(Log::default(), fixture.clock.clone())
            .interval(Duration::from_secs(interval))
            .max_silence(Duration::from_secs(silence))
            .build()
            .unwrap_err();
        assert!(error.to_string().contains("well below"), "{error}");
    }
}

#[test]
fn i7_without_its_worker_a_shared_set_admits_nobody() {
    let log = Log::default();
    let process = Process::new(&log);
    assert_eq!(
        process.fixture.reason(&process.token("1")),
        "revocations_stale"
    );
}
