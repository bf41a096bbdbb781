//! An API key's life: made, shown once, recorded, rotated, ended.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::unchecked_time_subtraction,
    clippy::string_slice,
    clippy::panic,
    unreachable_pub,
    dead_code,
    reason = "tests"
)]

mod common;

use std::{sync::Arc, time::Duration};

use common::{Fixture, in_header, new_key, now, reason};
use futures_util::FutureExt;
use parking_lot::Mutex;
use tenant_auth::{
    ApiKeyError, ApiKeyRecord, ApiKeyState, ApiKeys, CredentialId, NewApiKey, Principal,
    PrincipalId, Rejection, RotationPolicy, TenantContext, TenantId,
};
use tenant_context::{Claims, EndReason, Network, Parent};
use tenant_testkit::ManualClock;

const DAY: Duration = Duration::from_secs(86_400);

fn acme() -> TenantId {
    TenantId::parse("acme").unwrap()
}

fn globex() -> TenantId {
    TenantId::parse("globex").unwrap()
}

fn fails<T>(answer: impl Future<Output = Result<T, ApiKeyError>>) -> ApiKeyError {
    let answer = answer.now_or_never().expect("at once");
    answer.err().expect("a failure")
}

fn one(fixture: &Fixture, id: &CredentialId) -> ApiKeyRecord {
    let mut all = now(fixture.keys.list(&acme()));
    all.retain(|record| record.key_id() == id);
    all.pop().unwrap()
}

#[test]
fn i8_a_key_prints_as_redacted_and_is_shown_where_it_is_asked_for_alone() {
    let fixture = Fixture::new();
    let (secret, id) = fixture.api_key("acme", "ci");
    let text = secret.expose();
    assert_eq!(secret.to_string(), "sk_live_…redacted");
    assert_eq!(
        format!("{secret:?} {:?}", Some(&secret))
            .matches("sk_live_…redacted")
            .count(),
        2
    );
    let record = one(&fixture, &id);
    let kept = serde_json::to_string(&record).unwrap();
    for shown in [
        kept,
        format!("{record:?} {:?} {:?}", record.digest(), fixture.keys),
    ] {
        assert!(!shown.contains(&text[8..]), "{shown}");
    }
}

#[test]
fn secret_scanners_find_every_key_and_no_token_of_other_kinds() {
    let fixture = Fixture::new();
    let own = regex::Regex::new(&fixture.keys.pattern()).unwrap();
    let any = regex::Regex::new(ApiKeys::PATTERN).unwrap();
    for _ in 0..200 {
        let (secret, _) = fixture.api_key("acme", "ci");
        let key = secret.expose();
        for text in [
            key.to_owned(),
            format!("API_KEY={key}\n"),
            format!("{{\"key\": \"{key}\"}}"),
            format!("curl -H 'X-API-Key: {key}' https://api.example.com"),
        ] {
            for pattern in [&own, &any] {
                let found = pattern.find(&text).unwrap().as_str();
                assert_eq!(found, key);
                assert!(fixture.keys.is_well_formed(found));
            }
        }
    }
    let foreign = ApiKeys::in_memory("pk", "test", [7; 32]).unwrap();
    let foreign = now(foreign.issue(new_key("acme", "ci"))).0;
    assert!(own.find(foreign.expose()).is_none());
    assert!(any.find(foreign.expose()).is_some());
    let digest = "a".repeat(64);
    let placeholder = format!("sk_live_{}", "x".repeat(49));
    for text in [
        &*digest,
        &fixture.good(),
        "sk_live_",
        "sk_live_…redacted",
        "f47ac10b-58cc-4372-a567-0e02b2c3d479",
    ] {
        assert!(
            own.find(text).is_none() && any.find(text).is_none(),
            "{text}"
        );
    }
    assert!(own.find(&placeholder).is_some());
    assert!(
        !fixture.keys.is_well_formed(&placeholder),
        "the checksum tells"
    );
}

