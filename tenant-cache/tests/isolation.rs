//! No tenant meets what is another's, and within a tenant no authority what is another's.

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "tests"
)]

mod support;

use http::Method;
use proptest::prelude::*;
use support::{House, Origin, counted, get, request, response, send};
use tenant_cache::{Keep, SystemContext, TenantCache, TenantId};
use tenant_context::{Claims, Principal, PrincipalId};
use tenant_testkit::{ManualClock, claims, context, context_with, tenants};
use tower_layer::Layer;

const FRESH: &[(&str, &str)] = &[("cache-control", "max-age=60")];
const PUBLIC: &[(&str, &str)] = &[("cache-control", "public, s-maxage=60, max-age=60")];

#[tokio::test]
async fn isolation_two_tenants_with_one_url_share_nothing() {
    let house = House::new();
    let origin = counted(PUBLIC);
    let service = house.around(&origin);
    let (acme, globex) = (house.of("acme", "ada"), house.of("globex", "ada"));
    assert!(send(&service, get(&acme, "/list")).await.is_stored());
    assert_eq!(send(&service, get(&acme, "/list")).await.body, "answer 1");
    assert_eq!(send(&service, get(&globex, "/list")).await.body, "answer 2");
    assert_eq!(send(&service, get(&acme, "/list")).await.body, "answer 1");
    assert_eq!(origin.calls(), 2);
}

#[tokio::test]
async fn isolation_two_principals_of_a_tenant_share_nothing() {
    let house = House::new();
    let origin = counted(PUBLIC);
    let service = house.around(&origin);
    let (ada, bob) = (house.of("acme", "ada"), house.of("acme", "bob"));
    assert!(send(&service, get(&ada, "/me")).await.is_stored());
    assert_eq!(send(&service, get(&bob, "/me")).await.body, "answer 2");
    assert_eq!(send(&service, get(&ada, "/me")).await.body, "answer 1");
}

#[tokio::test]
async fn isolation_a_narrower_token_does_not_read_what_a_wider_one_stored() {
    let house = House::new();
    let origin = counted(PUBLIC);
    let service = house.around(&origin);
    let agent = || Principal::agent(PrincipalId::parse("agent-7").unwrap());
    let wide = || {
        claims("acme", "ada")
            .actor(agent())
            .scopes(["read", "admin"])
            .roles(["owner"])
    };
    let mut prefixed = wide();
    prefixed.resource_prefix = Some("/team-1".into());
    let mut other = wide();
    other.custom.insert("desk".into(), "7".into());
    let variations: [Claims; 7] = [
        wide(),
        claims("acme", "ada")
            .actor(agent())
            .scopes(["read"])
            .roles(["owner"]),
        claims("acme", "ada")
            .actor(agent())
            .scopes(["read", "admin"]),
        claims("acme", "ada")
            .scopes(["read", "admin"])
            .roles(["owner"]),
        wide().actor(agent()),
        prefixed,
        other,
    ];
    for (n, claims) in variations.into_iter().enumerate() {
        let caller = context_with(&house.tenants, claims.clone());
        let answer = send(&service, get(&caller, "/everything")).await;
        assert_eq!(answer.body, format!("answer {}", n + 1), "{claims:?}");
        assert!(send(&service, get(&caller, "/everything")).await.is_hit());
    }
    let again = context_with(&house.tenants, wide());
    assert_eq!(
        send(&service, get(&again, "/everything")).await.body,
        "answer 1"
    );
}

#[tokio::test]
async fn a_renewed_token_of_the_same_authority_reads_what_it_stored_before() {
    let house = House::new();
    let origin = counted(FRESH);
    let service = house.around(&origin);
    assert!(
        send(&service, get(&house.of("acme", "ada"), "/a"))
            .await
            .is_stored()
    );
    assert!(
        send(&service, get(&house.of("acme", "ada"), "/a"))
            .await
            .is_hit()
    );
}

