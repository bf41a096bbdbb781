//! What a token says: each claim in its type, and with a value that is accepted.

use serde_json::{Value, json};
use tenant_auth::PrincipalKind;

use crate::common::{Fixture, ISSUER, NOW, ada, with, without};

#[test]
fn a_good_token_says_who_is_asking() {
    let fixture = Fixture::with(|issuer| issuer.keep_claim("email").keep_claim("limits"));
    let token = fixture.token(
        ada()
            .scopes(["invoices:read", "invoices:write"])
            .roles(["admin"])
            .jti("token-1")
            .agent("bot-7")
            .act(PrincipalKind::Service, "cron")
            .claim("resource_prefix", "/invoices/")
            .claim("email", "ada@acme.example")
            .claim("limits", json!({"rows": 7})),
    );
    let context = fixture.bearer(&token).unwrap();
    assert_eq!(context.tenant_id().as_str(), "acme");
    assert_eq!(context.principal().id().as_str(), "ada");
    assert_eq!(context.principal().kind(), PrincipalKind::Human);
    let actors: Vec<_> = context
        .actors()
        .iter()
        .map(|actor| (actor.kind(), actor.id().as_str()))
        .collect();
    assert_eq!(
        actors,
        [
            (PrincipalKind::Agent, "bot-7"),
            (PrincipalKind::Service, "cron")
        ]
    );
    assert_eq!(
        context.scopes().collect::<Vec<_>>(),
        ["invoices:read", "invoices:write"]
    );
    assert_eq!(context.roles().collect::<Vec<_>>(), ["admin"]);
    assert_eq!(context.credential().unwrap().as_str(), "token-1");
    assert_eq!(context.resource_prefix(), Some("/invoices/"));
    assert_eq!(context.issued_at().unwrap().as_secs(), NOW);
    assert_eq!(
        context.expires_at().as_secs(),
        NOW + 600 + 30,
        "with the leeway"
    );
    assert_eq!(
        context.claim::<String>("email").unwrap(),
        "ada@acme.example"
    );
    assert_eq!(
        context.claim::<Value>("limits").unwrap(),
        json!({"rows": 7})
    );
    assert_eq!(context.issuer(), Some(ISSUER));
    for consumed in [
        "iss",
        "aud",
        "exp",
        "sub",
        "tenant_id",
        "jti",
        "iat",
        "scope",
        "roles",
        "act",
    ] {
        assert_eq!(context.claim::<Value>(consumed), None, "{consumed}");
    }
}

#[test]
fn scopes_are_read_in_all_their_forms() {
    let fixture = Fixture::new();
    for (name, value) in [
        ("scope", json!("a b")),
        ("scope", json!("a  b ")),
        ("scp", json!(["a", "b"])),
        ("scp", json!("a b")),
        ("scopes", json!(["b", "a", "a"])),
    ] {
        let mut claims = without("scope");
        claims[name] = value.clone();
        let context = fixture.bearer(&fixture.forge(&claims)).unwrap();
        assert_eq!(
            context.scopes().collect::<Vec<_>>(),
            ["a", "b"],
            "{name} {value}"
        );
    }
    for (name, value, reason) in [
        ("scope", json!(["a"]), "claim_type:scope"),
        ("scope", json!("a \"b"), "claim_invalid:scope"),
        ("scp", json!(["a b"]), "claim_invalid:scope"),
        ("scp", json!([""]), "claim_invalid:scope"),
        ("scp", json!(["a", 1]), "claim_type:scope"),
        ("scopes", json!({"a": true}), "claim_type:scope"),
    ] {
        assert_eq!(
            fixture.reason(&fixture.forge(&with(name, value.clone()))),
            reason,
            "{name} {value}"
        );
    }
}

#[test]
fn a_token_without_a_jti_is_named_by_a_digest() {
    let fixture = Fixture::new();
    let token = fixture.forge(&without("jti"));
    let name = fixture
        .bearer(&token)
        .unwrap()
        .credential()
        .unwrap()
        .to_string();
    assert!(name.starts_with("sha256:"), "{name}");
    assert_eq!(name.len(), "sha256:".len() + 32);
    let other = fixture.forge(&{
        let mut claims = without("jti");
        claims["iat"] = json!(NOW - 1);
        claims
    });
    let other = fixture
        .bearer(&other)
        .unwrap()
        .credential()
        .unwrap()
        .to_string();
    assert_ne!(name, other);
}

