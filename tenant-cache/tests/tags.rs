//! Surrogate tags: what they forget, whatever validation does meanwhile, and whom they never reach.

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    reason = "tests"
)]

mod support;

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use http::{HeaderName, HeaderValue, Method, StatusCode};
use parking_lot::Mutex;
use proptest::prelude::*;
use support::{Content, House, Origin, get, request, response, send};
use tenant_cache::{Namespace, ResponseCacheLayer, TenantContext};
use tower_layer::Layer;

#[tokio::test]
async fn surrogate_tags_forget_what_carries_them_and_leave_with_nobody() {
    let house = House::new();
    let origin = Origin::new(|request| {
        let tags = match request.uri().path() {
            "/a" => "list customer:7",
            "/b" => "customer:8",
            _ => "0 1 2 3 4 5 6 7 8 9 a b c d e f 10",
        };
        response(
            &[("cache-control", "max-age=60"), ("surrogate-key", tags)],
            "x",
        )
    });
    let layer = tenant_cache::layer(house.cache.clone())
        .surrogate_key(HeaderName::from_static("surrogate-key"))
        .build()
        .unwrap();
    let service = layer.layer(origin);
    let ada = house.of("acme", "ada");
    for path in ["/a", "/b"] {
        let stored = send(&service, get(&ada, path)).await;
        assert!(stored.is_stored() && stored.header("surrogate-key").is_none());
        let hit = send(&service, get(&ada, path)).await;
        assert!(hit.is_hit() && hit.header("surrogate-key").is_none());
    }
    assert!(!send(&service, get(&ada, "/many")).await.is_stored());
    house.cache.invalidate_tag(&ada, "customer:7").unwrap();
    assert!(!send(&service, get(&ada, "/a")).await.is_hit());
    assert!(send(&service, get(&ada, "/b")).await.is_hit());
}

/// Answers with a tag, and to whoever has it with a 304 that does not repeat it, after `meanwhile`.
fn tagged(meanwhile: impl Fn() + Send + Sync + 'static) -> Origin<Content> {
    Origin::new(move |request| {
        let fields = [("cache-control", "max-age=10"), ("etag", "\"a\"")];
        let mut response = response(&fields, "x");
        if request.headers().contains_key("if-none-match") {
            meanwhile();
            *response.status_mut() = StatusCode::NOT_MODIFIED;
        } else {
            let tag = "customer:7".parse().unwrap();
            response.headers_mut().insert("surrogate-key", tag);
        }
        response
    })
}

fn by_tags(house: &House) -> ResponseCacheLayer {
    tenant_cache::layer(house.cache.clone())
        .surrogate_key(HeaderName::from_static("surrogate-key"))
        .explain(true)
        .build()
        .unwrap()
}

#[tokio::test]
async fn a_304_without_tags_keeps_those_of_what_it_validates() {
    let house = House::new();
    let ada = house.of("acme", "ada");
    let service = by_tags(&house).layer(tagged(|| {}));
    send(&service, get(&ada, "/a")).await;
    house.pass(10);
    assert!(send(&service, get(&ada, "/a")).await.is_stored());
    assert!(send(&service, get(&ada, "/a")).await.is_hit());
    house.cache.invalidate_tag(&ada, "customer:7").unwrap();
    assert!(!send(&service, get(&ada, "/a")).await.is_hit());
}

#[tokio::test]
async fn a_tag_forgotten_during_validation_keeps_the_old_answer_out() {
    let house = House::new();
    let ada = house.of("acme", "ada");
    let (cache, caller) = (house.cache.clone(), ada.clone());
    let service = by_tags(&house).layer(tagged(move || {
        cache.invalidate_tag(&caller, "customer:7").unwrap();
    }));
    send(&service, get(&ada, "/a")).await;
    house.pass(10);
    send(&service, get(&ada, "/a")).await;
    assert!(!send(&service, get(&ada, "/a")).await.is_hit());
}

