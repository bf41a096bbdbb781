//! Who acts for whom, and what kind of principal each is.

use serde_json::json;
use tenant_auth::{KindRule, PrincipalKind};

use crate::common::{Fixture, ada, with};

#[test]
fn actor_tokens_accepted_across_tenants() {
    let fixture = Fixture::new();
    let bot = |tenant: &str| json!({"sub": "bot", "tenant_id": tenant});
    for (act, reason) in [
        (bot("acme"), "ok"),
        (bot("globex"), "cross_tenant_chain"),
        (bot("Acme"), "cross_tenant_chain"),
        (bot(""), "cross_tenant_chain"),
        (json!({"sub": "bot", "tenant_id": null}), "claim_type:act"),
        (
            json!({"sub": "svc", "act": bot("globex")}),
            "cross_tenant_chain",
        ),
        (json!({"sub": "svc", "act": bot("acme")}), "ok"),
        (json!({}), "claim_invalid:act"),
        (json!({"sub": 7}), "claim_type:act"),
        (json!({"sub": "a b"}), "claim_invalid:act"),
        (json!({"sub": "bot", "act": "svc"}), "claim_type:act"),
        (json!({"sub": "bot", "act": null}), "claim_type:act"),
        (
            json!({"sub": "bot", "principal_kind": "root"}),
            "claim_invalid:principal_kind",
        ),
    ] {
        assert_eq!(
            fixture.reason(&fixture.forge(&with("act", act.clone()))),
            reason,
            "{act}"
        );
    }
}

#[test]
fn the_chain_of_actors_is_bounded() {
    let fixture = Fixture::new();
    let chain = |length: usize| (0..length).fold(ada(), |token, n| token.agent(format!("bot-{n}")));
    let context = fixture.bearer(&fixture.token(chain(8))).unwrap();
    assert_eq!(context.actors().len(), 8);
    assert_eq!(
        context.actor().id().as_str(),
        "bot-0",
        "the outermost is the current one"
    );
    assert_eq!(fixture.reason(&fixture.token(chain(9))), "act_depth");
    assert_eq!(fixture.reason(&fixture.token(chain(20))), "too_deep");
}

#[test]
fn kinds_follow_the_issuers_rule() {
    let by_claim =
        Fixture::with(|issuer| issuer.kinds(KindRule::claim("https://example.com/kind")));
    let token = by_claim.token(ada().claim("https://example.com/kind", "agent"));
    assert_eq!(
        by_claim.bearer(&token).unwrap().principal().kind(),
        PrincipalKind::Agent
    );
    let always = Fixture::with(|issuer| issuer.kinds(KindRule::always(PrincipalKind::Service)));
    let token = always.token(ada().kind(PrincipalKind::Human));
    assert_eq!(
        always.bearer(&token).unwrap().principal().kind(),
        PrincipalKind::Service
    );
    let default = Fixture::new();
    for kind in [
        PrincipalKind::Human,
        PrincipalKind::Agent,
        PrincipalKind::Service,
    ] {
        let context = default.bearer(&default.token(ada().kind(kind))).unwrap();
        assert_eq!(context.principal().kind(), kind);
    }
    let unlabelled = default.forge(&with("act", json!({"sub": "bot"})));
    assert_eq!(
        default.bearer(&unlabelled).unwrap().actor().kind(),
        PrincipalKind::Agent
    );
}

#[test]
fn kinds_follow_the_values_that_the_issuer_uses() {
    let rule = KindRule::claim("gty")
        .value("client-credentials", PrincipalKind::Service)
        .value("human", PrincipalKind::Agent)
        .absent(PrincipalKind::Human);
    let fixture = Fixture::with(|issuer| issuer.kinds(rule));
    let kind = |token: &str| {
        fixture
            .bearer(token)
            .map(|context| context.principal().kind())
    };
    assert_eq!(kind(&fixture.good()).unwrap(), PrincipalKind::Human);
    for (value, expected) in [
        ("client-credentials", PrincipalKind::Service),
        ("service", PrincipalKind::Service),
        ("human", PrincipalKind::Agent),
    ] {
        let token = fixture.forge(&with("gty", value));
        assert_eq!(kind(&token).unwrap(), expected, "{value}");
    }
    assert_eq!(
        fixture.reason(&fixture.forge(&with("gty", "password"))),
        "claim_invalid:principal_kind"
    );
    let service =
        Fixture::with(|issuer| issuer.kinds(KindRule::claim("k").absent(PrincipalKind::Service)));
    let context = service.bearer(&service.good()).unwrap();
    assert_eq!(context.principal().kind(), PrincipalKind::Service);
}
