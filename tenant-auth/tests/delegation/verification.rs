//! What a token says of its chain, whoever signed it.

use serde_json::{Value, json};
use tenant_auth::AccessToken;
use tenant_context::{RoleGrants, Roles};

use crate::world::{NAME, NOW, World, human, id, to};

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
}

#[test]
fn i3_every_link_of_a_chain_is_compared_with_the_one_before_it() {
    let world = World::new();
    let parents =
        |value: Value| move |claims: &mut Value| claims["tenant_chain"]["parents"] = value;
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
    // Also where the child has no more than either: what its parent had was not its own to give.
    let grown = json!([
        {"jti": "p", "exp": NOW + 600, "scope": "invoices:*"},
        {"jti": "g", "exp": NOW + 600, "scope": "invoices:read"},
    ]);
    assert_eq!(
        world.forged(|claims| {
            claims["act"]["act"] = json!({"sub": "first"});
            parents(grown)(claims);
        }),
        "delegation_wider"
    );
    // A token that does not say when it was issued could not be revoked by time.
    let undated = json!([{"jti": "p", "exp": NOW + 600, "scope": "*", "iss": NAME}]);
    assert_eq!(world.forged(parents(undated)), "claim_invalid:tenant_chain");
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

/// What a parent's roles took away from its scopes is taken away from its descendants, by whoever signs.
#[test]
fn what_a_parents_roles_except_bounds_its_descendants() {
    let world = World::new();
    let child = |scope: &str, roles: Value| {
        world.forged(|claims| {
            claims["scope"] = scope.into();
            claims["tenant_chain"]["parents"][0]["scope"] = "*".into();
            claims["tenant_chain"]["parents"][0]["roles"] = roles;
        })
    };
    let developer = || json!([{"scope": "*:read *:write", "except": "billing billing:*"}]);
    let two = || json!([{"scope": "*:read", "except": "billing:*"}, {"scope": "billing:write"}]);
    for (scope, roles, answer) in [
        ("invoices:write", developer(), "ok"),
        ("billing:read", developer(), "delegation_wider"),
        ("*:read", developer(), "delegation_wider"),
        ("invoices:delete", developer(), "delegation_wider"),
        ("*", developer(), "delegation_wider"),
        ("invoices:read billing:write", two(), "ok"),
        ("invoices:read billing:read", two(), "delegation_wider"),
        ("invoices:read", json!([]), "delegation_wider"),
        ("invoices:read", json!([{"scope": ""}]), "delegation_wider"),
        (
            "invoices:read",
            json!([{"except": "a"}]),
            "claim_invalid:tenant_chain",
        ),
        (
            "invoices:read",
            json!([{"scope": "*", "only": "a"}]),
            "claim_invalid:tenant_chain",
        ),
        (
            "invoices:read",
            json!([{"scope": ["*"]}]),
            "claim_type:tenant_chain",
        ),
        ("invoices:read", json!(["*"]), "claim_type:tenant_chain"),
        (
            "invoices:read",
            json!({"scope": "*"}),
            "claim_type:tenant_chain",
        ),
        ("invoices:read", json!(null), "claim_type:tenant_chain"),
    ] {
        assert_eq!(child(scope, roles.clone()), answer, "{scope} of {roles}");
    }
    let many = vec![json!({"scope": "*"}); 257];
    assert_eq!(child("a", many.into()), "claim_invalid:tenant_chain");
    let many = vec!["*"; 257].join(" ");
    assert_eq!(
        child("a", json!([{"scope": many}])),
        "claim_invalid:tenant_chain"
    );
}

#[test]
fn a_chain_says_what_its_first_credentials_roles_left_of_it() {
    let roles = Roles::ready().role(
        "auditor",
        RoleGrants::only_the_credentials().except(["keys:*"]),
    );
    let world = World::with_roles(roles);
    let of = |roles: &[&str], scopes: Option<&str>| {
        let mut token = AccessToken::new(id("acme"), human("ada")).roles(roles.iter().copied());
        if let Some(scopes) = scopes {
            token = token.scopes([scopes]);
        }
        let root = world.rooted(&token);
        let bot = world.hire(&root, to("bot", &["invoices:read"])).unwrap();
        // And its own agent's token says the same of the first.
        let sub = world.hire(&bot, to("sub", &["invoices:read"])).unwrap();
        assert_eq!(sub.parents()[1], bot.parents()[0]);
        assert_eq!(sub.parents()[0].roles, None);
        bot.parents()[0].clone()
    };
    let developer = of(&["developer"], None);
    assert!(developer.covers("invoices:read") && !developer.covers("billing:read"));
    let narrow = of(&["developer"], Some("*"));
    assert!(narrow.covers("invoices:read") && !narrow.covers("billing:read"));
    assert!(
        !narrow.covers("invoices:delete"),
        "the role does not allow it"
    );
    let auditor = of(&["auditor"], Some("*"));
    assert!(auditor.covers("invoices:delete") && !auditor.covers("keys:read"));
    let viewer = of(&["viewer"], Some("*"));
    assert!(viewer.covers("billing:read") && !viewer.covers("invoices:write"));
    // A role that takes nothing away is not written.
    assert_eq!(of(&["viewer"], None).roles, None);
    assert_eq!(of(&[], Some("*")).roles, None);
    // Nor does a role that nobody knows give anything.
    let unknown = AccessToken::new(id("acme"), human("ada"))
        .roles(["root"])
        .scopes(["*"]);
    let refused = world.hire(&world.rooted(&unknown), to("bot", &["invoices:read"]));
    assert_eq!(refused.unwrap_err(), "delegation_wider");
}