#[tokio::test]
async fn isolation_a_shared_route_is_shared_within_the_tenant_only() {
    let house = House::new();
    let origin = counted(PUBLIC);
    let service = tenant_cache::layer(house.cache.clone())
        .shared_within_tenant(Method::GET, "/prices/{region}")
        .build()
        .unwrap()
        .layer(origin.clone());
    let (ada, bob, eve) = (
        house.of("acme", "ada"),
        house.of("acme", "bob"),
        house.of("globex", "ada"),
    );
    assert!(send(&service, get(&ada, "/prices/eu")).await.is_stored());
    assert_eq!(
        send(&service, get(&bob, "/prices/eu")).await.body,
        "answer 1"
    );
    assert_eq!(
        send(&service, get(&eve, "/prices/eu")).await.body,
        "answer 2"
    );
    for (n, path) in [
        "/prices/eu/x",
        "/prices",
        "/Prices/eu",
        "/prices/eu/",
        "//prices/eu",
    ]
    .iter()
    .enumerate()
    {
        let calls = origin.calls();
        send(&service, get(&ada, path)).await;
        send(&service, get(&bob, path)).await;
        assert_eq!(origin.calls(), calls + 2, "{n} {path}");
    }
}

#[tokio::test]
async fn a_shared_route_stores_only_what_says_it_may_be_shared() {
    for (control, stored) in [
        ("max-age=60", false),
        ("max-age=60, public", true),
        ("s-maxage=60, private", false),
    ] {
        let house = House::new();
        let origin = Origin::new(move |_| response(&[("cache-control", control)], "x"));
        let service = tenant_cache::layer(house.cache.clone())
            .shared_within_tenant(Method::GET, "/prices")
            .build()
            .unwrap()
            .layer(origin);
        let answer = send(&service, get(&house.of("acme", "ada"), "/prices")).await;
        assert_eq!(answer.is_stored(), stored, "{control}");
    }
}

#[tokio::test]
async fn what_answered_a_request_with_a_cookie_is_shared_only_if_it_is_public() {
    let house = House::new();
    for (control, shared) in [
        ("s-maxage=60", false),
        ("max-age=60, must-revalidate", false),
        ("max-age=60, public", true),
    ] {
        let layer = tenant_cache::layer(house.cache.clone())
            .shared_within_tenant(Method::GET, "/prices")
            .build()
            .unwrap();
        let fields = [("cache-control", control)];
        let service = layer.layer(Origin::new(move |_| response(&fields, "x")));
        let (ada, bob) = (house.of("acme", "ada"), house.of("acme", "bob"));
        let asked = request(Method::GET, &ada, "/prices", &[("cookie", "cart=7")]);
        send(&service, asked).await;
        let hit = send(&service, get(&bob, "/prices")).await.is_hit();
        assert_eq!(hit, shared, "{control}");
    }
}

/// "Response cache served A's body to B despite `Vary: Authorization`, and replayed `Set-Cookie`."
#[tokio::test]
async fn response_cache_serves_no_body_to_another_and_replays_no_cookie() {
    let house = House::new();
    let origin = Origin::new(|request| {
        let who = request.headers()["authorization"]
            .to_str()
            .unwrap()
            .to_owned();
        response(
            &[
                ("cache-control", "public, max-age=60"),
                ("vary", "Authorization"),
            ],
            who,
        )
    });
    let service = house.around(&origin);
    let (ada, bob) = (house.of("acme", "ada"), house.of("acme", "bob"));
    let as_user = |user, token| request(Method::GET, user, "/me", &[("authorization", token)]);
    for _ in 0..2 {
        assert_eq!(send(&service, as_user(&ada, "A")).await.body, "A");
        assert_eq!(send(&service, as_user(&bob, "B")).await.body, "B");
    }
    // Even one authority's second token: what varies by a credential is not stored at all.
    assert_eq!(send(&service, as_user(&ada, "A2")).await.body, "A2");
    assert_eq!(origin.calls(), 5);

    let origin = counted(&[
        ("cache-control", "public, max-age=60"),
        ("set-cookie", "session=A"),
    ]);
    let service = house.around(&origin);
    assert!(!send(&service, get(&ada, "/login")).await.is_stored());
    assert!(!send(&service, get(&ada, "/login")).await.is_hit());
    assert_eq!(origin.calls(), 2);
}