#[test]
fn every_required_claim_is_required() {
    let fixture = Fixture::new();
    for (name, reason) in [
        ("iss", "claim_missing:iss"),
        ("aud", "claim_missing:aud"),
        ("exp", "claim_missing:exp"),
        ("sub", "claim_missing:sub"),
        ("tenant_id", "claim_missing:tenant"),
    ] {
        assert_eq!(fixture.reason(&fixture.forge(&without(name))), reason);
    }
    for optional in ["nbf", "iat", "jti", "scope", "roles"] {
        assert_eq!(
            fixture.reason(&fixture.forge(&without(optional))),
            "ok",
            "{optional}"
        );
    }
}

#[test]
fn string_typed_exp_and_nbf_treated_as_absent() {
    let fixture = Fixture::new();
    let types = [
        json!(null),
        json!(true),
        json!("1"),
        json!(1),
        json!([]),
        json!([1]),
        json!({}),
        json!(["a", null]),
    ];
    for (name, reason, right) in [
        ("iss", "claim_type:iss", &["string"][..]),
        ("aud", "claim_type:aud", &["string", "strings"]),
        ("exp", "claim_type:exp", &["number"]),
        ("nbf", "claim_type:nbf", &["number"]),
        ("iat", "claim_type:iat", &["number"]),
        ("sub", "claim_type:sub", &["string"]),
        ("tenant_id", "claim_type:tenant", &["string"]),
        ("jti", "claim_type:jti", &["string"]),
        ("scope", "claim_type:scope", &["string"]),
        ("roles", "claim_type:roles", &["strings"]),
        ("resource_prefix", "claim_type:resource_prefix", &["string"]),
        ("principal_kind", "claim_type:principal_kind", &["string"]),
        ("act", "claim_type:act", &["object"]),
    ] {
        for value in &types {
            let kind = match value {
                Value::String(_) => "string",
                Value::Number(_) => "number",
                Value::Object(_) => "object",
                Value::Array(list) if list.is_empty() => "strings",
                _ => "other",
            };
            let refused = fixture.reason(&fixture.forge(&with(name, value.clone())));
            if right.contains(&kind) {
                assert_ne!(refused, reason, "{name} = {value}");
            } else {
                assert_eq!(refused, reason, "{name} = {value}");
            }
        }
    }
}

#[test]
fn an_issuer_in_a_list_is_no_issuer() {
    let fixture = Fixture::new();
    let token = fixture.forge(&with("iss", json!([ISSUER, "https://evil.example"])));
    assert_eq!(fixture.reason(&token), "claim_type:iss");
}

#[test]
fn claims_have_values_that_are_accepted() {
    let fixture = Fixture::new();
    for (name, value, reason) in [
        ("iss", json!("https://id.example.com/"), "issuer"),
        ("iss", json!("HTTPS://id.example.com"), "issuer"),
        ("iss", json!(""), "issuer"),
        ("aud", json!("API"), "audience"),
        ("aud", json!([]), "audience"),
        ("aud", json!(["other", "api2"]), "audience"),
        ("sub", json!(""), "claim_invalid:sub"),
        ("sub", json!("a b"), "claim_invalid:sub"),
        ("sub", json!("ä"), "claim_invalid:sub"),
        ("sub", json!("a".repeat(256)), "claim_invalid:sub"),
        ("jti", json!(""), "claim_invalid:jti"),
        ("jti", json!("a".repeat(256)), "claim_invalid:jti"),
        ("exp", json!(-1), "claim_invalid:exp"),
        ("exp", json!(1e300), "claim_invalid:exp"),
        (
            "principal_kind",
            json!("root"),
            "claim_invalid:principal_kind",
        ),
        (
            "principal_kind",
            json!("Human"),
            "claim_invalid:principal_kind",
        ),
        ("cnf", json!({"jkt": "x"}), "cnf"),
        ("cnf", json!(null), "cnf"),
    ] {
        assert_eq!(
            fixture.reason(&fixture.forge(&with(name, value.clone()))),
            reason,
            "{name} = {value}"
        );
    }
    for (name, value) in [
        ("aud", json!(["other", "api"])),
        ("sub", json!("a".repeat(255))),
        ("exp", json!(1_767_225_600.5)),
        ("exp", json!(u64::MAX)),
    ] {
        assert_eq!(
            fixture.reason(&fixture.forge(&with(name, value.clone()))),
            "ok",
            "{name} = {value}"
        );
    }
}

