//! Delegation: authority never grows along a chain, at minting and again at verification.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::panic,
    reason = "tests"
)]

use std::{cell::Cell, time::Duration};

use futures_util::FutureExt;
use http::Request;
use proptest::{collection::vec, prelude::*, sample::Index, test_runner::TestRunner};
use serde_json::{Value, json};
use tenant_auth::{
    AccessToken, Authenticated, Budget, CachedRegistry, Delegation, NewToken, Operation, Operators,
    Principal, PrincipalId, PrincipalKind, Rejection, Revocation, Revocations, SigningKey,
    TenantContext, TenantId, TokenIssuer, TokenMinter,
};
use tenant_context::{RequestHead, Trail, scope_covers};
use tenant_testkit::{ManualClock, claims, context_with, tenants};

const NAME: &str = "https://id.example.com";
const NOW: u64 = ManualClock::START.as_secs();

struct World {
    clock: ManualClock,
    tenants: CachedRegistry,
    issuer: TokenIssuer,
    auth: Authenticated,
    /// Signs with the issuer's own key whatever it is told.
    forger: TokenMinter,
}

impl World {
    fn new() -> Self {
        let clock = ManualClock::new();
        let tenants = tenants(&["acme", "globex", "staff"], &clock);
        let pem = include_bytes!("fixtures/ed25519.private.pem");
        let operators = Operators::of(id("staff")).scopes(["*:read"]);
        let issuer = TokenIssuer::builder(NAME, "api")
            .key(SigningKey::eddsa_pem("main", pem).unwrap())
            .operators(operators)
            .clock(clock.clone())
            .build()
            .unwrap();
        let auth = tenant_auth::layer(tenants.clone())
            .jwt(issuer.as_issuer())
            .authenticate()
            .unwrap();
        let forger = TokenMinter::eddsa_pem("main", pem).unwrap();
        Self {
            clock,
            tenants,
            issuer,
            auth,
            forger,
        }
    }

    fn present(&self, token: &str) -> Result<TenantContext, Rejection> {
        let request = Request::builder().header("authorization", format!("Bearer {token}"));
        let (head, ()) = request.body(()).unwrap().into_parts();
        TenantContext::admit(&self.auth, &RequestHead::new(&head))
            .wait()
            .now_or_never()
            .unwrap()
    }

    fn root(&self, scopes: &[&str]) -> TenantContext {
        let token = AccessToken::new(id("acme"), human("ada")).scopes(scopes.iter().copied());
        self.present(self.issuer.access_token(&token).unwrap().expose())
            .unwrap()
    }

    fn hire(
        &self,
        parent: &TenantContext,
        delegation: Delegation,
    ) -> Result<TenantContext, String> {
        match self.issuer.delegate(parent, delegation) {
            Ok(token) => Ok(self.present(token.expose()).unwrap()),
            Err(rejection) => Err(rejection.reason().to_owned()),
        }
    }

    /// Why a token of these claims, signed with the issuer's key, is refused.
    fn forged(&self, change: impl FnOnce(&mut Value)) -> String {
        let mut claims = json!({
            "iss": NAME, "aud": "api", "tenant_id": "acme", "sub": "ada", "iat": NOW, "exp": NOW + 300, "jti": "child",
            "scope": "invoices:read", "act": {"sub": "bot", "principal_kind": "agent"},
            "tenant_chain": {"parents": [{"jti": "parent", "exp": NOW + 600, "scope": "invoices:*"}]},
        });
        change(&mut claims);
        let header = r#"{"alg":"EdDSA","kid":"main","typ":"at+jwt"}"#;
        let token = self.forger.mint_raw(header, &claims.to_string()).unwrap();
        match self.present(&token) {
            Ok(_) => "ok".to_owned(),
            Err(rejection) => rejection.reason().to_owned(),
        }
    }
}

fn id(tenant: &str) -> TenantId {
    TenantId::parse(tenant).unwrap()
}

fn human(name: &str) -> Principal {
    Principal::human(PrincipalId::parse(name).unwrap())
}