#[tokio::test]
async fn isolation_an_ended_context_is_answered_nothing_from_the_cache() {
    let house = House::new();
    let origin = counted(FRESH);
    let service = house.around(&origin);
    let ada = house.of("acme", "ada");
    let values = house.cache.namespace::<u32>("n").unwrap();
    values.insert(&ada, "a", 1).unwrap();
    assert!(send(&service, get(&ada, "/a")).await.is_stored());
    house.tenants.suspend(ada.tenant_id());
    assert_eq!(send(&service, get(&ada, "/a")).await.status, 403);
    assert_eq!(values.get(&ada, "a").unwrap_err().status(), 403);
    assert!(values.insert(&ada, "b", 1).is_err());
    assert!(values.get_many(&ada, ["a"]).is_err());
    assert!(house.cache.stats(&ada).is_err());
    assert!(house.cache.export_keys(&ada).is_err());
    assert!(house.cache.loads(&ada).is_err());
    // What removes is done whatever became of the caller.
    assert!(values.remove(&ada, "a").is_err());
    assert!(house.cache.purge(&ada).is_err());
    house.tenants.resume(ada.tenant_id());
}

/// Two registries that know the same id: each caller meets its own tenant's values or none.
#[test]
fn isolation_a_context_of_a_tenant_whose_id_is_anothers_by_now_touches_nothing() {
    let house = House::new();
    let values = house.cache.namespace::<u32>("n").unwrap();
    let former = house.of("acme", "ada");
    values.insert(&former, "key", 1).unwrap();
    house.tenants.suspend(former.tenant_id());
    let others = tenants(&["acme"], &house.clock);
    let ada = context(&others, "acme", "ada");
    assert_eq!(values.get(&ada, "key").unwrap(), None);
    values.insert(&ada, "key", 2).unwrap();
    // What removes is done whatever became of the caller, in its own tenant's part.
    assert!(house.cache.purge(&former).is_err());
    assert!(house.cache.invalidate_tag(&former, "t").is_err());
    assert!(values.remove(&former, "key").is_err());
    assert!(values.insert(&former, "key", 3).is_err());
    assert_eq!(values.get(&ada, "key").unwrap(), Some(2));
}

#[test]
fn isolation_values_per_authority_are_found_by_an_equal_one_alone() {
    let house = House::new();
    let shared = house.cache.namespace::<u32>("n").unwrap();
    let own = shared.clone().per_authority();
    let scoped = |scope: &str| {
        context_with(
            &house.tenants,
            claims("acme", "ada").scopes([scope.to_owned()]),
        )
    };
    let (wide, narrow) = (scoped("all"), scoped("some"));
    own.insert(&wide, "key", 1).unwrap();
    assert_eq!(own.get(&scoped("all"), "key").unwrap(), Some(1));
    assert_eq!(own.get(&narrow, "key").unwrap(), None);
    assert_eq!(own.get(&house.of("acme", "bob"), "key").unwrap(), None);
    assert_eq!(own.get_many(&narrow, ["key"]).unwrap(), [None]);
    assert_eq!(shared.get(&wide, "key").unwrap(), None);
    // No key of the shared namespace is one of an authority's.
    shared.insert(&wide, "key", 2).unwrap();
    assert_eq!(own.get(&wide, "key").unwrap(), Some(1));
    own.remove(&narrow, "key").unwrap();
    assert_eq!(own.get(&wide, "key").unwrap(), Some(1));
    house.cache.purge(&narrow).unwrap();
    assert_eq!(own.get(&wide, "key").unwrap(), None);
}