#[tokio::test]
async fn what_was_evicted_during_validation_is_stored_again_with_its_tags() {
    let house = House::new();
    let ada = house.of("acme", "ada");
    let (cache, caller) = (house.cache.clone(), ada.clone());
    let values: Namespace<Vec<u8>> = cache.namespace("n").unwrap().weigh(Vec::len);
    let service = by_tags(&house).layer(tagged(move || {
        let ceiling = cache.stats(&caller).unwrap().ceiling as usize;
        let most = vec![0; ceiling - 1000];
        values.insert(&caller, "all of it", most).unwrap();
        assert_eq!(cache.stats(&caller).unwrap().entries, 1);
        values.remove(&caller, "all of it").unwrap();
    }));
    send(&service, get(&ada, "/a")).await;
    house.pass(10);
    send(&service, get(&ada, "/a")).await;
    assert!(send(&service, get(&ada, "/a")).await.is_hit());
    house.cache.invalidate_tag(&ada, "customer:7").unwrap();
    assert!(!send(&service, get(&ada, "/a")).await.is_hit());
}

#[tokio::test]
async fn i6_the_tags_of_an_answer_end_with_it() {
    let house = House::new();
    let calls = AtomicUsize::new(0);
    let service = by_tags(&house).layer(Origin::new(move |_| {
        let call = calls.fetch_add(1, Ordering::SeqCst).to_string();
        let fields = [("cache-control", "max-age=10"), ("surrogate-key", &*call)];
        response(&fields, "x")
    }));
    let ada = house.of("acme", "ada");
    send(&service, get(&ada, "/a")).await;
    let bytes = house.cache.stats(&ada).unwrap().bytes;
    let again = || request(Method::GET, &ada, "/a", &[("cache-control", "no-cache")]);
    for _ in 0..20 {
        send(&service, again()).await;
    }
    assert_eq!(house.cache.stats(&ada).unwrap().bytes, bytes);
    house.cache.invalidate_tag(&ada, "3").unwrap();
    assert!(send(&service, get(&ada, "/a")).await.is_hit());
}

#[tokio::test]
async fn a_304_with_more_tags_than_are_kept_ends_what_is_stored() {
    let house = House::new();
    let service = by_tags(&house).layer(Origin::new(|request| {
        let fields = [("cache-control", "max-age=10"), ("etag", "\"a\"")];
        let mut response = response(&fields, "x");
        if request.headers().contains_key("if-none-match") {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            let tags = "0 1 2 3 4 5 6 7 8 9 a b c d e f 10".parse().unwrap();
            response.headers_mut().insert("surrogate-key", tags);
        }
        response
    }));
    let ada = house.of("acme", "ada");
    send(&service, get(&ada, "/a")).await;
    house.pass(10);
    let validated = send(&service, get(&ada, "/a")).await;
    assert_eq!((validated.status.as_u16(), &*validated.body), (200, "x"));
    assert_eq!(validated.header("surrogate-key"), None);
    assert!(!validated.is_stored());
    assert!(!send(&service, get(&ada, "/a")).await.is_hit());
}

#[tokio::test]
async fn tags_that_cannot_be_read_keep_an_answer_out() {
    let house = House::new();
    let service = by_tags(&house).layer(Origin::new(|_| {
        let mut response = response(&[("cache-control", "max-age=10")], "x");
        let line = HeaderValue::from_bytes(b"a \xff").unwrap();
        response.headers_mut().insert("surrogate-key", line);
        response
    }));
    let ada = house.of("acme", "ada");
    let passed = send(&service, get(&ada, "/a")).await;
    assert!(!passed.is_stored() && !passed.headers.contains_key("surrogate-key"));

    let service = by_tags(&house).layer(Origin::new(|_| {
        let mut response = response(&[("cache-control", "max-age=10")], "x");
        let line = HeaderValue::from_bytes("kunde:müller".as_bytes()).unwrap();
        response.headers_mut().insert("surrogate-key", line);
        response
    }));
    send(&service, get(&ada, "/b")).await;
    assert!(send(&service, get(&ada, "/b")).await.is_hit());
    house.cache.invalidate_tag(&ada, "kunde:müller").unwrap();
    assert!(!send(&service, get(&ada, "/b")).await.is_hit());
}