#[test]
fn lists_are_bounded() {
    let fixture = Fixture::new();
    let scopes = |count: usize| fixture.token(ada().scopes((0..count).map(|n| n.to_string())));
    assert_eq!(fixture.reason(&scopes(256)), "ok");
    assert_eq!(fixture.reason(&scopes(257)), "claims_too_long");
    let roles = |count: usize| fixture.token(ada().roles((0..count).map(|n| n.to_string())));
    assert_eq!(fixture.reason(&roles(257)), "claims_too_long");
}

#[test]
fn claims_that_are_kept_are_found_again_and_others_are_not() {
    let name = "https://example.com/limits";
    let fixture = Fixture::with(|issuer| {
        issuer
            .keep_claim("email")
            .keep_claim(name)
            .keep_claim("absent")
    });
    let token = fixture.token(
        ada()
            .claim("email", "ada@acme.example")
            .claim(name, json!({"rows": [7, null, {"a": 1.5}]}))
            .claim("other", "dropped"),
    );
    let context = fixture.bearer(&token).unwrap();
    assert_eq!(
        context.claim::<String>("email").unwrap(),
        "ada@acme.example"
    );
    assert_eq!(
        context.claim::<Value>(name).unwrap(),
        json!({"rows": [7, null, {"a": 1.5}]})
    );
    assert_eq!(context.claim::<u64>("email"), None, "of another type");
    assert_eq!(context.claim::<Value>("absent"), None);
    assert_eq!(context.claim::<Value>("other"), None);
    let other = fixture.token(ada().claim("email", "bob@acme.example"));
    let same = fixture.token(ada().claim("email", "bob@acme.example").claim("other", 1));
    let authority = |token: &str| fixture.bearer(token).unwrap().authority().to_vec();
    assert_ne!(authority(&token), authority(&other));
    assert_eq!(
        authority(&other),
        authority(&same),
        "what is dropped decides nothing"
    );
}

#[test]
fn kept_claims_are_bounded() {
    let fixture = Fixture::with(|issuer| issuer.keep_claim("a").keep_claim("b"));
    let token = |a: Value, b: Value| fixture.token(ada().claim("a", a).claim("b", b));
    let long = |length: usize| json!("x".repeat(length));
    assert_eq!(fixture.reason(&token(long(2000), long(2000))), "ok");
    assert_eq!(
        fixture.reason(&token(long(2000), long(2100))),
        "claims_too_long"
    );
    let many: Vec<Value> = vec![json!(0); 600];
    assert_eq!(
        fixture.reason(&token(json!(many), json!(1))),
        "claims_too_long"
    );
    assert_eq!(
        fixture.reason(&fixture.token(ada().claim("c", long(5000)))),
        "ok",
        "not kept"
    );
}

#[test]
fn an_organization_is_read_and_tells_nothing_of_the_tenant() {
    let fixture = Fixture::new();
    let context = fixture
        .bearer(&fixture.forge(&with("org_id", "globex")))
        .unwrap();
    assert_eq!(
        (context.org_id(), context.tenant_id().as_str()),
        (Some("globex"), "acme")
    );
    assert_eq!(
        fixture.reason(&fixture.forge(&with("org_id", 7))),
        "claim_type:org_id"
    );
    // Or it is the tenant.
    let fixture = Fixture::with(|issuer| issuer.tenant_claim("org_id"));
    let context = fixture
        .bearer(&fixture.forge(&with("org_id", "globex")))
        .unwrap();
    assert_eq!(
        (context.org_id(), context.tenant_id().as_str()),
        (Some("globex"), "globex")
    );
}

#[test]
fn a_token_whose_scopes_are_none_is_not_widened_to_its_roles() {
    let fixture = Fixture::new();
    let allows = |claims: &Value| {
        fixture
            .bearer(&fixture.forge(claims))
            .unwrap()
            .allows("invoices:read")
    };
    assert!(
        allows(&without("scope")),
        "an admin without a `scope` has its role's"
    );
    assert!(!allows(&with("scope", "")));
    let (mut scp, mut scopes) = (without("scope"), without("scope"));
    scp["scp"] = "".into();
    scopes["scopes"] = json!([]);
    assert!(!allows(&scp));
    assert!(!allows(&scopes));
}