#[test]
fn a_record_says_whose_it_is_what_it_allows_and_who_made_it_and_is_read_as_it_was_written() {
    let fixture = Fixture::new();
    let ends = ManualClock::START.saturating_add(DAY);
    let new = new_key("acme", "ci")
        .scopes(["reports:write"])
        .roles(["bot"])
        .allowed_ips(["192.0.2.0/24".parse().unwrap()])
        .expires_at(ends)
        .created_by(PrincipalId::parse("ada").unwrap())
        .description("nightly")
        .label("team", "billing");
    let (_, id) = now(fixture.keys.issue(new));
    let record = one(&fixture, &id);
    assert_eq!(record.key_id(), &id);
    assert_eq!(record.tenant_id(), &acme());
    assert_eq!(record.principal().id().as_str(), "ci");
    assert_eq!(
        (record.scopes(), record.roles()),
        (&["reports:write".to_owned()][..], &["bot".to_owned()][..])
    );
    assert_eq!(record.allowed_ips()[0].to_string(), "192.0.2.0/24");
    assert_eq!(
        (record.created_at(), record.expires_at()),
        (ManualClock::START, ends)
    );
    assert_eq!(record.created_by().unwrap().as_str(), "ada");
    assert_eq!(
        (record.description(), &*record.labels()["team"]),
        ("nightly", "billing")
    );
    let kept = serde_json::to_string(&record).unwrap();
    assert!(serde_json::from_str::<ApiKeyRecord>(&kept).unwrap() == record);
    assert!(
        serde_json::from_str::<ApiKeyRecord>(&kept.replace("192.0.2.0/24", "192.0.2.1/24"))
            .is_err()
    );
    assert!(now(fixture.keys.list(&globex())).is_empty());
}

#[test]
fn a_rotated_key_and_its_successor_are_both_valid_for_seven_days_and_no_longer() {
    let fixture = Fixture::new();
    let (old, id) = now(fixture
        .keys
        .issue(new_key("acme", "ci").scopes(["reports:*"])));
    assert_eq!(reason(fixture.admit(in_header(old.expose()))), "ok");
    let rotated = now(fixture.keys.rotate(&acme(), &id));
    assert_eq!(
        rotated.old_valid_until,
        ManualClock::START.saturating_add(7 * DAY)
    );
    assert_eq!(one(&fixture, &id).successor(), Some(&rotated.key_id));
    assert_eq!(
        one(&fixture, &id).state(ManualClock::START),
        ApiKeyState::Grace(rotated.old_valid_until)
    );
    let both = |fixture: &Fixture| {
        [&old, &rotated.secret].map(|key| reason(fixture.admit(in_header(key.expose()))))
    };
    assert_eq!(both(&fixture), ["ok", "ok"]);
    let context = fixture.admit(in_header(rotated.secret.expose())).unwrap();
    assert_eq!(context.credential(), Some(&rotated.key_id));
    assert!(context.allows("reports:write") && !context.allows("invoices:read"));

    assert!(
        matches!(
            fails(fixture.keys.rotate(&acme(), &id)),
            ApiKeyError::Rotated
        ),
        "one successor"
    );
    fixture.clock.advance(7 * DAY - Duration::from_secs(1));
    assert_eq!(both(&fixture), ["ok", "ok"]);
    fixture.clock.advance(Duration::from_secs(1));
    assert_eq!(both(&fixture), ["expired", "ok"], "cached, and over");
    assert!(matches!(
        fails(fixture.keys.rotate(&globex(), &rotated.key_id)),
        ApiKeyError::Unknown
    ));
}

#[test]
fn a_grace_is_chosen_up_to_fourteen_days() {
    let fixture = Fixture::new();
    let (_, id) = fixture.api_key("acme", "ci");
    let longer = ApiKeys::LONGEST_GRACE + Duration::from_nanos(1);
    let error = fails(fixture.keys.rotate_with_grace(&acme(), &id, longer)).to_string();
    assert!(error.contains("choose at most"), "{error}");
    let rotated = now(fixture.keys.rotate_with_grace(&acme(), &id, 14 * DAY));
    assert_eq!(
        rotated.old_valid_until,
        ManualClock::START.saturating_add(14 * DAY)
    );
}

#[test]
fn i5_a_key_rotated_now_is_refused_at_its_next_request_although_cached() {
    let fixture = Fixture::new();
    let (old, id) = fixture.api_key("acme", "ci");
    let held = fixture.admit(in_header(old.expose())).unwrap();
    let mut ended = held.ended();
    let rotated = now(fixture.keys.rotate_now(&acme(), &id));
    assert_ne!(reason(fixture.admit(in_header(old.expose()))), "ok");
    assert!(held.check().is_err());
    assert_eq!((&mut ended).now_or_never(), Some(EndReason::Revoked));
    assert_eq!(
        reason(fixture.admit(in_header(rotated.secret.expose()))),
        "ok"
    );
}

