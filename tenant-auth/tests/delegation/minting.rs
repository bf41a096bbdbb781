//! What is delegated, and what is refused when it is asked for.

use futures_util::FutureExt;
use http::Request;
use serde_json::{Value, json};
use tenant_auth::{
    AccessToken, Budget, Delegation, Revocation, Revocations, TenantContext, UnixTime,
};
use tenant_context::{RoleGrants, Roles, Trail};
use tenant_testkit::{ManualClock, claims, context_with, tenants};

use crate::world::{NOW, World, bot, human, id, secs, to};

#[test]
fn the_chain_is_on_the_context() {
    let world = World::new();
    let root = world.root(&["invoices:*"]);
    let delegation = to("planner", &["invoices:read", "invoices:write"])
        .purpose("monthly report")
        .budget(Budget::new(100, 60));
    let planner = world.hire(&root, delegation).unwrap();
    let reader = world
        .hire(&planner, to("reader", &["invoices:read"]))
        .unwrap();
    assert_eq!(reader.actors(), [bot("reader"), bot("planner")]);
    assert_eq!(reader.principal(), &human("ada"));
    assert_eq!(reader.tenant_id(), &id("acme"));
    assert_eq!(reader.purpose(), Some("monthly report"));
    let parents: Vec<_> = reader
        .parents()
        .iter()
        .map(|parent| &parent.credential)
        .collect();
    assert_eq!(
        parents,
        [planner.credential().unwrap(), root.credential().unwrap()]
    );
    // Its parent's budget is its own too, second in the list as the parent is in the chain.
    let budget = reader.claim::<Value>("budget").unwrap();
    assert_eq!(budget, json!([null, {"requests": 100, "seconds": 60}]));
    assert!(reader.require("invoices:read").is_ok());
    assert!(reader.require("invoices:write").is_err());
}

#[test]
fn a_delegation_that_is_wider_is_refused() {
    let world = World::new();
    let root = world.root(&["invoices:read", "*:list"]);
    for scopes in [
        &["invoices:write"][..],
        &["invoices:*"],
        &["*"],
        &["invoices:read", "users:read"],
        &["*:*"],
    ] {
        let refused = world.issuer.delegate(&root, to("bot", scopes)).unwrap_err();
        assert_eq!(refused.reason(), "delegation_wider", "{scopes:?}");
        assert_eq!(refused.status(), 403);
    }
    assert_eq!(
        world.hire(&root, to("bot", &[])).unwrap_err(),
        "delegation_malformed"
    );
    assert_eq!(
        world.hire(&root, to("bot", &["a b"])).unwrap_err(),
        "delegation_wider"
    );
    assert!(world.hire(&root, to("bot", &["users:list"])).is_ok());
}

#[test]
fn a_role_does_not_travel() {
    let world = World::new();
    let token = AccessToken::new(id("acme"), human("ada")).roles(["developer"]);
    let root = world
        .present(world.issuer.access_token(&token).unwrap().expose())
        .unwrap();
    assert!(root.allows("invoices:write") && !root.allows("billing:read"));
    assert_eq!(
        world.hire(&root, to("bot", &["billing:read"])).unwrap_err(),
        "delegation_wider"
    );
    assert_eq!(
        world.hire(&root, to("bot", &["*:read"])).unwrap_err(),
        "delegation_wider"
    );
    let bot = world.hire(&root, to("bot", &["invoices:write"])).unwrap();
    assert_eq!(bot.roles().len(), 0);
    assert!(bot.allows("invoices:write") && !bot.allows("users:write"));
}

#[test]
fn nothing_outlives_its_parent() {
    let world = World::new();
    let root = world.root(&["*"]);
    let end = UnixTime::from_secs(NOW + 900);
    assert_eq!(root.stated_expiry(), end);
    assert_eq!(root.expires_at(), end.saturating_add(secs(30)));
    let asked = |ttl| world.hire(&root, to("bot", &["a:read"]).ttl(secs(ttl)));
    assert_eq!(asked(901).unwrap_err(), "delegation_outlives");
    assert_eq!(asked(900).unwrap().expires_at(), end);
    world.clock.advance(secs(600));
    let bot = world.hire(&root, to("bot", &["a:read"])).unwrap();
    assert_eq!(bot.stated_expiry(), end, "cut to what is left");
    let sub = world.hire(&bot, to("sub", &["a:read"])).unwrap();
    assert_eq!(sub.stated_expiry(), end);
    assert_eq!(
        (bot.expires_at(), sub.expires_at()),
        (end, end),
        "no leeway is added along the chain"
    );
    world.clock.advance(secs(301));
    assert_eq!(sub.check().unwrap_err().reason(), "expired");
    // The root is taken for its leeway longer. What it would hire by then would outlive it.
    assert!(root.check().is_ok());
    let late = world.hire(&root, to("bot", &["a:read"]));
    assert_eq!(late.unwrap_err(), "delegation_outlives");
    world.clock.advance(secs(30));
    let late = world.hire(&root, to("bot", &["a:read"]));
    assert_eq!(late.unwrap_err(), "expired");
}

