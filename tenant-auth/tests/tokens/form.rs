//! The form of a token and its header.

use crate::common::{Fixture, HEADER, ada, claims};

fn part(json: &str) -> String {
    use base64::Engine;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(json)
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
fn a_token_that_is_longer_than_most_is_read_like_others() {
    let fixture = Fixture::new();
    for length in [1000, 1400, 1500, 2000, 2700, 2750, 4000] {
        let token = fixture.token(ada().claim("padding", "x".repeat(length)));
        assert_eq!(fixture.reason(&token), "ok", "{length}");
        let changed = token.replacen("eHh4", "eHh5", 1);
        assert_ne!(changed, token);
        assert_eq!(fixture.reason(&changed), "signature", "{length}");
    }
}