#[test]
fn a_rotation_prolongs_no_key() {
    let fixture = Fixture::new();
    let ends = ManualClock::START.saturating_add(DAY);
    let (old, id) = now(fixture.keys.issue(new_key("acme", "ci").expires_at(ends)));
    let rotated = now(fixture.keys.rotate(&acme(), &id));
    assert_eq!(rotated.old_valid_until, ends);
    assert_eq!(one(&fixture, &rotated.key_id).expires_at(), ends);
    fixture.clock.advance(DAY);
    for key in [&old, &rotated.secret] {
        assert_eq!(reason(fixture.admit(in_header(key.expose()))), "expired");
    }
    assert!(matches!(
        fails(fixture.keys.rotate(&acme(), &rotated.key_id)),
        ApiKeyError::Ended
    ));
}

#[test]
fn i5_an_expiry_moves_forward_alone_and_holds_for_a_cached_key() {
    let fixture = Fixture::new();
    let (key, id) = fixture.api_key("acme", "ci");
    assert_eq!(reason(fixture.admit(in_header(key.expose()))), "ok");
    let soon = ManualClock::START.saturating_add(Duration::from_secs(60));
    now(fixture.keys.expire(&acme(), &id, soon));
    now(fixture.keys.expire(&acme(), &id, soon.saturating_add(DAY)));
    assert_eq!(reason(fixture.admit(in_header(key.expose()))), "ok");
    fixture.clock.advance(Duration::from_secs(60));
    assert_eq!(reason(fixture.admit(in_header(key.expose()))), "expired");
    let later = soon.saturating_add(DAY);
    assert!(matches!(
        fails(fixture.keys.expire(&acme(), &id, later)),
        ApiKeyError::Ended
    ));
}

#[test]
fn the_end_of_a_grace_is_told_once_while_the_old_key_is_still_in_use() {
    let told: Arc<Mutex<Vec<CredentialId>>> = Arc::default();
    let sink = Arc::clone(&told);
    let mut fixture = Fixture::new();
    fixture.keys = ApiKeys::builder("sk", "live", [7; 32])
        .clock(fixture.clock.clone())
        .on_grace_ending(move |id| sink.lock().push(id.clone()))
        .build()
        .unwrap();
    let fixture = fixture.layered(|layer| layer);
    let (used, id) = fixture.api_key("acme", "used");
    let (unused, other) = fixture.api_key("acme", "unused");
    for key in [&used, &unused] {
        assert_eq!(reason(fixture.admit(in_header(key.expose()))), "ok");
    }
    for id in [&id, &other] {
        now(fixture.keys.rotate(&acme(), id));
    }
    let present = |times: usize| {
        for _ in 0..times {
            assert_eq!(reason(fixture.admit(in_header(used.expose()))), "ok");
        }
    };
    fixture.clock.advance(6 * DAY - Duration::from_secs(1));
    present(3);
    assert!(told.lock().is_empty(), "there is time");
    fixture.clock.advance(Duration::from_secs(1));
    present(3);
    assert_eq!(*told.lock(), [id], "once, and only of the one in use");
}

/// What is derived from a key in its grace ends with the grace.
#[test]
fn i3_a_key_in_its_grace_says_when_that_ends() {
    let fixture = Fixture::new();
    let (before, id) = fixture.api_key("acme", "ci");
    let (fresh, other) = fixture.api_key("acme", "nightly");
    assert!(
        fixture.admit(in_header(before.expose())).is_ok(),
        "held since"
    );
    for id in [&id, &other] {
        now(fixture
            .keys
            .rotate_with_grace(&acme(), id, Duration::from_secs(60)));
    }
    let end = ManualClock::START.saturating_add(Duration::from_secs(60));
    let fixture = fixture.layered(|layer| layer);
    for key in [&before, &fresh] {
        assert_eq!(
            fixture.admit(in_header(key.expose())).unwrap().expires_at(),
            end
        );
    }
}

#[test]
fn i5_what_an_old_key_admitted_ends_with_the_grace_at_the_next_sweep() {
    let fixture = Fixture::new();
    let (old, id) = fixture.api_key("acme", "ci");
    let held = fixture.admit(in_header(old.expose())).unwrap();
    now(fixture.keys.rotate(&acme(), &id));
    fixture.clock.advance(7 * DAY - Duration::from_secs(1));
    now(fixture.keys.sweep());
    held.check().unwrap();
    fixture.clock.advance(Duration::from_secs(1));
    now(fixture.keys.sweep());
    assert_eq!(held.check().unwrap_err().reason(), "revoked");
}

