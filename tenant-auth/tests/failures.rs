//! Floods of bad credentials: what one client costs, and what it costs nobody else.

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
mod edge;

use std::time::Duration;

use common::ISSUER;
use edge::{Answer, Door, STRANGER};
use http::{HeaderValue, Request, header};
use tenant_auth::{FailureBudget, Issuer};
use tenant_context::{PeerAddress, Rejection};

const MINUTE: Duration = Duration::from_secs(60);

fn door(budget: FailureBudget) -> Door {
    Door::new(|layer| layer.failure_budget(budget))
}

fn from(peer: &str, credential: &str) -> Request<()> {
    let mut request = Request::new(());
    if let Ok(peer) = peer.parse() {
        request.extensions_mut().insert(PeerAddress::new(peer));
    }
    let value = HeaderValue::try_from(credential).unwrap();
    request.headers_mut().insert("authorization", value);
    request
}

/// Each is another token with a bad signature.
fn bad(door: &Door) -> String {
    let good = door.fixture.good();
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let signature: String = signature.chars().rev().collect();
    let first = if signature.starts_with('A') { "B" } else { "A" };
    format!("Bearer {signed}.{first}{}", &signature[1..])
}

fn invalid(answer: &Answer) -> bool {
    *answer == Answer::refused(401, "signature")
}

fn served() -> Answer {
    Answer::Served("acme".into(), "ada".into())
}

fn spent() -> Answer {
    Answer::refused(429, "rate_limited:failed-authentication")
}

#[test]
fn a_flood_of_bad_tokens_from_one_address_is_refused_and_good_tokens_from_elsewhere_pass() {
    let door = door(FailureBudget::per_minute(6).burst(20));
    let attacker = format!("{STRANGER}:1");
    let known = format!("Bearer {}", door.fixture.good());
    assert_eq!(door.send(from(&attacker, &known)), served());
    for n in 0..20 {
        assert!(invalid(&door.send(from(&attacker, &bad(&door)))), "{n}");
    }
    for _ in 0..200 {
        assert_eq!(door.send(from(&attacker, &bad(&door))), spent());
    }
    let good = format!("Bearer {}", door.fixture.good());
    assert_eq!(
        door.send(from(&attacker, &good)),
        spent(),
        "before any signature"
    );
    assert_eq!(
        door.send(from(&attacker, &known)),
        served(),
        "who is known already"
    );
    assert_eq!(door.send(from("198.51.100.1:1", &good)), served());
    assert_eq!(door.send(from("[2001:db8::1]:1", &good)), served());
    assert!(invalid(&door.send(from("198.51.100.1:1", &bad(&door)))));
}

#[test]
fn the_answer_names_the_wait_and_after_it_one_more_is_looked_at() {
    let door = door(FailureBudget::per_minute(6).burst(2));
    let attacker = format!("{STRANGER}:1");
    for _ in 0..2 {
        assert!(invalid(&door.send(from(&attacker, &bad(&door)))));
    }
    for _ in 0..5 {
        let answer = door.raw(from(&attacker, &bad(&door)));
        assert_eq!(answer.status(), 429);
        assert_eq!(answer.headers()[header::RETRY_AFTER], "10");
        assert!(!answer.headers().contains_key(header::WWW_AUTHENTICATE));
        door.fixture.clock.advance(Duration::from_secs(10));
        let answer = door.send(from(&attacker, &bad(&door)));
        assert!(invalid(&answer), "{answer:?}");
        assert_eq!(
            door.send(from(&attacker, &bad(&door))),
            spent(),
            "one, not two"
        );
    }
    door.fixture.clock.advance(MINUTE);
    let good = format!("Bearer {}", door.fixture.good());
    assert_eq!(door.send(from(&attacker, &good)), served());
}

#[test]
fn ipv6_rotation_within_a_64_spends_one_budget() {
    let door = door(FailureBudget::per_minute(6));
    let from_host = |host: u32| from(&format!("[2001:db8:0:1::{host:x}]:1"), &bad(&door));
    let refused = (1..=100).filter(|host| door.send(from_host(*host)) == spent());
    assert_eq!(refused.count(), 94);
    for _ in 0..6 {
        assert!(invalid(
            &door.send(from("[::ffff:192.0.2.1]:1", &bad(&door)))
        ));
    }
    assert_eq!(door.send(from("192.0.2.1:1", &bad(&door))), spent());
}