fn bot(name: &str) -> Principal {
    Principal::agent(PrincipalId::parse(name).unwrap())
}

fn to(name: &str, scopes: &[&str]) -> Delegation {
    Delegation::to(bot(name)).scopes(scopes.iter().copied())
}

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

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
    let long = to("bot", &["a:read"]).ttl(secs(931));
    assert_eq!(world.hire(&root, long).unwrap_err(), "delegation_outlives");
    world.clock.advance(secs(600));
    let bot = world.hire(&root, to("bot", &["a:read"])).unwrap();
    assert!(bot.expires_at() <= root.expires_at(), "cut to what is left");
    let sub = world.hire(&bot, to("sub", &["a:read"])).unwrap();
    assert!(
        sub.expires_at() <= bot.expires_at(),
        "no leeway is added along the chain"
    );
    world.clock.advance(secs(331));
    assert_eq!(
        world.hire(&root, to("bot", &["a:read"])).unwrap_err(),
        "expired"
    );
    assert_eq!(sub.check().unwrap_err().reason(), "expired");
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

/// Signed with the issuer's key all the same.
#[test]
fn i3_the_depth_is_verified_again() {
    let world = World::new();
    let act = |depth: usize| {
        (0..depth).fold(Value::Null, |inner, n| {
            let mut act = json!({"sub": format!("bot-{n}"), "principal_kind": "agent"});
            if !inner.is_null() {
                act["act"] = inner;
            }
            act
        })
    };
    assert_eq!(world.forged(|claims| claims["act"] = act(4)), "ok");
    assert_eq!(world.forged(|claims| claims["act"] = act(5)), "act_depth");
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
fn a_chain_that_grows_is_refused_at_verification_whoever_signed_it() {
    let world = World::new();
    let parents =
        |value: Value| move |claims: &mut Value| claims["tenant_chain"]["parents"] = value;
    assert_eq!(world.forged(|_| ()), "ok");
    for (reason, refused) in [
        (
            "delegation_wider",
            world.forged(|claims| claims["scope"] = "invoices:read users:read".into()),
        ),
        (
            "delegation_wider",
            world.forged(|claims| claims["scope"] = "*".into()),
        ),
        (
            "delegation_wider",
            world.forged(|claims| claims["roles"] = json!(["admin"])),
        ),
        (
            "delegation_wider",
            world.forged(|claims| {
                claims.as_object_mut().unwrap().remove("scope");
            }),
        ),
        (
            "delegation_outlives",
            world.forged(|claims| claims["exp"] = (NOW + 601).into()),
        ),
        (
            "delegation_wider",
            world.forged(|claims| {
                claims["tenant_chain"]["parents"][0]["resource_prefix"] = "projects/7".into();
            }),
        ),
        (
            "claim_missing:tenant_chain",
            world.forged(|claims| {
                claims.as_object_mut().unwrap().remove("tenant_chain");
            }),
        ),
        (
            "claim_invalid:tenant_chain",
            world.forged(parents(json!([]))),
        ),
        (
            "claim_invalid:tenant_chain",
            world.forged(parents(json!([{"jti": "p", "scope": "*"}]))),
        ),
        (
            "claim_invalid:tenant_chain",
            world.forged(|claims| claims["tenant_chain"]["audience"] = "x".into()),
        ),
        (
            "claim_invalid:tenant_chain",
            world.forged(|claims| {
                claims.as_object_mut().unwrap().remove("act");
            }),
        ),
        ("claim_type:tenant_chain", world.forged(parents(json!("p")))),
        (
            "claim_type:tenant_chain",
            world.forged(|claims| claims["tenant_chain"] = json!([])),
        ),
        (
            "claim_type:tenant_chain",
            world.forged(parents(
                json!([{"jti": "p", "exp": "9999999999", "scope": "*"}]),
            )),
        ),
        (
            "cross_tenant_chain",
            world.forged(|claims| claims["tenant_chain"]["operator_of"] = "globex".into()),
        ),
    ] {
        assert_eq!(refused, reason);
    }
    // The grandparent bounds too.
    let grown = json!([
        {"jti": "p", "exp": NOW + 600, "scope": "invoices:*"},
        {"jti": "g", "exp": NOW + 600, "scope": "invoices:write"},
    ]);
    assert_eq!(
        world.forged(|claims| {
            claims["act"]["act"] = json!({"sub": "first"});
            parents(grown)(claims);
        }),
        "delegation_wider"
    );
    let longer = json!([
        {"jti": "p", "exp": NOW + 600, "scope": "*"},
        {"jti": "g", "exp": NOW + 599, "scope": "*"},
    ]);
    assert_eq!(
        world.forged(|claims| {
            claims["act"]["act"] = json!({"sub": "first"});
            parents(longer)(claims);
        }),
        "delegation_outlives"
    );
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

fn pattern() -> impl Strategy<Value = String> {
    let segment = prop_oneof![Just("a"), Just("b"), Just("read"), Just("write"), Just("*")];
    vec(segment, 1..3).prop_map(|segments| segments.join(":"))
}

/// One agent of a tree: whose child it is, what it asks for, for how long, how long after the last one, under which prefix, and
/// whether it asks for no more than there is, by choosing.
#[derive(Clone, Debug)]
struct Agent {
    parent: Index,
    scopes: Vec<String>,
    ttl: u64,
    wait: u64,
    prefix: Option<String>,
    modest: Option<Vec<Index>>,
}

fn agent() -> impl Strategy<Value = Agent> {
    let prefix = proptest::option::of(prop_oneof![
        Just("p".to_owned()),
        Just("p/1".to_owned()),
        Just("q".to_owned())
    ]);
    let modest = proptest::option::weighted(0.8, vec(any::<Index>(), 1..4));
    let parts = (
        any::<Index>(),
        vec(pattern(), 1..4),
        1..1200_u64,
        0..60_u64,
        prefix,
        modest,
    );
    parts.prop_map(|(parent, scopes, ttl, wait, prefix, modest)| Agent {
        parent,
        scopes,
        ttl,
        wait,
        prefix,
        modest,
    })
}

/// By everything that anyone could be asked for.
const ASKED: [&str; 12] = [
    "a",
    "b",
    "a:read",
    "a:write",
    "b:read",
    "b:write",
    "read:a",
    "a:b:read",
    "billing:read",
    "*",
    "*:read",
    "a:*",
];

impl Agent {
    /// The scopes and the prefix that it asks this parent for.
    fn asks(self, above: &TenantContext) -> (Vec<String>, Option<String>) {
        let (mut scopes, mut prefix) = (self.scopes, self.prefix);
        if let Some(choice) = self.modest {
            let held = ASKED
                .map(str::to_owned)
                .into_iter()
                .chain(above.scopes().map(str::to_owned));
            let held: Vec<_> = held.filter(|scope| above.allows(scope)).collect();
            if !held.is_empty() {
                scopes = choice.iter().map(|at| at.get(&held).clone()).collect();
            }
            if let Some(whole) = above.resource_prefix() {
                prefix = prefix.map(|under| format!("{whole}/{under}"));
            }
        }
        (scopes, prefix)
    }
}

/// By everything that either could be asked for.
fn has_no_more(agent: &TenantContext, ancestor: &TenantContext) -> Result<(), TestCaseError> {
    for scope in ASKED {
        prop_assert!(!agent.allows(scope) || ancestor.allows(scope), "{scope}");
    }
    for scope in agent.scopes() {
        prop_assert!(
            ancestor
                .ceiling()
                .iter()
                .any(|held| scope_covers(held, scope))
        );
    }
    prop_assert!(agent.expires_at() <= ancestor.expires_at());
    prop_assert_eq!(agent.tenant_id(), ancestor.tenant_id());
    prop_assert_eq!(agent.principal(), ancestor.principal());
    prop_assert!(
        agent.actors().ends_with(ancestor.actors())
            && agent.actors().len() > ancestor.actors().len()
    );
    prop_assert!(
        agent
            .parents()
            .iter()
            .any(|parent| Some(&parent.credential) == ancestor.credential())
    );
    if let Some(prefix) = ancestor.resource_prefix() {
        prop_assert!(agent.resource_prefix().unwrap().starts_with(prefix));
    }
    Ok(())
}

#[test]
fn authority_never_grows_in_any_tree_of_agents() {
    let role = prop_oneof![
        Just(None),
        Just(Some("admin")),
        Just(Some("developer")),
        Just(Some("viewer"))
    ];
    let trees = (
        vec(pattern(), 1..4),
        role,
        any::<bool>(),
        vec(agent(), 1..12),
    );
    let config = ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(128)
    };
    // A property of trees that never grow says nothing.
    let (hired, refused, deepest) = (Cell::new(0), Cell::new(0), Cell::new(0));
    let outcome = TestRunner::new(config).run(&trees, |(scopes, role, limited, agents)| {
        let world = World::new();
        let mut root = AccessToken::new(id("acme"), human("ada")).roles(role);
        if limited || role.is_none() {
            root = root.scopes(scopes);
        }
        let root = world
            .present(world.issuer.access_token(&root).unwrap().expose())
            .unwrap();
        let mut tree = vec![(root, None::<usize>)];
        for (number, agent) in agents.into_iter().enumerate() {
            let ttl = agent.ttl;
            world.clock.advance(secs(agent.wait));
            let parent = agent.parent.index(tree.len());
            let (above, _) = &tree[parent];
            let (scopes, prefix) = agent.asks(above);
            let mut delegation = Delegation::to(bot(&format!("bot-{number}")))
                .scopes(scopes.clone())
                .ttl(secs(ttl));
            if let Some(prefix) = &prefix {
                delegation = delegation.resource_prefix(prefix.as_str());
            }
            let covered = scopes.iter().all(|scope| above.allows(scope));
            match world.hire(above, delegation) {
                Ok(child) => {
                    prop_assert!(covered);
                    deepest.set(deepest.get().max(child.actors().len()));
                    hired.set(hired.get() + 1);
                    tree.push((child, Some(parent)));
                }
                Err(reason) => {
                    refused.set(refused.get() + 1);
                    prop_assert!(
                        !covered || reason != "delegation_wider" || above.actors().is_empty(),
                        "{}",
                        reason
                    );
                }
            }
        }
        // Every agent against every one of its ancestors.
        for (agent, mut up) in tree.iter().map(|(agent, up)| (agent, *up)) {
            while let Some(at) = up {
                let (ancestor, next) = &tree[at];
                has_no_more(agent, ancestor)?;
                up = *next;
            }
        }
        Ok(())
    });
    outcome.unwrap();
    assert!(
        hired.get() > 100 && refused.get() > 100 && deepest.get() > 2,
        "{hired:?} hired, {refused:?} refused, {deepest:?} deep"
    );
}

// Operators.

fn staff(world: &World, roles: &[&str]) -> TenantContext {
    let token = AccessToken::new(id("staff"), human("olga")).roles(roles.iter().copied());
    world
        .present(world.issuer.access_token(&token).unwrap().expose())
        .unwrap()
}

fn visit() -> Operation {
    Operation::new(id("acme"), "ticket 4711").scopes(["invoices:read"])
}

#[test]
fn an_operator_acts_in_one_named_tenant_for_a_limited_time_with_a_reason() {
    let world = World::new();
    let olga = staff(&world, &["admin"]);
    let token = world.issuer.operate(&olga, visit().ttl(secs(600))).unwrap();
    let visiting = world.present(token.expose()).unwrap();
    assert_eq!(visiting.tenant_id(), &id("acme"));
    assert_eq!(visiting.principal().kind(), PrincipalKind::Service);
    assert_eq!(visiting.principal().id().as_str(), "support");
    assert_eq!(visiting.actors(), [human("olga")]);
    assert_eq!(visiting.operator_of(), Some(&id("staff")));
    assert_eq!(visiting.purpose(), Some("ticket 4711"));
    assert!(visiting.require("invoices:read").is_ok());
    assert!(visiting.require("invoices:write").is_err());
    assert!(visiting.require_role("admin").is_err());

    // For whom it acts can be said; what it does through a service stays an operator's.
    let for_ada = world
        .issuer
        .operate(&olga, visit().on_behalf_of(human("ada")))
        .unwrap();
    let for_ada = world.present(for_ada.expose()).unwrap();
    assert_eq!(
        (for_ada.principal(), for_ada.actor()),
        (&human("ada"), &human("olga"))
    );
    let further = world
        .hire(&for_ada, to("indexer", &["invoices:read"]))
        .unwrap();
    assert_eq!(further.operator_of(), Some(&id("staff")));
    let elsewise = to("indexer", &["invoices:read"]).purpose("curiosity");
    let elsewise = world.hire(&visiting, elsewise).unwrap();
    assert_eq!(elsewise.purpose(), visiting.purpose(), "why staff is there");

    // Through the same checks.
    world.tenants.suspend(&id("acme"));
    assert_eq!(
        world.present(token.expose()).unwrap_err().reason(),
        "tenant_suspended"
    );
    world.tenants.resume(&id("acme"));
    world.clock.advance(secs(631));
    assert_eq!(visiting.check().unwrap_err().reason(), "expired");
}

#[test]
fn there_is_no_other_way_to_be_an_operator() {
    let world = World::new();
    let reason = |staff: &TenantContext, operation| {
        world
            .issuer
            .operate(staff, operation)
            .unwrap_err()
            .reason()
            .to_owned()
    };
    let olga = staff(&world, &["admin"]);
    assert_eq!(reason(&staff(&world, &["viewer"]), visit()), "scope");
    assert_eq!(reason(&world.root(&["*"]), visit()), "operator");
    let agent = world.hire(&olga, to("bot", &["operators:enter"])).unwrap();
    assert_eq!(reason(&agent, visit()), "operator");
    let visiting = world
        .present(world.issuer.operate(&olga, visit()).unwrap().expose())
        .unwrap();
    assert_eq!(reason(&visiting, visit()), "operator");
    assert_eq!(
        reason(
            &olga,
            Operation::new(id("staff"), "home").scopes(["a:read"])
        ),
        "operator"
    );
    assert_eq!(
        reason(&olga, visit().scopes(["invoices:write"])),
        "operator_wider"
    );
    assert_eq!(
        reason(&olga, Operation::new(id("acme"), "why")),
        "operator_wider"
    );
    for why in ["", "  ", "a\nb"] {
        assert_eq!(
            reason(&olga, Operation::new(id("acme"), why).scopes(["a:read"])),
            "operator_reason"
        );
    }
    assert_eq!(
        reason(&olga, visit().ttl(secs(1801))),
        "delegation_outlives"
    );
    olga.revoke();
    assert_eq!(reason(&olga, visit()), "revoked");

    // An issuer that was not trusted with operators brings none in.
    let minter = TokenMinter::eddsa_generate("k").unwrap();
    let other = tenant_auth::Issuer::new("other")
        .audience("api")
        .key(minter.verifying_key());
    let auth = tenant_auth::layer(world.tenants.clone())
        .jwt(other)
        .authenticate()
        .unwrap();
    let chain =
        json!({"parents": [{"jti": "p", "exp": NOW + 900, "scope": "*"}], "operator_of": "staff"});
    let token = NewToken::new("other", "api", "acme", "x")
        .expires_in(secs(60))
        .scopes(["a"])
        .agent("olga")
        .claim("tenant_chain", chain);
    let token = minter.mint(&token, &world.clock).unwrap();
    let request = Request::builder().header("authorization", format!("Bearer {token}"));
    let (head, ()) = request.body(()).unwrap().into_parts();
    let answer = TenantContext::admit(&auth, &RequestHead::new(&head))
        .wait()
        .now_or_never()
        .unwrap();
    assert_eq!(answer.unwrap_err().reason(), "cross_tenant_chain");
}
