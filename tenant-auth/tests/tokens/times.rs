//! A token's times, against the clock.

use std::time::Duration;

use crate::common::{Fixture, NOW, with, without};

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
