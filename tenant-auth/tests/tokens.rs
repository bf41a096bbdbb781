//! Tokens that must be refused, and those that must not, each with its reason.

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

use std::time::Duration;

use common::{Fixture, HEADER, ISSUER, NOW, ada, claims, with, without};
use serde_json::{Value, json};
use tenant_auth::{Issuer, KindRule, NewToken, PrincipalKind, TokenMinter, VerifyingKey};

fn part(json: &str) -> String {
    use base64::Engine;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(json)
}

#[test]
fn a_good_token_says_who_is_asking() {
    let fixture = Fixture::new();
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
fn times_are_checked_against_the_clock_with_the_leeway() {
    let fixture = Fixture::new();
    for (name, value, reason) in [
        ("exp", NOW - 29, "ok"),
        ("exp", NOW - 30, "expired"),
        ("exp", 0, "expired"),
        ("nbf", NOW + 30, "ok"),
        ("nbf", NOW + 31, "not_yet_valid"),
        ("iat", NOW + 30, "ok"),
        ("iat", NOW + 31, "issued_in_future"),
    ] {
        assert_eq!(
            fixture.reason(&fixture.forge(&with(name, value))),
            reason,
            "{name} = {value}"
        );
    }
    let strict = Fixture::with(|issuer| issuer.leeway(Duration::ZERO));
    assert_eq!(strict.reason(&strict.forge(&with("exp", NOW))), "expired");
    assert_eq!(strict.reason(&strict.forge(&with("exp", NOW + 1))), "ok");
    assert_eq!(
        strict.reason(&strict.forge(&with("nbf", NOW + 1))),
        "not_yet_valid"
    );
}

#[test]
fn a_token_that_was_issued_too_long_ago_is_refused() {
    let fixture = Fixture::with(|issuer| {
        issuer
            .max_age(Duration::from_secs(60))
            .leeway(Duration::ZERO)
    });
    assert_eq!(
        fixture.reason(&fixture.forge(&with("iat", NOW - 60))),
        "too_old"
    );
    assert_eq!(
        fixture.reason(&fixture.forge(&without("iat"))),
        "claim_missing:iat"
    );
    let token = fixture.forge(&with("iat", NOW - 59));
    assert_eq!(fixture.reason(&token), "ok");
    fixture.clock.advance(Duration::from_secs(1));
    assert_eq!(
        fixture.reason(&token),
        "expired",
        "cached, it still ends in time"
    );
}

#[test]
fn algorithms_come_from_the_key() {
    let rsa = include_str!("fixtures/rsa.public.pem");
    let fixture = Fixture::with(|issuer| issuer.key(VerifyingKey::rs256_pem(rsa).kid("rsa")));
    let claims = claims().to_string();

    // HS256 with the public key as its secret.
    let confused = TokenMinter::hs256("rsa", rsa).unwrap();
    let token = confused
        .mint_raw(r#"{"alg":"HS256","kid":"rsa"}"#, &claims)
        .unwrap();
    assert_eq!(fixture.reason(&token), "algorithm");
    let token = confused
        .mint_raw(r#"{"alg":"RS256","kid":"rsa"}"#, &claims)
        .unwrap();
    assert_eq!(fixture.reason(&token), "signature");

    for alg in [
        "none", "None", "NONE", "nOnE", "", "eddsa", "EDDSA", "HS256", "ES256", "RS1", "ES256K",
        "EdDSA ",
    ] {
        let header = json!({"alg": alg, "kid": "main"}).to_string();
        let token = fixture.minter.mint_raw(&header, &claims).unwrap();
        assert_eq!(fixture.reason(&token), "algorithm", "{alg:?}");
    }
    for signature in ["", "AA"] {
        let unsigned = format!(
            "{}.{}.{signature}",
            part(r#"{"alg":"none"}"#),
            part(&claims)
        );
        assert_eq!(fixture.reason(&unsigned), "algorithm");
        let unsigned = format!("{}.{}.{signature}", part(HEADER), part(&claims));
        assert_eq!(fixture.reason(&unsigned), "signature");
    }
    // RFC 9864's name of the same algorithm.
    let token = fixture
        .minter
        .mint_raw(r#"{"alg":"Ed25519","kid":"main"}"#, &claims)
        .unwrap();
    assert_eq!(fixture.reason(&token), "ok");
}

#[test]
fn headers_are_read_strictly() {
    let fixture = Fixture::new();
    for (header, reason) in [
        (
            r#"{"alg":"EdDSA","kid":"main","crit":["exp"],"exp":1}"#,
            "crit",
        ),
        (
            r#"{"alg":"EdDSA","kid":"main","b64":false,"crit":["b64"]}"#,
            "crit",
        ),
        (
            r#"{"alg":"EdDSA","alg":"EdDSA","kid":"main"}"#,
            "duplicate_member",
        ),
        (
            r#"{"alg":"none","kid":"main","alg":"EdDSA"}"#,
            "duplicate_member",
        ),
        (r#"{"alg":"EdDSA","kid":["main"]}"#, "header_type"),
        (r#"{"alg":"EdDSA","kid":null}"#, "header_type"),
        (r#"{"alg":["EdDSA"],"kid":"main"}"#, "header_type"),
        (r#"{"kid":"main"}"#, "algorithm"),
        (r#"{"alg":"EdDSA","kid":"other"}"#, "kid"),
        (r#"{"alg":"EdDSA","kid":"MAIN"}"#, "kid"),
        (r#"{"alg":"EdDSA","kid":"../../etc/passwd"}"#, "kid"),
        (r#"{"alg":"EdDSA","kid":"main","typ":"logout+jwt"}"#, "typ"),
        (r#"{"alg":"EdDSA","kid":"main","typ":"dpop+jwt"}"#, "typ"),
        (r#"{"alg":"EdDSA","kid":"main","typ":"JWE"}"#, "typ"),
        (r#"{"alg":"EdDSA","kid":"main","typ":"at+jwt"}"#, "ok"),
        (r#"{"alg":"EdDSA","kid":"main","typ":"jwt"}"#, "ok"),
        (
            r#"{"alg":"EdDSA","kid":"main","typ":"application/at+JWT"}"#,
            "ok",
        ),
        (r#"{"alg":"EdDSA"}"#, "ok"),
        (
            r#"{"alg":"EdDSA","kid":"main","jku":"https://evil.example","jwk":{"kty":"oct"},"x5u":"x"}"#,
            "ok",
        ),
        (r#"["EdDSA"]"#, "malformed"),
        ("EdDSA", "malformed"),
        ("", "malformed"),
        (r#"{"alg":"EdDSA","kid":"main"} "#, "ok"),
        (r#"{"alg":"EdDSA","kid":"main"}x"#, "malformed"),
    ] {
        let token = fixture
            .minter
            .mint_raw(header, &claims().to_string())
            .unwrap();
        assert_eq!(fixture.reason(&token), reason, "{header}");
    }
}

#[test]
fn a_declared_type_is_required() {
    let fixture = Fixture::with(|issuer| issuer.typ("at+jwt"));
    for (typ, reason) in [
        ("at+jwt", "ok"),
        ("AT+JWT", "ok"),
        ("application/at+jwt", "ok"),
        ("Application/AT+jwt", "ok"),
        ("JWT", "typ"),
        ("", "typ"),
        ("application/", "typ"),
        ("text/at+jwt", "typ"),
    ] {
        let token = fixture.token(ada().typ(typ));
        assert_eq!(fixture.reason(&token), reason, "{typ:?}");
    }
    let token = fixture
        .minter
        .mint_raw(HEADER, &claims().to_string())
        .unwrap();
    assert_eq!(fixture.reason(&token), "typ", "no type");
}

#[test]
fn duplicate_claims_are_refused_at_every_level() {
    let fixture = Fixture::new();
    let good = claims().to_string();
    for spoilt in [
        good.replacen('{', r#"{"tenant_id":"globex","#, 1),
        good.replacen('{', r#"{"sub":"root","#, 1),
        good.replacen('{', r#"{"exp":9999999999,"#, 1),
        good.replacen('{', r#"{"\u0073ub":"root","#, 1),
        good.replacen('{', r#"{"act":{"sub":"a","sub":"b"},"#, 1),
        good.replacen('{', r#"{"x":[{"a":1,"a":2}],"#, 1),
    ] {
        let token = fixture.minter.mint_raw(HEADER, &spoilt).unwrap();
        assert_eq!(fixture.reason(&token), "duplicate_member", "{spoilt}");
    }
}

#[test]
fn the_form_of_a_token_is_checked_before_its_content() {
    let fixture = Fixture::new();
    let good = fixture.good();
    let parts: Vec<&str> = good.split('.').collect();
    let (header, claims, signature) = (parts[0], parts[1], parts[2]);
    for (token, reason) in [
        ("x".to_owned(), "malformed"),
        (".".to_owned(), "malformed"),
        ("..".to_owned(), "malformed"),
        ("....".to_owned(), "encrypted"),
        (format!("{header}.{claims}"), "malformed"),
        (format!("{header}.{claims}."), "signature"),
        (format!("{header}..{signature}"), "malformed"),
        (format!(".{claims}.{signature}"), "malformed"),
        (format!("{good}."), "malformed"),
        (format!("{good}.x.y"), "encrypted"),
        (format!("{header}.{claims}.{signature}="), "signature"),
        (
            format!("{header}.{claims}.{}", &signature[..signature.len() - 1]),
            "signature",
        ),
        (
            format!("{header}.{claims}.{}", &signature[1..]),
            "signature",
        ),
        (
            format!("{header}.{claims}.{signature}{signature}"),
            "signature",
        ),
        (
            format!("{header}.{claims}.{}", "A".repeat(4000)),
            "signature",
        ),
        (good.replacen('.', "+.", 1), "malformed"),
        (good.replacen('.', "%2E", 1), "malformed"),
        (
            format!("{header}.{}.{signature}", part("[1,2]")),
            "malformed",
        ),
        (format!("{header}.{}.{signature}", part("{")), "malformed"),
        (
            format!(
                "{header}.{}.{signature}",
                part(&format!("{{\"a\":{}", "[".repeat(2000)))
            ),
            "too_deep",
        ),
    ] {
        assert_eq!(fixture.reason(&token), reason, "{token}");
    }
}

#[test]
fn keys_belong_to_one_issuer() {
    let clock = tenant_testkit::ManualClock::new();
    let tenants = tenant_testkit::tenants(&["acme"], &clock);
    let (ours, theirs) = (
        TokenMinter::eddsa_generate("ours").unwrap(),
        TokenMinter::eddsa_generate("theirs").unwrap(),
    );
    let auth = tenant_auth::layer(tenants.clone())
        .jwt(
            Issuer::new("https://a")
                .audience("api")
                .key(ours.verifying_key()),
        )
        .jwt(
            Issuer::new("https://b")
                .audience("api")
                .key(theirs.verifying_key()),
        )
        .authenticate()
        .unwrap();
    let fixture = Fixture {
        clock,
        tenants,
        auth,
        ..Fixture::new()
    };
    let token = |minter: &TokenMinter, issuer: &str| {
        minter
            .mint(&NewToken::new(issuer, "api", "acme", "ada"), &fixture.clock)
            .unwrap()
    };
    assert_eq!(fixture.reason(&token(&ours, "https://a")), "ok");
    assert_eq!(fixture.reason(&token(&theirs, "https://b")), "ok");
    assert_eq!(fixture.reason(&token(&ours, "https://b")), "kid");
    assert_eq!(fixture.reason(&token(&theirs, "https://a")), "kid");
    assert_eq!(fixture.reason(&token(&ours, "https://c")), "issuer");
    // Its own kid in the header, the other issuer's name in the claims.
    let claims = json!({"iss": "https://a", "aud": "api", "exp": NOW + 60, "sub": "ada", "tenant_id": "acme"});
    let forged = theirs
        .mint_raw(r#"{"alg":"EdDSA","kid":"ours"}"#, &claims.to_string())
        .unwrap();
    assert_eq!(fixture.reason(&forged), "signature");
}

#[test]
fn a_token_without_a_kid_needs_a_key_that_is_the_only_one() {
    let (one, two) = (
        TokenMinter::eddsa_generate("one").unwrap(),
        TokenMinter::eddsa_generate("two").unwrap(),
    );
    let fixture = Fixture::with(|issuer| issuer.key(one.verifying_key()).key(two.verifying_key()));
    let token = one
        .mint_raw(r#"{"alg":"EdDSA"}"#, &claims().to_string())
        .unwrap();
    assert_eq!(fixture.reason(&token), "kid_missing");
    let token = one
        .mint_raw(r#"{"alg":"EdDSA","kid":"one"}"#, &claims().to_string())
        .unwrap();
    assert_eq!(fixture.reason(&token), "ok");
}

#[test]
fn a_key_without_a_name_takes_tokens_of_any_kid() {
    let secret = [9; 32];
    let fixture = Fixture::with(|issuer| issuer.key(VerifyingKey::hs256(secret)));
    let minter = TokenMinter::hs256("x", secret).unwrap();
    for header in [r#"{"alg":"HS256"}"#, r#"{"alg":"HS256","kid":"any"}"#] {
        let token = minter.mint_raw(header, &claims().to_string()).unwrap();
        assert_eq!(fixture.reason(&token), "ok", "{header}");
    }
    let token = minter
        .mint_raw(r#"{"alg":"HS256","kid":"main"}"#, &claims().to_string())
        .unwrap();
    assert_eq!(
        fixture.reason(&token),
        "algorithm",
        "a named key is not bypassed"
    );
}

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
fn lists_are_bounded() {
    let fixture = Fixture::new();
    let scopes = |count: usize| fixture.token(ada().scopes((0..count).map(|n| n.to_string())));
    assert_eq!(fixture.reason(&scopes(256)), "ok");
    assert_eq!(fixture.reason(&scopes(257)), "claims_too_long");
    let roles = |count: usize| fixture.token(ada().roles((0..count).map(|n| n.to_string())));
    assert_eq!(fixture.reason(&roles(257)), "claims_too_long");
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
fn the_tenant_is_read_from_the_configured_claim_alone() {
    let name = "https://example.com/tenant";
    let fixture = Fixture::with(|issuer| issuer.tenant_claim(name));
    let token = fixture.token(ada().tenant_claim(name).claim("tenant_id", "globex"));
    assert_eq!(fixture.bearer(&token).unwrap().tenant_id().as_str(), "acme");
    assert_eq!(fixture.reason(&fixture.good()), "claim_missing:tenant");
}

#[test]
fn an_issuer_speaks_for_its_own_tenants_only() {
    let globex = || tenant_auth::TenantId::parse("globex").unwrap();
    let confined = Fixture::with(|issuer| issuer.tenants([globex()]));
    assert_eq!(confined.reason(&confined.good()), "issuer_tenant");
    let own = confined.forge(&with("tenant_id", "globex"));
    assert_eq!(confined.bearer(&own).unwrap().tenant_id(), &globex());
}