#[test]
fn isolation_a_flood_of_tags_forgets_no_neighbours_values() {
    let house = House::new();
    let tagged = house
        .cache
        .namespace::<u32>("n")
        .unwrap()
        .keep(|_| Keep::new().tag("mine"));
    let (ada, eve) = (house.of("acme", "ada"), house.of("globex", "eve"));
    tagged.insert(&ada, "k", 1).unwrap();
    for n in 0..10_000 {
        house.cache.invalidate_tag(&eve, &format!("t{n}")).unwrap();
        house.cache.invalidate_tag(&eve, "mine").unwrap();
    }
    assert_eq!(tagged.get(&ada, "k").unwrap(), Some(1));
}

#[test]
fn isolation_the_cache_of_one_tenant_is_purged_alone() {
    let house = House::new();
    let values = house.cache.namespace::<u32>("n").unwrap();
    let (acme, globex) = (house.of("acme", "ada"), house.of("globex", "eve"));
    for (tenant, value) in [(&acme, 1), (&globex, 2)] {
        values.insert(tenant, "key", value).unwrap();
    }
    house
        .cache
        .purge_tenant(&SystemContext::begin("offboarding"), acme.tenant_id());
    assert_eq!(values.get(&acme, "key").unwrap(), None);
    assert_eq!(values.get(&globex, "key").unwrap(), Some(2));
    house.cache.purge_tenant(
        &SystemContext::begin("offboarding"),
        &TenantId::parse("nobody").unwrap(),
    );
}

#[test]
fn isolation_tenant_ids_that_differ_in_case_are_two_tenants() {
    let clock = ManualClock::new();
    let tenants = tenants(&["Acme", "acme"], &clock);
    let cache = TenantCache::builder().clock(clock).build().unwrap();
    let values = cache.namespace::<u32>("n").unwrap();
    let (upper, lower) = (
        context(&tenants, "Acme", "ada"),
        context(&tenants, "acme", "ada"),
    );
    values.insert(&upper, "key", 1).unwrap();
    assert_eq!(values.get(&lower, "key").unwrap(), None);
}

#[test]
fn isolation_a_neighbours_stats_are_its_own() {
    let house = House::new();
    let values = house.cache.namespace::<u32>("n").unwrap();
    let (acme, globex) = (house.of("acme", "ada"), house.of("globex", "eve"));
    values.insert(&acme, "key", 1).unwrap();
    values.get(&acme, "key").unwrap();
    values.get(&acme, "other").unwrap();
    let stats = house.cache.stats(&acme).unwrap();
    assert_eq!((stats.hits, stats.misses), (1, 1));
    assert!(stats.bytes > 0);
    let untouched = house.cache.stats(&globex).unwrap();
    assert_eq!(
        (untouched.hits, untouched.misses, untouched.bytes),
        (0, 0, 0)
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Tenants with random ids and one random key: each finds its own value and no other's.
    #[test]
    fn isolation_random_tenants_with_one_key_find_their_own(
        ids in prop::collection::hash_set("[A-Za-z0-9._-]{1,8}", 2..5),
        key in any::<(String, u64)>(),
    ) {
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        let clock = ManualClock::new();
        let tenants = tenants(&ids, &clock);
        let cache = TenantCache::builder().clock(clock).build().unwrap();
        let values = cache.namespace::<String>("n").unwrap();
        let callers: Vec<_> = ids.iter().map(|id| context(&tenants, id, "ada")).collect();
        for caller in &callers {
            prop_assert_eq!(values.get(caller, &key).unwrap(), None);
            let own = caller.tenant_id().to_string();
            values.insert(caller, &key, own).unwrap();
        }
        for caller in &callers {
            prop_assert_eq!(values.get(caller, &key).unwrap(), Some(caller.tenant_id().to_string()));
        }
    }
}