#[test]
fn keys_are_due_after_ninety_days_and_after_thirty_where_that_is_the_rule() {
    let fixture = Fixture::new();
    let (_, first) = fixture.api_key("acme", "first");
    let (_, ended) = fixture.api_key("acme", "ended");
    fixture.api_key("globex", "elsewhere");
    now(fixture.keys.revoke(&acme(), &ended));
    fixture.clock.advance(20 * DAY);
    let (_, second) = fixture.api_key("acme", "second");
    let due = |policy| -> Vec<CredentialId> {
        let due = now(fixture.keys.due_for_rotation(&acme(), policy));
        due.iter().map(|record| record.key_id().clone()).collect()
    };
    fixture.clock.advance(10 * DAY - Duration::from_secs(1));
    assert_eq!(due(RotationPolicy::REGULATED), []);
    fixture.clock.advance(Duration::from_secs(1));
    assert_eq!(due(RotationPolicy::REGULATED), std::slice::from_ref(&first));
    assert_eq!(due(RotationPolicy::STANDARD), []);
    fixture.clock.advance(80 * DAY);
    assert_eq!(
        due(RotationPolicy::STANDARD),
        [first.clone(), second.clone()]
    );
    now(fixture.keys.rotate(&acme(), &first));
    assert_eq!(
        due(RotationPolicy::STANDARD),
        [second],
        "what has a successor is not due again"
    );
}

#[test]
fn i5_all_keys_of_a_tenant_are_revoked_and_nobody_elses() {
    let fixture = Fixture::new();
    let (old, id) = fixture.api_key("acme", "ci");
    let rotated = now(fixture.keys.rotate(&acme(), &id));
    let (other, _) = fixture.api_key("acme", "other");
    let (elsewhere, _) = fixture.api_key("globex", "ci");
    let all = [&old, &rotated.secret, &other, &elsewhere];
    let reasons = || all.map(|key| reason(fixture.admit(in_header(key.expose()))));
    assert_eq!(reasons(), ["ok"; 4]);
    assert_eq!(now(fixture.keys.revoke_tenant(&acme())), 3);
    assert_eq!(reasons(), ["revoked", "revoked", "revoked", "ok"]);
    assert_eq!(now(fixture.keys.revoke_tenant(&acme())), 0);
}

#[test]
fn a_request_makes_no_key_that_is_wider_than_itself_or_another_tenants() {
    let fixture = Fixture::new();
    let admin = |scopes: &str, roles: &[&str]| -> TenantContext {
        let token = common::ada().claim("scope", scopes).claim("roles", roles);
        fixture.bearer(&fixture.token(token)).unwrap()
    };
    let new = |tenant: &str| {
        NewApiKey::new(
            TenantId::parse(tenant).unwrap(),
            Principal::service(PrincipalId::parse("ci").unwrap()),
        )
    };
    let context = admin("reports:*", &["developer"]);
    let (_, id) = now(fixture.keys.issue_by(
        &context,
        new("acme").scopes(["reports:write"]).roles(["developer"]),
    ));
    assert_eq!(one(&fixture, &id).created_by().unwrap().as_str(), "ada");
    for (wider, expected) in [
        (new("acme").scopes(["invoices:read"]), "api_key_wider"),
        (new("acme").scopes(["*"]), "api_key_wider"),
        (
            new("acme").scopes(["reports:read"]).roles(["admin"]),
            "api_key_wider",
        ),
        (new("globex").scopes(["reports:read"]), "tenant_mismatch"),
    ] {
        let rejection = Rejection::from(fails(fixture.keys.issue_by(&context, wider)));
        assert_eq!(rejection.reason(), expected);
    }
    let bounded = fixture.token(
        common::ada()
            .claim("scope", "reports:*")
            .claim("resource_prefix", "eu/"),
    );
    let bounded = fixture.bearer(&bounded).unwrap();
    let refused = fails(
        fixture
            .keys
            .issue_by(&bounded, new("acme").scopes(["reports:read"])),
    );
    assert_eq!(Rejection::from(refused).reason(), "api_key_wider");
    assert_eq!(now(fixture.keys.list(&acme())).len(), 1);
}

