//! What does not build.

use std::time::Duration;

use tenant_auth::{TokenMinter, jobs::Jobs};
use tenant_testkit::{ManualClock, tenants};

use crate::fixture::MINUTE;

#[test]
fn a_builder_says_what_is_missing() {
    let tenants = tenants(&["acme"], &ManualClock::new());
    let key = || TokenMinter::hs256("a", [7; 32]).unwrap();
    let jobs = || {
        Jobs::builder(tenants.clone())
            .queue("q")
            .sign_with(key())
            .on_dead_letter(|_| {})
    };
    assert!(jobs().build().is_ok());
    for (builder, part) in [
        (jobs().queue(""), "queue"),
        (
            Jobs::builder(tenants.clone())
                .queue("q")
                .on_dead_letter(|_| {}),
            "no key",
        ),
        (jobs().verify_with(key().verifying_key()), "own"),
        (
            jobs().verify_with(tenant_auth::VerifyingKey::hs256([7; 32])),
            "kid",
        ),
        (
            jobs().verify_with(tenant_auth::VerifyingKey::hs256([7; 3]).kid("b")),
            "32",
        ),
        (
            Jobs::builder(tenants.clone()).queue("q").sign_with(key()),
            "on_dead_letter",
        ),
        (jobs().ttl(Duration::ZERO), "ttl"),
        (
            jobs().ttl(MINUTE).max_ttl(Duration::from_secs(59)),
            "max_ttl",
        ),
        (jobs().max_ttl(Duration::from_secs(31 * 86_400)), "max_ttl"),
        (jobs().max_payload(usize::MAX), "max_payload"),
        (jobs().replay_capacity(0), "replay_capacity"),
    ] {
        let error = builder.build().unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
}
