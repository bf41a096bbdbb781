//! Whose a token is: by a claim, by the name of its issuer, or by a fixed tenant.

use serde_json::{Value, json};
use tenant_auth::{Issuer, Issuers, NewToken, TenantId};

use crate::common::{Fixture, ISSUER, ada, with, without};

#[test]
fn tenant_ids_are_taken_as_they_are_or_not_at_all() {
    let fixture = Fixture::new();
    for (tenant, reason) in [
        ("", "claim_invalid:tenant"),
        (&*"a".repeat(64), "ok"),
        (&"a".repeat(65), "claim_invalid:tenant"),
        ("acme:globex", "claim_invalid:tenant"),
        ("tenant:acme", "claim_invalid:tenant"),
        ("acme/../globex", "claim_invalid:tenant"),
        ("acme\0", "claim_invalid:tenant"),
        ("acme ", "claim_invalid:tenant"),
        ("acmé", "claim_invalid:tenant"),
        ("*", "claim_invalid:tenant"),
        ("ACME", "tenant_unknown"),
        ("initech", "tenant_unknown"),
    ] {
        assert_eq!(
            fixture.reason(&fixture.forge(&with("tenant_id", tenant))),
            reason,
            "{tenant:?}"
        );
    }
}

#[test]
fn case_insensitive_ids_in_one_store() {
    let fixture = Fixture::new();
    let upper = fixture
        .bearer(&fixture.token(NewToken::new(ISSUER, "api", "Acme", "ada")))
        .unwrap();
    let lower = fixture.bearer(&fixture.good()).unwrap();
    assert_ne!(upper.tenant_id(), lower.tenant_id());
}

#[test]
fn the_tenant_is_read_from_the_configured_claim_alone() {
    let name = "https://example.com/tenant";
    let fixture = Fixture::with(|issuer| issuer.tenant_claim(name));
    let token = fixture.token(ada().tenant_claim(name).claim("tenant_id", "globex"));
    assert_eq!(fixture.bearer(&token).unwrap().tenant_id().as_str(), "acme");
    assert_eq!(fixture.reason(&fixture.good()), "claim_missing:tenant");
}

#[test]
fn an_issuer_speaks_for_its_own_tenants_only() {
    let globex = || TenantId::parse("globex").unwrap();
    let confined = Fixture::with(|issuer| issuer.tenants([globex()]));
    assert_eq!(confined.reason(&confined.good()), "issuer_tenant");
    let own = confined.forge(&with("tenant_id", "globex"));
    assert_eq!(confined.bearer(&own).unwrap().tenant_id(), &globex());
}

fn acme() -> TenantId {
    TenantId::parse("acme").unwrap()
}

#[test]
fn the_tenant_stands_inside_of_other_claims() {
    let fixture = Fixture::with(|issuer| issuer.tenant_path(["org", "unit", "id"]));
    let nested = |org: Value| {
        let mut claims = without("tenant_id");
        claims["org"] = org;
        claims["id"] = json!("globex");
        fixture.forge(&claims)
    };
    for (org, reason) in [
        (
            json!({"unit": {"id": "acme", "x": {"id": "globex"}}, "id": "globex"}),
            "ok",
        ),
        (json!({"unit": {"ID": "acme"}}), "claim_missing:tenant"),
        (json!({"unit": "acme"}), "claim_missing:tenant"),
        (json!({"unit": [{"id": "acme"}]}), "claim_missing:tenant"),
        (json!({"unit": {"id": ["acme"]}}), "claim_type:tenant"),
        (json!("acme"), "claim_missing:tenant"),
        (json!({"unit": {"id": "initech"}}), "tenant_unknown"),
    ] {
        assert_eq!(fixture.reason(&nested(org.clone())), reason, "{org}");
    }
    let context = fixture
        .bearer(&nested(json!({"unit": {"id": "acme"}})))
        .unwrap();
    assert_eq!(context.tenant_id(), &acme());
    // A dot in a name is a part of the name.
    assert_eq!(
        fixture.reason(&fixture.forge(&with("org.unit.id", "acme"))),
        "claim_missing:tenant"
    );
}

#[test]
fn an_issuer_of_one_tenant_speaks_for_it_whatever_its_tokens_say() {
    let fixture = Fixture::with(|issuer| issuer.fixed_tenant(acme()));
    for claims in [
        without("tenant_id"),
        with("tenant_id", "globex"),
        with("tenant_id", 7),
    ] {
        let context = fixture.bearer(&fixture.forge(&claims)).unwrap();
        assert_eq!(context.tenant_id(), &acme());
    }
    // With a claim that is named too, both must agree.
    let both = Fixture::with(|issuer| issuer.fixed_tenant(acme()).tenant_claim("tenant_id"));
    assert_eq!(both.reason(&both.good()), "ok");
    assert_eq!(
        both.reason(&both.forge(&with("tenant_id", "globex"))),
        "issuer_tenant"
    );
    assert_eq!(
        both.reason(&both.forge(&without("tenant_id"))),
        "claim_missing:tenant"
    );
}