/// A key has no parents and no actors, and no end by itself: it would be what its caller is not.
#[test]
fn i3_a_request_makes_no_key_that_outlives_what_bounds_its_caller() {
    let fixture = Fixture::new();
    let service = || {
        NewApiKey::new(
            acme(),
            Principal::service(PrincipalId::parse("ci").unwrap()),
        )
        .scopes(["reports:read"])
    };
    let human = |name: &str| {
        NewApiKey::new(acme(), Principal::human(PrincipalId::parse(name).unwrap()))
            .scopes(["reports:read"])
    };
    let refused = |context: &TenantContext, new: NewApiKey| {
        let failed = fails(fixture.keys.issue_by(context, new));
        assert_eq!(Rejection::from(failed).reason(), "api_key_wider");
    };
    let context = |change: &dyn Fn(Claims) -> Claims| {
        let mut claims = tenant_testkit::claims("acme", "ada").scopes(["reports:*"]);
        claims.issuer = Some("https://id.example.com".into());
        tenant_testkit::context_with(&fixture.tenants, change(claims))
    };
    let ada = context(&|claims| claims);
    refused(&ada, human("bob"));
    now(fixture.keys.issue_by(&ada, human("ada")));
    let bot = || Principal::agent(PrincipalId::parse("bot").unwrap());
    refused(&context(&|claims| claims.actor(bot())), service());
    refused(
        &context(&|mut claims| {
            let login = CredentialId::parse("login").unwrap();
            claims.parents = vec![Parent::new(login, claims.expires_at, Vec::new())];
            claims
        }),
        service(),
    );
    refused(
        &context(&|mut claims| {
            claims.operator_of = Some(TenantId::parse("globex").unwrap());
            claims
        }),
        service(),
    );
    let agent = context(&|mut claims| {
        claims.principal = bot();
        claims.roles(["admin"])
    });
    refused(&agent, service());
    refused(&agent, NewApiKey::new(acme(), bot()).roles(["admin"]));
    now(fixture.keys.issue_by(
        &agent,
        NewApiKey::new(acme(), bot()).scopes(["reports:read"]),
    ));
    // What has no issuer and is no key of these has no bounds that are known.
    refused(
        &context(&|mut claims| {
            claims.issuer = None;
            claims.credential(CredentialId::parse("elsewhere").unwrap())
        }),
        service(),
    );
}

#[test]
fn a_key_makes_no_key_that_is_valid_longer_or_elsewhere() {
    let fixture = Fixture::new();
    let end = ManualClock::START.saturating_add(Duration::from_secs(3600));
    let network = |text: &str| text.parse::<Network>().unwrap();
    let parent = new_key("acme", "ci")
        .scopes(["reports:*"])
        .allowed_ips([network("192.0.2.0/24")])
        .expires_at(end);
    let (_, parent) = now(fixture.keys.issue(parent));
    let context = tenant_testkit::context_with(
        &fixture.tenants,
        tenant_testkit::claims("acme", "ci")
            .scopes(["reports:*"])
            .credential(parent),
    );
    let new = || {
        NewApiKey::new(
            acme(),
            Principal::service(PrincipalId::parse("nightly").unwrap()),
        )
        .scopes(["reports:read"])
    };
    let (_, id) = now(fixture.keys.issue_by(&context, new()));
    let issued = one(&fixture, &id);
    assert_eq!(issued.expires_at(), end);
    assert_eq!(issued.allowed_ips(), [network("192.0.2.0/24")]);
    let narrower = new()
        .allowed_ips([network("192.0.2.7")])
        .expires_at(ManualClock::START.saturating_add(Duration::from_secs(60)));
    let (_, id) = now(fixture.keys.issue_by(&context, narrower));
    let issued = one(&fixture, &id);
    assert!(issued.expires_at() < end);
    assert_eq!(issued.allowed_ips(), [network("192.0.2.7")]);
    for wider in ["192.0.0.0/16", "0.0.0.0/0", "198.51.100.1"] {
        let wider = new().allowed_ips([network("192.0.2.7"), network(wider)]);
        let failed = fails(fixture.keys.issue_by(&context, wider));
        assert_eq!(Rejection::from(failed).reason(), "api_key_wider");
    }
}

#[test]
fn two_scopes_in_one_text_are_no_scope_of_a_key() {
    let fixture = Fixture::new();
    for text in ["a:read b:write", "", "a\"b"] {
        let failed = fails(fixture.keys.issue(new_key("acme", "ci").scopes([text])));
        assert!(matches!(failed, ApiKeyError::Invalid(_)), "{text:?}");
    }
}

#[test]
fn i12_another_tenants_key_and_none_are_one_answer() {
    let fixture = Fixture::new();
    let (_, theirs) = fixture.api_key("globex", "ci");
    let nobodys = CredentialId::parse("key_nobody").unwrap();
    let answer = |id: &CredentialId| {
        let rejection = Rejection::from(fails(fixture.keys.revoke(&acme(), id)));
        (rejection.status(), rejection.reason().to_owned())
    };
    assert_eq!(answer(&theirs), answer(&nobodys));
    assert_eq!(answer(&theirs).0, 404);
    assert!(now(fixture.keys.list(&globex()))[0].revoked_at().is_none());
}
