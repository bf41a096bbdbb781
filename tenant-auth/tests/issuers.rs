//! Issuers that come and go while a layer serves.

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

use common::{Fixture, ISSUER, ada};
use tenant_auth::{Issuer, Issuers, KeyErrorKind, NewToken, TokenMinter, VerifyingKey};

const OTHER: &str = "https://id.globex.example";

/// A service that trusts what stands in the handle.
fn serving(issuers: &Issuers) -> Fixture {
    let fixture = Fixture::new();
    let auth = tenant_auth::layer(fixture.tenants.clone())
        .issuers(issuers.clone())
        .authenticate()
        .unwrap();
    Fixture { auth, ..fixture }
}

fn issuer(name: &str, key: VerifyingKey) -> Issuer {
    Issuer::new(name).audience("api").key(key)
}

#[test]
fn an_issuer_is_trusted_from_when_it_is_added_until_it_is_removed() {
    let issuers = Issuers::new();
    let fixture = serving(&issuers);
    let token = fixture.good();
    assert_eq!(fixture.reason(&token), "issuer");

    let key = fixture.minter.verifying_key();
    issuers.add(issuer(ISSUER, key.clone())).unwrap();
    assert_eq!(fixture.reason(&token), "ok");
    assert_eq!(fixture.reason(&token), "ok", "cached");

    assert!(issuers.remove(ISSUER));
    assert_eq!(
        fixture.reason(&token),
        "issuer",
        "cached, and refused at once"
    );
    assert!(!issuers.remove(ISSUER));

    // What was cached before does not come back with a new issuer of the old name.
    let other = TokenMinter::eddsa_generate("main").unwrap();
    issuers.add(issuer(ISSUER, other.verifying_key())).unwrap();
    assert_eq!(fixture.reason(&token), "signature");
    issuers.replace(issuer(ISSUER, key)).unwrap();
    assert_eq!(fixture.reason(&token), "ok");
}

#[test]
fn i5_a_replaced_issuer_ends_what_its_old_rules_admitted() {
    let issuers = Issuers::new();
    let fixture = serving(&issuers);
    let (old, new) = (
        fixture.minter.verifying_key(),
        TokenMinter::eddsa_generate("new").unwrap(),
    );
    issuers
        .add(issuer(ISSUER, old.clone()).key(new.verifying_key()))
        .unwrap();
    let tokens = [fixture.good(), new.mint(&ada(), &fixture.clock).unwrap()];
    for token in &tokens {
        assert_eq!(fixture.reason(token), "ok");
    }
    // The old key is gone.
    issuers
        .replace(issuer(ISSUER, new.verifying_key()))
        .unwrap();
    assert_eq!(fixture.reason(&tokens[0]), "kid");
    assert_eq!(fixture.reason(&tokens[1]), "ok");
    // The audience is another.
    let elsewhere = Issuer::new(ISSUER)
        .audience("elsewhere")
        .key(new.verifying_key());
    issuers.replace(elsewhere).unwrap();
    assert_eq!(fixture.reason(&tokens[1]), "audience");
}

#[test]
fn a_change_of_one_issuer_leaves_the_others_alone() {
    let issuers = Issuers::new();
    let fixture = serving(&issuers);
    let globex = TokenMinter::eddsa_generate("main").unwrap();
    issuers
        .add(issuer(ISSUER, fixture.minter.verifying_key()))
        .unwrap();
    issuers.add(issuer(OTHER, globex.verifying_key())).unwrap();
    assert_eq!(issuers.len(), 2);
    let new = NewToken::new(OTHER, "api", "globex", "bob");
    let token = globex.mint(&new, &fixture.clock).unwrap();
    let good = fixture.good();
    assert_eq!(
        (fixture.reason(&good), fixture.reason(&token)),
        ("ok".into(), "ok".into())
    );
    assert!(issuers.remove(ISSUER));
    assert_eq!(
        (fixture.reason(&good), fixture.reason(&token)),
        ("issuer".into(), "ok".into())
    );
    // One issuer's key does not sign for another, of one kid or not.
    let forged = NewToken::new(OTHER, "api", "globex", "bob");
    assert_eq!(fixture.reason(&fixture.token(forged)), "signature");
}

#[test]
fn hundreds_of_issuers_each_with_its_own_key_of_one_name() {
    let issuers = Issuers::new();
    let fixture = serving(&issuers);
    let minters: Vec<_> = (0..300)
        .map(|n| {
            let minter = TokenMinter::eddsa_generate("main").unwrap();
            let name = format!("https://id.example.com/realms/{n}");
            issuers.add(issuer(&name, minter.verifying_key())).unwrap();
            (name, minter)
        })
        .collect();
    for (name, minter) in &minters {
        let token = minter.mint(&NewToken::new(name, "api", "acme", "ada"), &fixture.clock);
        assert_eq!(fixture.reason(&token.unwrap()), "ok");
    }
    let (_, stranger) = &minters[0];
    let (name, _) = &minters[1];
    let token = stranger.mint(&NewToken::new(name, "api", "acme", "ada"), &fixture.clock);
    assert_eq!(fixture.reason(&token.unwrap()), "signature");
}

#[test]
fn a_refused_change_changes_nothing() {
    let issuers = Issuers::new();
    let fixture = serving(&issuers);
    let key = fixture.minter.verifying_key();
    issuers.add(issuer(ISSUER, key.clone())).unwrap();
    let token = fixture.good();
    assert_eq!(fixture.reason(&token), "ok");

    let twice = issuers.add(issuer(ISSUER, key)).unwrap_err().to_string();
    assert!(twice.contains("is given twice"), "{twice}");
    let bad = VerifyingKey::hs256("short");
    assert_eq!(bad.check().unwrap_err().kind(), KeyErrorKind::Weak);
    for change in [
        issuers.replace(issuer(ISSUER, bad.clone())),
        issuers.add(issuer(OTHER, bad)),
    ] {
        assert!(change.unwrap_err().to_string().contains("at least 32"));
    }
    assert_eq!((fixture.reason(&token), issuers.len()), ("ok".into(), 1));
}

#[test]
fn issuers_of_the_builder_are_added_to_the_handle() {
    let issuers = Issuers::new();
    let fixture = Fixture::new();
    let builder = || tenant_auth::layer(fixture.tenants.clone()).issuers(issuers.clone());
    let given = issuer(ISSUER, fixture.minter.verifying_key());
    let auth = builder().jwt(given.clone()).authenticate().unwrap();
    assert_eq!(issuers.len(), 1);
    let error = builder().jwt(given).build().unwrap_err().to_string();
    assert!(error.contains("is given twice"), "{error}");
    let fixture = Fixture { auth, ..fixture };
    let token = fixture.good();
    assert_eq!(fixture.reason(&token), "ok");
    assert!(issuers.remove(ISSUER));
    assert_eq!(fixture.reason(&token), "issuer");
}