#[test]
fn the_same_bad_token_is_remembered_and_spends_nothing() {
    let door = door(FailureBudget::per_minute(2).remember(Duration::from_secs(10)));
    let attacker = format!("{STRANGER}:1");
    let same = bad(&door);
    for _ in 0..100 {
        assert!(invalid(&door.send(from(&attacker, &same))));
        assert!(invalid(&door.send(from("198.51.100.7:1", &same))));
    }
    let remembered = door.raw(from(&attacker, &same));
    let anew = door.raw(from("198.51.100.8:1", &bad(&door)));
    assert_eq!(
        remembered.headers(),
        anew.headers(),
        "one answer for all causes"
    );
    door.fixture.clock.advance(Duration::from_secs(10));
    assert!(
        invalid(&door.send(from(&attacker, &same))),
        "verified again"
    );
    assert_eq!(door.send(from(&attacker, &bad(&door))), spent());
}

#[test]
fn a_token_that_becomes_good_by_waiting_is_not_remembered_as_bad() {
    let door = door(FailureBudget::per_minute(10));
    let peer = format!("{STRANGER}:1");
    let soon = common::NOW + 35;
    let claims = common::with("nbf", soon);
    let token = format!("Bearer {}", door.fixture.forge(&claims));
    let early = Answer::refused(401, "not_yet_valid");
    assert_eq!(door.send(from(&peer, &token)), early);
    door.fixture.clock.advance(Duration::from_secs(6));
    assert_eq!(door.send(from(&peer, &token)), served());
}

#[test]
fn bad_api_keys_spend_the_same_budget_and_unreadable_requests_none() {
    let door = door(FailureBudget::per_minute(3));
    let peer = format!("{STRANGER}:1");
    for _ in 0..50 {
        let malformed = Answer::refused(400, "credential_malformed");
        assert_eq!(door.send(from(&peer, "Bearer")), malformed);
        let unsupported = Answer::refused(401, "scheme_unsupported");
        assert_eq!(door.send(from(&peer, "Basic x")), unsupported);
    }
    let stranger = common::Fixture::new();
    for n in 0..4 {
        let key = stranger.api_key("acme", "ci").0;
        let answer = door.send(from(&peer, &format!("ApiKey {}", key.expose())));
        let unknown = Answer::refused(401, "api_key_unknown");
        assert_eq!(answer, if n < 3 { unknown } else { spent() });
    }
    assert_eq!(door.send(from(&peer, &bad(&door))), spent());
}

#[test]
fn clients_without_an_address_share_one_budget() {
    let door = door(FailureBudget::per_minute(2));
    for _ in 0..2 {
        assert!(invalid(&door.send(from("nobody", &bad(&door)))));
    }
    assert_eq!(door.send(from("nobody", &bad(&door))), spent());
    assert!(invalid(&door.send(from("192.0.2.1:1", &bad(&door)))));
}

#[test]
fn i6_eviction_is_no_amnesty_for_failures() {
    let door = door(FailureBudget::per_minute(1).burst(3));
    let attacker = format!("{STRANGER}:1");
    for _ in 0..3 {
        assert!(invalid(&door.send(from(&attacker, &bad(&door)))));
    }
    // As many clients that have spent theirs as push every other out of the list of those.
    let cheap = "Bearer x.y.z";
    for n in 0_u32..20_000 {
        let peer = format!("{}:1", std::net::Ipv4Addr::from_bits(0x0a00_0000 + n));
        for _ in 0..3 {
            drop(door.raw(from(&peer, cheap)));
        }
    }
    let admitted = (0..10).filter(|_| invalid(&door.send(from(&attacker, &bad(&door)))));
    assert!(
        admitted.count() <= 1,
        "a displaced client pays with one signature, no more"
    );
}

#[test]
fn whose_budget_is_spent_is_in_the_trail_and_in_no_answer() {
    let door = door(FailureBudget::per_minute(1));
    let peer = format!("{STRANGER}:1");
    drop(door.raw(from(&peer, &bad(&door))));
    let answer = door.raw(from(&peer, &bad(&door)));
    let rejection: &Rejection = answer.extensions().get().unwrap();
    assert_eq!(rejection.reason(), "rate_limited:failed-authentication");
    let shown = format!("{:?}", answer.headers());
    assert!(!shown.contains("signature"), "{shown}");
}

#[test]
fn a_budget_that_is_none_does_not_build() {
    let fixture = common::Fixture::new();
    let build = |budget| {
        let issuer = Issuer::new(ISSUER).audience("api");
        tenant_auth::layer(fixture.tenants.clone())
            .jwt(issuer.key(fixture.minter.verifying_key()))
            .failure_budget(budget)
            .build()
            .map(drop)
    };
    for (budget, says) in [
        (FailureBudget::per_minute(0), "at least"),
        (FailureBudget::per_minute(1).burst(0), "at least"),
        (FailureBudget::per_minute(1).remember(MINUTE * 2), "60 s"),
    ] {
        let error = build(budget).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
    let forgetful = FailureBudget::per_minute(1).remember(Duration::ZERO);
    assert!(build(forgetful).is_ok());
}
