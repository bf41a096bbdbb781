//! Key sets that change while a layer serves: fetched, found by discovery, read from files.

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

use std::{collections::HashMap, sync::Arc, time::Duration};

use common::{Fixture, ISSUER, ada, bearer, reason};
use futures_util::{FutureExt, future::BoxFuture};
use parking_lot::Mutex;
use tenant_auth::{
    Algorithm, Fetch, FetchError, Fetched, Issuer, Issuers, KeyRefresher, KeyRefresherBuilder,
    KeySource, KeyWorker, Rejection, TenantContext, TokenMinter,
};
use tenant_context::{Lookup, RequestHead};
use tenant_testkit::ManualClock;

const KEYS: &str = "https://id.example.com/keys";
const OIDC: &str = "https://id.example.com/.well-known/openid-configuration";
const OAUTH: &str = "https://id.example.com/.well-known/oauth-authorization-server";

/// Documents by URL, and what was asked for.
#[derive(Clone, Default)]
struct Web(Arc<Mutex<Pages>>);

#[derive(Default)]
struct Pages {
    by_url: HashMap<String, Result<Fetched, FetchError>>,
    asked: Vec<String>,
    /// Never answers.
    hangs: bool,
    panics: bool,
}

impl Web {
    fn put(&self, url: &str, body: impl Into<Vec<u8>>) {
        self.0
            .lock()
            .by_url
            .insert(url.to_owned(), Ok(Fetched::new(body)));
    }

    fn fail(&self, url: &str, status: u16) {
        self.0
            .lock()
            .by_url
            .insert(url.to_owned(), Err(FetchError::status(status)));
    }

    fn publish(&self, minters: &[&TokenMinter]) {
        self.put(KEYS, set(minters));
    }

    fn asked(&self) -> usize {
        self.0.lock().asked.len()
    }

    fn hang(&self, hangs: bool) {
        self.0.lock().hangs = hangs;
    }
}

impl Fetch for Web {
    fn fetch(&self, url: &str, _: usize) -> BoxFuture<'static, Result<Fetched, FetchError>> {
        let mut pages = self.0.lock();
        pages.asked.push(url.to_owned());
        assert!(!pages.panics, "as a fetcher may");
        if pages.hangs {
            return std::future::pending().boxed();
        }
        let page = pages.by_url.get(url).cloned();
        drop(pages);
        std::future::ready(page.unwrap_or_else(|| Err(FetchError::status(404)))).boxed()
    }
}