#[test]
fn the_depth_is_bounded() {
    let world = World::new();
    let mut context = world.root(&["a:read"]);
    for depth in 0..4 {
        context = world
            .hire(&context, to(&format!("bot-{depth}"), &["a:read"]))
            .unwrap();
    }
    assert_eq!(
        world.hire(&context, to("bot-4", &["a:read"])).unwrap_err(),
        "delegation_depth"
    );
}

#[test]
fn what_could_not_be_revoked_by_time_is_not_delegated() {
    let world = World::new();
    let mut parent = claims("acme", "ada")
        .scopes(["a:*"])
        .credential(tenant_auth::CredentialId::parse("login").unwrap());
    parent.issuer = Some("https://elsewhere.example.com".into());
    let parent = context_with(&world.tenants, parent);
    assert_eq!(
        world.hire(&parent, to("bot", &["a:read"])).unwrap_err(),
        "delegation_undated"
    );
}

#[test]
fn a_prefix_only_gets_longer() {
    let world = World::new();
    let token = AccessToken::new(id("acme"), human("ada"))
        .scopes(["*"])
        .resource_prefix("projects/7");
    let root = world
        .present(world.issuer.access_token(&token).unwrap().expose())
        .unwrap();
    let hire = |prefix: &str| world.hire(&root, to("bot", &["a:read"]).resource_prefix(prefix));
    assert_eq!(hire("projects/8").unwrap_err(), "delegation_prefix");
    assert_eq!(hire("projects").unwrap_err(), "delegation_prefix");
    assert_eq!(
        hire("projects/7/files").unwrap().resource_prefix(),
        Some("projects/7/files")
    );
    let inherits = world.hire(&root, to("bot", &["a:read"])).unwrap();
    assert_eq!(inherits.resource_prefix(), Some("projects/7"));
}

#[test]
fn a_token_that_nobody_would_take_is_not_minted_and_another_try_is_of_no_use() {
    let world = World::new();
    let root = world.root(&["*"]);
    let many: Vec<String> = (0..200)
        .map(|n| format!("{n:03}:{}", "x".repeat(60)))
        .collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let refused = world.issuer.delegate(&root, to("bot", &many)).unwrap_err();
    assert_eq!(
        (refused.status().as_u16(), refused.reason()),
        (400, "delegation_too_long")
    );
    assert_eq!(refused.retry_after(), None);
    let many = |scopes: usize| {
        let scopes: Vec<_> = (0..scopes).map(|n| format!("a:{n}")).collect();
        to(
            "bot",
            &scopes.iter().map(String::as_str).collect::<Vec<_>>(),
        )
    };
    assert!(world.hire(&root, many(256)).is_ok());
    assert_eq!(
        world.hire(&root, many(257)).unwrap_err(),
        "delegation_too_long"
    );
}

/// A chain says what its first credential allowed at most: no more than verifiers read.
#[test]
fn roles_of_more_scopes_than_a_chain_holds_are_not_delegated() {
    let of = |name: &str, scopes: usize| {
        RoleGrants::new(
            (0..scopes)
                .map(|n| format!("{name}:{n}"))
                .collect::<Vec<_>>(),
        )
    };
    let roles = Roles::none()
        .role("whole", of("a", 256))
        .role("more", of("b", 1))
        .role("bound", of("c", 257));
    let world = World::with_roles(roles);
    let ada = || AccessToken::new(id("acme"), human("ada"));
    let hired = |token: AccessToken, scope| world.hire(&world.rooted(&token), to("bot", &[scope]));
    assert!(hired(ada().roles(["whole"]), "a:1").is_ok());
    for (token, scope) in [
        (ada().roles(["whole", "more"]), "a:1"),
        (ada().scopes(["*"]).roles(["bound"]), "c:1"),
    ] {
        assert_eq!(hired(token, scope).unwrap_err(), "delegation_too_long");
    }
}

