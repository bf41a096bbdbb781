//! Staff in one named tenant.

use futures_util::FutureExt;
use http::Request;
use serde_json::json;
use tenant_auth::{
    AccessToken, Delegation, NewToken, Operation, Operators, PrincipalKind, SigningKey,
    TenantContext, TokenIssuer, TokenMinter, UnixTime,
};
use tenant_context::RequestHead;

use crate::world::{NAME, NOW, World, human, id, secs, to};

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

/// It would act in the tenant without its reason, as one of the tenant's own.
#[test]
fn nobody_delegates_to_an_operator() {
    let world = World::new();
    let olga = staff(&world, &["admin"]);
    let token = world.issuer.operate(&olga, visit()).unwrap();
    let visiting = world.present(token.expose()).unwrap();
    let root = world.root(&["*"]);
    let delegation = Delegation::to_verified(&visiting).scopes(["invoices:read"]);
    let refused = world.issuer.delegate(&root, delegation).unwrap_err();
    assert_eq!(
        (refused.status().as_u16(), refused.reason()),
        (403, "delegation_operator")
    );
}

#[test]
fn an_operator_stays_no_longer_than_operators_may() {
    let mut world = World::new();
    let operators = Operators::of(id("staff")).scopes(["*:read"]);
    world.issuer = TokenIssuer::builder(NAME, "api")
        .key(SigningKey::eddsa_generate("main").unwrap())
        .operators(operators.max_ttl(secs(60)))
        .clock(world.clock.clone())
        .build()
        .unwrap();
    world.auth = tenant_auth::layer(world.tenants.clone())
        .jwt(world.issuer.as_issuer())
        .authenticate()
        .unwrap();
    let olga = staff(&world, &["admin"]);
    let asked = |ttl: u64| world.issuer.operate(&olga, visit().ttl(secs(ttl)));
    let end = UnixTime::from_secs(NOW + 60);
    assert_eq!(asked(60).unwrap().expires_at(), end);
    assert_eq!(asked(61).unwrap_err().reason(), "delegation_outlives");
    let unasked = world.issuer.operate(&olga, visit()).unwrap();
    assert_eq!(unasked.expires_at(), end);
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