fn set(minters: &[&TokenMinter]) -> String {
    let keys: Vec<_> = minters
        .iter()
        .map(|minter| minter.public_jwk().unwrap())
        .collect();
    format!(r#"{{"keys":[{}]}}"#, keys.join(","))
}

fn minter(kid: &str) -> TokenMinter {
    TokenMinter::eddsa_generate(kid).unwrap()
}

/// A service whose issuer's keys are fetched.
struct Service {
    fixture: Fixture,
    web: Web,
    issuers: Issuers,
    refresher: KeyRefresher,
    worker: Option<BoxFuture<'static, ()>>,
}

impl Service {
    fn new() -> Self {
        Self::with(|builder| builder)
    }

    fn with(change: impl FnOnce(KeyRefresherBuilder) -> KeyRefresherBuilder) -> Self {
        let (fixture, web, issuers) = (Fixture::new(), Web::default(), Issuers::new());
        let builder = KeyRefresher::builder(web.clone())
            .timer(fixture.clock.clone())
            .clock(fixture.clock.clone());
        let (refresher, worker): (_, KeyWorker) = change(builder).build().unwrap();
        let auth = tenant_auth::layer(fixture.tenants.clone())
            .issuers(issuers.clone())
            .authenticate()
            .unwrap();
        Self {
            fixture: Fixture { auth, ..fixture },
            web,
            issuers,
            refresher,
            worker: Some(worker.boxed()),
        }
    }

    fn trust(self, source: impl FnOnce(&KeyRefresher) -> KeySource) -> Self {
        let issuer = Issuer::new(ISSUER)
            .audience("api")
            .keys(source(&self.refresher));
        self.issuers.add(issuer).unwrap();
        self
    }

    fn by_url() -> Self {
        Self::new().trust(|keys| keys.url(KEYS))
    }

    /// The worker does what it can.
    fn work(&mut self) {
        if let Some(worker) = &mut self.worker {
            assert!(worker.now_or_never().is_none(), "it never ends");
        }
    }

    fn ask(&self, token: &str) -> Lookup<Result<TenantContext, Rejection>> {
        let (head, ()) = bearer(token).into_parts();
        TenantContext::admit(&self.fixture.auth, &RequestHead::new(&head))
    }

    /// The outcome of a request during which the worker works.
    fn reason(&mut self, token: &str) -> String {
        let mut asked = self.ask(token).wait().boxed();
        for _ in 0..4 {
            if let Some(decision) = (&mut asked).now_or_never() {
                return reason(decision);
            }
            self.work();
        }
        "waits".to_owned()
    }

    fn mint(&self, minter: &TokenMinter) -> String {
        minter
            .mint(
                &ada().expires_in(Duration::from_secs(1_000_000)),
                &self.fixture.clock,
            )
            .unwrap()
    }

    fn advance(&self, secs: u64) {
        self.fixture.clock.advance(Duration::from_secs(secs));
    }
}

#[test]
fn the_first_request_waits_for_the_keys() {
    let mut service = Service::by_url();
    let key = minter("a");
    service.web.publish(&[&key]);
    let token = service.mint(&key);
    service.work();
    assert_eq!(service.reason(&token), "ok");
    assert_eq!(service.web.asked(), 1);

    // The issuer is added while the worker runs, and asked for before the worker has come to it.
    let mut service = Service::new();
    service.work();
    let mut service = service.trust(|keys| keys.url(KEYS));
    service.web.publish(&[&key]);
    let token = service.mint(&key);
    let mut asked = service.ask(&token).wait().boxed();
    assert!((&mut asked).now_or_never().is_none());
    service.work();
    assert_eq!(reason(asked.now_or_never().unwrap()), "ok");
    assert_eq!(service.web.asked(), 1);
}

#[test]
fn without_a_worker_tokens_are_refused_and_nobody_waits() {
    let mut service = Service::by_url();
    let key = minter("a");
    service.web.publish(&[&key]);
    let token = service.mint(&key);
    let rejection = service
        .ask(&token)
        .wait()
        .now_or_never()
        .unwrap()
        .unwrap_err();
    assert_eq!(rejection.reason(), "keys_unavailable");
    assert_eq!(rejection.status(), 503);

    service.work();
    assert_eq!(service.reason(&token), "ok");
    // A worker that stops leaves nobody waiting.
    service.web.hang(true);
    service.advance(20);
    let unknown = service.mint(&minter("b"));
    let mut asked = service.ask(&unknown).wait().boxed();
    assert!((&mut asked).now_or_never().is_none());
    service.worker = None;
    assert_eq!(reason(asked.now_or_never().unwrap()), "kid");
    assert_eq!(service.reason(&unknown), "kid");
}

#[test]
fn a_key_rotated_in_is_refused_for_10_minutes() {
    let mut service = Service::by_url();
    let (old, new) = (minter("2026-01"), minter("2026-02"));
    service.web.publish(&[&old]);
    service.work();
    let token = service.mint(&old);
    assert_eq!(service.reason(&token), "ok");

    // The issuer publishes a key and signs with it at once.
    service.advance(10);
    service.web.publish(&[&old, &new]);
    let fresh = service.mint(&new);
    assert_eq!(service.reason(&fresh), "ok", "its first token");
    assert_eq!(service.web.asked(), 2);
    assert_eq!(service.reason(&token), "ok");

    // The old key is withdrawn: what it admitted is refused, cached or not, once that is known.
    service.web.publish(&[&new]);
    service.advance(2701);
    service.work();
    assert_eq!(service.web.asked(), 3);
    assert_eq!(service.reason(&token), "kid");
    assert_eq!(service.reason(&fresh), "ok");
}

#[test]
fn n_forged_kids_cause_n_fetches() {
    let mut service = Service::by_url();
    let key = minter("a");
    service.web.publish(&[&key]);
    service.work();
    assert_eq!(service.web.asked(), 1);
    service.advance(10);
    let stranger = minter("x");
    for n in 0..10_000 {
        let header = format!(r#"{{"alg":"EdDSA","kid":"forged-{n}"}}"#);
        let token = stranger
            .mint_raw(&header, &common::claims().to_string())
            .unwrap();
        assert_eq!(service.reason(&token), "kid");
    }
    assert_eq!(service.web.asked(), 2, "one an interval");
    service.advance(10);
    for _ in 0..100 {
        let token = service.mint(&stranger);
        assert_eq!(service.reason(&token), "kid");
    }
    assert_eq!(service.web.asked(), 3);
    // A name that is known to be unknown causes none for a minute.
    service.advance(20);
    let token = service.mint(&stranger);
    assert_eq!(
        (service.reason(&token), service.web.asked()),
        ("kid".into(), 3)
    );
}

#[test]
fn concurrent_requests_wait_for_one_fetch() {
    let mut service = Service::by_url();
    let (old, new) = (minter("a"), minter("b"));
    service.web.publish(&[&old]);
    service.work();
    service.advance(10);
    service.web.publish(&[&old, &new]);
    let tokens: Vec<_> = (0..200).map(|_| service.mint(&new)).collect();
    let mut asked: Vec<_> = tokens
        .iter()
        .map(|token| service.ask(token).wait().boxed())
        .collect();
    for request in &mut asked {
        assert!(request.now_or_never().is_none());
    }
    // Some clients do not wait.
    asked.truncate(150);
    service.work();
    for request in asked {
        assert_eq!(reason(request.now_or_never().unwrap()), "ok");
    }
    assert_eq!(service.web.asked(), 2);
}

#[test]
fn those_who_wait_are_bounded() {
    let mut service = Service::by_url();
    let key = minter("a");
    service.web.publish(&[&key]);
    service.work();
    service.advance(10);
    service.web.hang(true);
    let token = service.mint(&minter("b"));
    let mut waiting = Vec::new();
    for n in 0..1100 {
        let mut request = service.ask(&token).wait().boxed();
        match (&mut request).now_or_never() {
            None => waiting.push(request),
            Some(decision) => {
                assert!(n >= 1024, "{n}");
                assert_eq!(reason(decision), "kid");
            }
        }
    }
    assert_eq!(waiting.len(), 1024);
    // Those who go make room.
    waiting.truncate(1000);
    assert!(service.ask(&token).wait().boxed().now_or_never().is_none());
    // And nobody waits for longer than a fetch may take.
    service.work();
    service.advance(5);
    service.work();
    for request in waiting {
        assert_eq!(reason(request.now_or_never().unwrap()), "kid");
    }
}

#[test]
fn i7_while_fetches_fail_the_last_set_is_used_to_a_hard_maximum() {
    let mut service = Service::with(|keys| keys.max_stale(Duration::from_secs(7200)))
        .trust(|keys| keys.url(KEYS));
    let key = minter("a");
    service.web.publish(&[&key]);
    service.work();
    let cached = service.mint(&key);
    assert_eq!(service.reason(&cached), "ok");
    for (failure, body) in [
        (true, ""),
        (false, "{}"),
        (false, r#"{"keys":[]}"#),
        (false, "<html>"),
    ] {
        if failure {
            service.web.fail(KEYS, 500);
        } else {
            service.web.put(KEYS, body);
        }
        service.advance(1700);
        service.work();
        let new = service.mint(&key);
        assert_eq!(service.reason(&new), "ok", "cold, {body:?}");
        assert_eq!(service.reason(&cached), "ok", "cached, {body:?}");
    }
    assert!(service.web.asked() >= 4);
    service.advance(399);
    assert_eq!(service.reason(&cached), "ok");
    service.advance(1);
    assert_eq!(service.reason(&cached), "keys_unavailable", "cached");
    let cold = service.mint(&key);
    assert_eq!(service.reason(&cold), "keys_unavailable", "cold");
    // The issuer is back.
    service.web.publish(&[&key]);
    service.advance(300);
    service.work();
    assert_eq!(service.reason(&cached), "ok");
}

#[test]
fn one_bad_jwk_discards_the_whole_refreshed_set() {
    let mut service = Service::by_url();
    let key = minter("a");
    let good = key.public_jwk().unwrap();
    service.web.put(
        KEYS,
        format!(r#"{{"keys":[null,{{"kty":"oct","k":"AA"}},{{"kty":"new"}},{good}]}}"#),
    );
    service.work();
    let token = service.mint(&key);
    assert_eq!(service.reason(&token), "ok");
}

#[test]
fn a_fetcher_that_hangs_panics_or_says_too_much_is_a_failed_fetch() {
    for fault in ["hangs", "panics", "too long"] {
        let mut service = Service::by_url();
        let key = minter("a");
        match fault {
            "hangs" => service.web.hang(true),
            "panics" => service.web.0.lock().panics = true,
            _ => service.web.put(KEYS, vec![b' '; 512 * 1024 + 1]),
        }
        service.work();
        service.advance(5);
        service.work();
        let token = service.mint(&key);
        assert_eq!(service.reason(&token), "keys_unavailable", "{fault}");
        service.web.0.lock().panics = false;
        service.web.hang(false);
        service.web.publish(&[&key]);
        service.advance(10);
        service.work();
        assert_eq!(service.reason(&token), "ok", "after: {fault}");
    }
}

#[test]
fn the_metadata_says_where_the_keys_are() {
    let key = minter("a");
    let metadata = format!(r#"{{"issuer":"{ISSUER}","jwks_uri":"{KEYS}"}}"#);
    for (place, asked) in [(OIDC, vec![OIDC, KEYS]), (OAUTH, vec![OIDC, OAUTH, KEYS])] {
        let mut service = Service::new().trust(KeyRefresher::discover);
        service.web.put(place, metadata.clone());
        service.web.publish(&[&key]);
        service.work();
        let token = service.mint(&key);
        assert_eq!(service.reason(&token), "ok", "{place}");
        assert_eq!(service.web.0.lock().asked, asked);
    }
}

#[test]
fn metadata_that_is_not_the_issuers_own_gives_no_keys() {
    let key = minter("a");
    let with = |issuer: &str, keys: &str| format!(r#"{{"issuer":"{issuer}","jwks_uri":"{keys}"}}"#);
    for metadata in [
        with("https://id.example.com/", KEYS),
        with("https://evil.example", KEYS),
        with(ISSUER, "http://id.example.com/keys"),
        with(ISSUER, "https://evil.example/keys"),
        with(ISSUER, "file:///etc/passwd"),
        // Good, and longer than metadata may be.
        with(ISSUER, KEYS) + &" ".repeat(64 * 1024),
    ] {
        let mut service = Service::new().trust(KeyRefresher::discover);
        service.web.put(OIDC, metadata.clone());
        // The other place is not asked then: the first has answered.
        service.web.put(OAUTH, with(ISSUER, KEYS));
        for url in [
            KEYS,
            "http://id.example.com/keys",
            "https://evil.example/keys",
            "file:///etc/passwd",
        ] {
            service.web.put(url, set(&[&key]));
        }
        service.work();
        let token = service.mint(&key);
        let said = metadata.trim_end();
        assert_eq!(service.reason(&token), "keys_unavailable", "{said}");
        assert_eq!(service.web.asked(), 1, "{said}");
    }
    let mut service = Service::new().trust(|keys| keys.discover().key_host("keys.example.com"));
    service
        .web
        .put(OIDC, with(ISSUER, "https://keys.example.com/1"));
    service.web.put("https://keys.example.com/1", set(&[&key]));
    service.work();
    let token = service.mint(&key);
    assert_eq!(service.reason(&token), "ok");
}

#[test]
fn a_file_is_read_again_when_it_changes() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keys.json");
    let (old, new) = (minter("a"), minter("b"));
    let mut service = Service::new().trust(|keys| keys.file(&path));
    service.work();
    let (first, second) = (service.mint(&old), service.mint(&new));
    assert_eq!(
        service.reason(&first),
        "keys_unavailable",
        "there is no file yet"
    );
    std::fs::write(&path, set(&[&old])).unwrap();
    service.advance(10);
    service.work();
    assert_eq!(service.reason(&first), "ok");
    assert_eq!(service.reason(&second), "kid");

    std::fs::write(&path, set(&[&new])).unwrap();
    service.advance(10);
    service.work();
    assert_eq!(
        service.reason(&first),
        "kid",
        "cached, and gone from the file"
    );
    assert_eq!(service.reason(&second), "ok");

    // Half written: the last one stays.
    std::fs::write(&path, &set(&[&old])[..20]).unwrap();
    service.advance(10);
    service.work();
    assert_eq!(service.reason(&second), "ok");
    assert_eq!(service.web.asked(), 0);
}

#[test]
fn a_removed_issuer_is_fetched_no_more_and_a_new_one_at_once() {
    let mut service = Service::by_url();
    let key = minter("a");
    service.web.publish(&[&key]);
    service.work();
    let token = service.mint(&key);
    assert_eq!(service.reason(&token), "ok");
    assert!(service.issuers.remove(ISSUER));
    assert_eq!(service.reason(&token), "issuer");
    service.advance(10_000);
    service.work();
    assert_eq!(service.web.asked(), 1);
    let service = service.trust(|keys| keys.url(KEYS));
    let mut service = service;
    service.work();
    assert_eq!(service.web.asked(), 2);
    let token = service.mint(&key);
    assert_eq!(service.reason(&token), "ok");
}

#[test]
fn what_cannot_be_fetched_safely_is_not_built() {
    let clock = ManualClock::new();
    let builder = || KeyRefresher::builder(Web::default()).timer(clock.clone());
    for (builder, sentence) in [
        (KeyRefresher::builder(Web::default()), "add `.timer("),
        (
            builder().lifetime(Duration::from_secs(59)),
            "1 minute to 24 hours",
        ),
        (
            builder().max_stale(Duration::from_secs(60)),
            "`max_stale` is below",
        ),
        (
            builder().refetch_interval(Duration::ZERO),
            "at least 1 second",
        ),
        (builder().file_interval(Duration::ZERO), "at least 1 second"),
        (builder().timeout(Duration::ZERO), "`timeout` is 0"),
    ] {
        let error = builder.build().unwrap_err().to_string();
        assert!(error.contains(sentence), "{error}");
    }
    let (keys, _worker) = builder().build().unwrap();
    let issuer = |name: &str| Issuer::new(name).audience("api");
    for (issuer, sentence) in [
        (issuer("billing").keys(keys.discover()), "is not `https`"),
        (
            issuer("http://id.example.com").keys(keys.discover()),
            "is not `https`",
        ),
        (
            issuer(ISSUER).keys(keys.url("http://id.example.com/keys")),
            "is not `https`",
        ),
        (
            issuer(ISSUER).keys(keys.url("http://127.0.0.1/keys")),
            "`allow_http_on_loopback`",
        ),
        (
            issuer(ISSUER)
                .key(minter("a").verifying_key())
                .keys(keys.discover()),
            "choose one",
        ),
    ] {
        let error = Issuers::new().add(issuer).unwrap_err().to_string();
        assert!(error.contains(sentence), "{error}");
    }
}

#[test]
fn an_algorithm_that_is_not_listed_is_refused_whatever_the_issuer_publishes() {
    let listing = |algorithms: &[Algorithm]| {
        let service = Service::new();
        let issuer = Issuer::new(ISSUER)
            .audience("api")
            .algorithms(algorithms.iter().copied())
            .keys(service.refresher.url(KEYS));
        service.issuers.add(issuer).unwrap();
        service
    };
    let (listed, other) = (minter("a"), TokenMinter::es256_generate("b").unwrap());
    let mut service = listing(&[Algorithm::EdDsa, Algorithm::Rs256]);
    service.web.publish(&[&listed, &other]);
    service.work();
    let token = |minter: &TokenMinter, service: &Service| {
        minter.mint(&ada(), &service.fixture.clock).unwrap()
    };
    let (good, bad) = (token(&listed, &service), token(&other, &service));
    assert_eq!(service.reason(&good), "ok");
    assert_eq!(service.reason(&bad), "algorithm");
    // It has no keys fetched either, as the name of an unknown key would.
    let asked = service.web.asked();
    service.fixture.clock.advance(Duration::from_secs(60));
    let unknown = TokenMinter::es256_generate("unknown").unwrap();
    let unknown = token(&unknown, &service);
    assert_eq!(service.reason(&unknown), "algorithm");
    assert_eq!(service.web.asked(), asked);

    // A set that holds nothing else is none: the last one stays.
    let mut service = listing(&[Algorithm::Es256]);
    service.web.publish(&[&other]);
    service.work();
    service.web.publish(&[&listed]);
    service.fixture.clock.advance(Duration::from_secs(3000));
    service.work();
    let token = token(&other, &service);
    assert_eq!(service.reason(&token), "ok");
}
