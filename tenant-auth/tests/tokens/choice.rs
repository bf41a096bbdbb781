//! Which key a token is verified with.

use serde_json::json;
use tenant_auth::{Issuer, NewToken, TokenMinter, VerifyingKey};

use crate::common::{Fixture, HEADER, NOW, claims};

fn part(json: &str) -> String {
    use base64::Engine;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(json)
}

#[test]
fn algorithms_come_from_the_key() {
    let rsa = include_str!("../fixtures/rsa.public.pem");
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