/// A service that trusts a provider with one name for each customer.
fn templated(change: impl FnOnce(Issuer) -> Issuer) -> Fixture {
    let fixture = Fixture::new();
    let issuer = Issuer::template("https://id.example.com/{tenant}/v2").audience("api");
    let auth = tenant_auth::layer(fixture.tenants.clone())
        .jwt(change(issuer.key(fixture.minter.verifying_key())))
        .authenticate()
        .unwrap();
    Fixture { auth, ..fixture }
}

#[test]
fn the_name_of_the_issuer_names_the_tenant() {
    let fixture = templated(|issuer| issuer);
    let from = |iss: &str| {
        let mut claims = without("tenant_id");
        claims["iss"] = json!(iss);
        fixture.forge(&claims)
    };
    for tenant in ["acme", "globex", "Acme"] {
        let iss = format!("https://id.example.com/{tenant}/v2");
        let context = fixture.bearer(&from(&iss)).unwrap();
        assert_eq!(
            (context.tenant_id().as_str(), context.issuer()),
            (tenant, Some(&*iss))
        );
    }
    for (iss, reason) in [
        ("https://id.example.com/initech/v2", "tenant_unknown"),
        ("https://id.example.com//v2", "issuer"),
        ("https://id.example.com/v2", "issuer"),
        ("https://id.example.com/acme/globex/v2", "issuer"),
        ("https://id.example.com/acme/../globex/v2", "issuer"),
        ("https://id.example.com/acme%2f/v2", "issuer"),
        ("https://id.example.com/acme/v2/", "issuer"),
        ("https://id.example.com/acme/v2?x", "issuer"),
        ("https://id.example.com/acme/V2", "issuer"),
        ("https://id.example.com.evil.example/acme/v2", "issuer"),
        ("https://id.example.com/{tenant}/v2", "issuer"),
        ("https://id.example.com", "issuer"),
    ] {
        assert_eq!(fixture.reason(&from(iss)), reason, "{iss}");
    }
    let confined = templated(|issuer| issuer.tenants([acme()]));
    let globex = without("tenant_id");
    let mut claims = globex;
    claims["iss"] = json!("https://id.example.com/globex/v2");
    assert_eq!(confined.reason(&confined.forge(&claims)), "issuer_tenant");
}

#[test]
fn a_claim_and_the_name_of_the_issuer_must_agree() {
    let fixture = templated(|issuer| issuer.tenant_claim("tenant_id"));
    let from = |iss: &str, tenant: &str| {
        let mut claims = with("tenant_id", tenant);
        claims["iss"] = json!(format!("https://id.example.com/{iss}/v2"));
        fixture.forge(&claims)
    };
    assert_eq!(fixture.reason(&from("acme", "acme")), "ok");
    assert_eq!(fixture.reason(&from("acme", "globex")), "issuer_tenant");
    assert_eq!(fixture.reason(&from("acme", "ACME")), "issuer_tenant");
}

#[test]
fn an_actor_of_another_customers_issuer_is_of_another_tenant() {
    let fixture = templated(|issuer| issuer);
    let acting = |iss: &str| {
        let mut claims = without("tenant_id");
        claims["iss"] = json!("https://id.example.com/acme/v2");
        claims["act"] = json!({"sub": "bot", "iss": iss});
        fixture.forge(&claims)
    };
    assert_eq!(
        fixture.reason(&acting("https://id.example.com/acme/v2")),
        "ok"
    );
    assert_eq!(
        fixture.reason(&acting("https://id.example.com/globex/v2")),
        "cross_tenant_chain"
    );
}

#[test]
fn an_issuer_that_two_templates_give_is_none() {
    let fixture = Fixture::new();
    let issuers = Issuers::new();
    let auth = tenant_auth::layer(fixture.tenants.clone())
        .issuers(issuers.clone())
        .authenticate()
        .unwrap();
    let fixture = Fixture { auth, ..fixture };
    let key = fixture.minter.verifying_key();
    let template = |name: &str| Issuer::template(name).audience("api").key(key.clone());
    let mut claims = without("tenant_id");
    claims["iss"] = json!("https://id.example.com/acme");
    let token = fixture.forge(&claims);

    issuers
        .add(template("https://id.example.com/{tenant}"))
        .unwrap();
    assert_eq!(fixture.reason(&token), "ok");
    issuers.add(template("https://id.{tenant}/acme")).unwrap();
    assert_eq!(fixture.reason(&token), "ok", "cached");
    assert!(issuers.remove("https://id.example.com/{tenant}"));
    issuers
        .add(template("https://id.example.com/{tenant}"))
        .unwrap();
    assert_eq!(fixture.reason(&token), "issuer", "ambiguous");
    // An issuer by its own name is that one.
    let own = Issuer::new("https://id.example.com/acme").audience("api");
    issuers
        .add(own.fixed_tenant(acme()).key(key.clone()))
        .unwrap();
    assert_eq!(fixture.reason(&token), "ok");
}