#[tokio::test]
async fn tags_leave_with_no_answer_whatever_becomes_of_it() {
    let house = House::new();
    let fields = [("cache-control", "max-age=10"), ("surrogate-key", "a")];
    let origin = Origin::new(move |_| response(&fields, "x"));
    let service = by_tags(&house).layer(origin);
    let ada = house.of("acme", "ada");
    let bypassing = [("range", "bytes=0-1")];
    for asked in [
        request(Method::GET, &ada, "/a", &bypassing),
        request(Method::POST, &ada, "/a", &[]),
        request(Method::OPTIONS, &ada, "/a", &[]),
        request(Method::HEAD, &ada, "/a", &[]),
    ] {
        let method = asked.method().clone();
        let answer = send(&service, asked).await;
        assert!(!answer.headers.contains_key("surrogate-key"), "{method}");
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Read,
    Reload,
    Wait,
    Tag,
    Purge,
    Write,
    Evict,
}

fn step() -> impl Strategy<Value = Step> {
    use Step::{Evict, Purge, Read, Reload, Tag, Wait, Write};
    prop_oneof![
        6 => Just(Read),
        2 => Just(Reload),
        4 => Just(Wait),
        2 => Just(Tag),
        1 => Just(Purge),
        1 => Just(Write),
        1 => Just(Evict),
    ]
}

/// What may happen while a request is under way.
#[derive(Clone)]
struct World {
    house: Arc<House>,
    ada: TenantContext,
    values: Namespace<Vec<u8>>,
    /// How often what was stored had to be forgotten.
    forgotten: Arc<AtomicUsize>,
}

impl World {
    fn happen(&self, step: Step) {
        let cache = &self.house.cache;
        match step {
            Step::Tag => cache.invalidate_tag(&self.ada, "customer:7").unwrap(),
            Step::Purge => cache.purge(&self.ada).unwrap(),
            Step::Evict => {
                let ceiling = cache.stats(&self.ada).unwrap().ceiling as usize;
                let most = vec![0; ceiling - 1000];
                self.values.insert(&self.ada, "all of it", most).unwrap();
                self.values.remove(&self.ada, "all of it").unwrap();
                return;
            }
            Step::Wait => return self.house.pass(10),
            Step::Read | Step::Reload | Step::Write => return,
        }
        self.forgotten.fetch_add(1, Ordering::SeqCst);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// A handler that calls everything unchanged, whatever was forgotten while it looked: what was made before is
    /// found by no request that begins after.
    #[test]
    fn what_was_forgotten_stays_forgotten_whatever_a_304_says(
        steps in prop::collection::vec((step(), prop::option::of(step()), any::<bool>()), 1..40),
    ) {
        let house = Arc::new(House::new());
        let ada = house.of("acme", "ada");
        let world = World {
            values: house.cache.namespace("n").unwrap().weigh(Vec::len),
            forgotten: Arc::default(),
            house,
            ada,
        };
        let meanwhile: Arc<Mutex<Option<Step>>> = Arc::default();
        let repeats = Arc::new(Mutex::new(false));
        let origin = {
            let (world, meanwhile, repeats) = (world.clone(), Arc::clone(&meanwhile), Arc::clone(&repeats));
            Origin::new(move |request| {
                let made = world.forgotten.load(Ordering::SeqCst).to_string();
                let step = meanwhile.lock().take();
                if let Some(step) = step {
                    world.happen(step);
                }
                let mut response = response(&[("cache-control", "max-age=10"), ("etag", "\"a\"")], made);
                let held = request.headers().contains_key("if-none-match");
                if held {
                    *response.status_mut() = StatusCode::NOT_MODIFIED;
                }
                if !held || *repeats.lock() {
                    response.headers_mut().insert("surrogate-key", "customer:7".parse().unwrap());
                }
                response
            })
        };
        let service = by_tags(&world.house).layer(origin);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        for (step, during, repeat) in steps {
            *repeats.lock() = repeat;
            let before = world.forgotten.load(Ordering::SeqCst);
            let asked = match step {
                Step::Read => get(&world.ada, "/a"),
                Step::Reload => request(Method::GET, &world.ada, "/a", &[("cache-control", "no-cache")]),
                Step::Write => request(Method::PUT, &world.ada, "/a", &[]),
                other => {
                    world.happen(other);
                    continue;
                }
            };
            *meanwhile.lock() = during;
            let answer = runtime.block_on(send(&service, asked));
            *meanwhile.lock() = None;
            if matches!(step, Step::Write) {
                world.forgotten.fetch_add(1, Ordering::SeqCst);
            } else {
                let made: usize = answer.body.parse().unwrap();
                prop_assert!(made >= before, "{answer:?}");
            }
        }
    }
}