#[test]
fn actor_tokens_accepted_across_tenants_and_not_logged() {
    let world = World::new();
    let root = world.root(&["*"]);
    let stranger = context_with(&world.tenants, claims("globex", "bot"));
    let delegation = Delegation::to_verified(&stranger).scopes(["a:read"]);
    // Within the request's scope, the refusal is in its trail although the handler renders it in its own way.
    let trail = Trail::open();
    let refused = in_scope(&root, &trail, || {
        world.issuer.delegate(&root, delegation).unwrap_err()
    });
    assert_eq!(
        (refused.status().as_u16(), refused.reason()),
        (403, "cross_tenant_chain")
    );
    let logged = trail.with(|facts| facts.rejection.as_ref().unwrap().reason().to_owned());
    assert_eq!(logged.as_deref(), Some("cross_tenant_chain"));

    // And where a signed chain names another tenant after all.
    assert_eq!(
        world.forged(|claims| claims["act"]["tenant_id"] = "globex".into()),
        "cross_tenant_chain"
    );
    let colleague = context_with(&world.tenants, claims("acme", "helper"));
    assert!(
        world
            .hire(
                &root,
                Delegation::to_verified(&colleague).scopes(["a:read"])
            )
            .is_ok()
    );
    colleague.revoke();
    let refused = world.hire(
        &root,
        Delegation::to_verified(&colleague).scopes(["a:read"]),
    );
    assert_eq!(refused.unwrap_err(), "revoked");
}

/// Runs `f` as a handler runs: behind the identity layer, with this trail.
fn in_scope<R: Send + 'static>(context: &TenantContext, trail: &Trail, f: impl FnOnce() -> R) -> R {
    use std::{cell::RefCell, convert::Infallible};
    use tenant_context::IdentityLayer;
    use tower::{Layer, ServiceExt, service_fn};
    let tenants = tenants(&["acme", "staff"], &ManualClock::new());
    let auth = tenant_testkit::TestAuth::new(tenants)
        .accept("token", claims(context.tenant_id().as_str(), "ada"));
    let identity = IdentityLayer::builder().build(auth).unwrap();
    let work = RefCell::new((Some(f), None));
    let handler = service_fn(|_: Request<_>| {
        let mut work = work.borrow_mut();
        let f = work.0.take().unwrap();
        work.1 = Some(f());
        std::future::ready(Ok::<_, Infallible>(http::Response::new(String::new())))
    });
    let mut request = Request::builder()
        .header("authorization", "Test token")
        .body(String::new())
        .unwrap();
    request.extensions_mut().insert(trail.clone());
    identity
        .layer(handler)
        .oneshot(request)
        .now_or_never()
        .unwrap()
        .unwrap();
    work.into_inner().1.unwrap()
}

#[test]
fn a_credential_without_a_name_is_not_delegated() {
    let world = World::new();
    let nameless = context_with(&world.tenants, claims("acme", "ada").scopes(["*"]));
    assert_eq!(
        world.hire(&nameless, to("bot", &["a:read"])).unwrap_err(),
        "delegation_nameless"
    );
}

#[test]
fn i5_revoking_any_ancestor_ends_all_its_descendants_and_nobody_else() {
    for revoked in 0..4 {
        let mut world = World::new();
        let revocations = Revocations::builder(&world.tenants).build().unwrap();
        world.auth = tenant_auth::layer(world.tenants.clone())
            .jwt(world.issuer.as_issuer())
            .revocations(revocations.clone())
            .authenticate()
            .unwrap();
        let mut line = vec![world.root(&["a:*"])];
        for depth in 0..3 {
            let child = to(&format!("bot-{depth}"), &["a:*"]);
            line.push(world.hire(&line[depth], child).unwrap());
        }
        let sibling = world.hire(&line[0], to("sibling", &["a:*"])).unwrap();
        let named = line[revoked].credential().unwrap().clone();
        drop(revocations.revoke(Revocation::token(id("acme"), named)));
        for (depth, context) in line.iter().enumerate() {
            let ended = context
                .check()
                .err()
                .map(|rejection| rejection.reason().to_owned());
            assert_eq!(
                ended.as_deref(),
                (depth >= revoked).then_some("revoked"),
                "{revoked} {depth}"
            );
        }
        assert_eq!(sibling.check().is_err(), revoked == 0);
    }
}
