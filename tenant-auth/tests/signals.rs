//! All signals of a request name one tenant: credentials, host, and a header of a trusted ingress.

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

use common::{ISSUER, reason};
use edge::{Answer, Door, GATEWAY, STRANGER};
use http::{HeaderName, HeaderValue, Request};
use proptest::prelude::*;
use tenant_auth::{Ingress, NewToken, OutsideHosts, PeerIdentity, PrincipalKind, Subdomain};
use tenant_context::PeerAddress;

const TENANT: HeaderName = HeaderName::from_static("x-tenant-id");
const USER: HeaderName = HeaderName::from_static("x-user-id");
const SPIFFE: &str = "spiffe://mesh.example/ns/edge/sa/gateway";

fn gateway() -> Ingress {
    Ingress::header(TENANT)
        .from_networks([GATEWAY])
        .from_peer(SPIFFE)
}

fn with_users() -> Door {
    Door::new(|layer| {
        layer.ingress(
            gateway()
                .principal_header(USER, PrincipalKind::Human)
                .scopes(["read"])
                .roles(["member"]),
        )
    })
}

fn from(peer: &str) -> Request<()> {
    let mut request = Request::new(());
    let peer = PeerAddress::new(format!("{peer}:4711").parse().unwrap());
    request.extensions_mut().insert(peer);
    request
}

fn header(mut request: Request<()>, name: &'static str, value: &str) -> Request<()> {
    let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
    request.headers_mut().append(name, value);
    request
}

#[test]
fn a_trusted_ingress_names_tenant_and_principal() {
    let door = with_users();
    let spiffe = |id: &str| {
        let mut request = from(STRANGER);
        let id = PeerIdentity::parse(id).unwrap();
        request.extensions_mut().insert(id);
        request
    };
    for peer in [from(GATEWAY), from("[::ffff:10.1.0.1]"), spiffe(SPIFFE)] {
        let request = header(header(peer, "x-tenant-id", "acme"), "x-user-id", "ada");
        let answer = door.send(request);
        assert_eq!(answer, Answer::Served("acme".into(), "ada".into()));
    }
    for peer in [
        from(STRANGER),
        Request::new(()),
        spiffe("spiffe://mesh.example/ns/edge/sa/gateway2"),
        spiffe("spiffe://mesh.example/ns/edge/sa"),
        spiffe("spiffe://evil.example/ns/edge/sa/gateway"),
        // The peer is who connects, not whom a header names.
        header(from(STRANGER), "x-forwarded-for", GATEWAY),
        header(from(STRANGER), "forwarded", "for=10.1.0.1"),
    ] {
        let request = header(header(peer, "x-tenant-id", "acme"), "x-user-id", "ada");
        assert_eq!(
            door.send(request),
            Answer::refused(401, "credential_missing")
        );
    }
}

#[test]
fn i7_a_trusted_ingress_that_does_not_say_who_is_refused() {
    let door = with_users();
    let named = || header(from(GATEWAY), "x-tenant-id", "acme");
    let user = |value: &str| header(named(), "x-user-id", value);
    let token = format!("Bearer {}", door.fixture.good());
    for (request, status, reason) in [
        (from(GATEWAY), 401, "ingress_header_missing"),
        (
            header(from(GATEWAY), "x-user-id", "ada"),
            401,
            "ingress_header_missing",
        ),
        (
            header(from(GATEWAY), "authorization", &token),
            400,
            "ingress_header_missing",
        ),
        (
            header(from(GATEWAY), "authorization", "Bearer x.y.z"),
            401,
            "malformed",
        ),
        (named(), 400, "ingress_malformed"),
        (user(""), 400, "ingress_malformed"),
        (user("a\u{e4}"), 400, "ingress_malformed"),
        (
            header(user("ada"), "x-user-id", "ada"),
            400,
            "ingress_malformed",
        ),
        (
            header(user("ada"), "x-tenant-id", "acme"),
            400,
            "ingress_malformed",
        ),
        (
            header(user("ada"), "x-tenant-id", "globex"),
            400,
            "ingress_malformed",
        ),
        (
            header(header(from(GATEWAY), "x-tenant-id", ""), "x-user-id", "ada"),
            400,
            "ingress_malformed",
        ),
        (
            header(
                header(from(GATEWAY), "x-tenant-id", "a b"),
                "x-user-id",
                "ada",
            ),
            400,
            "ingress_malformed",
        ),
        (
            header(
                header(from(GATEWAY), "x-tenant-id", "nobody"),
                "x-user-id",
                "ada",
            ),
            401,
            "tenant_unknown",
        ),
        (
            header(user("ada"), "x-org-id", "globex"),
            403,
            "tenant_mismatch",
        ),
    ] {
        let shown = format!("{:?}", request.headers());
        assert_eq!(
            door.send(request),
            Answer::refused(status, reason),
            "{shown}"
        );
    }
}

#[test]
fn a_header_that_names_the_victim_from_an_untrusted_peer_is_a_forgery() {
    let door = with_users();
    let token = format!("Bearer {}", door.fixture.good());
    for (tenant, expected) in [
        ("globex", Answer::refused(403, "tenant_mismatch")),
        ("acme", Answer::Served("acme".into(), "ada".into())),
    ] {
        let request = header(from(STRANGER), "authorization", &token);
        let request = header(header(request, "x-tenant-id", tenant), "x-user-id", "eve");
        assert_eq!(door.send(request), expected);
    }
}

#[test]
fn i3_a_credential_behind_an_ingress_is_whom_the_ingress_names() {
    let door = with_users();
    let token = format!("Bearer {}", door.fixture.good());
    for (tenant, user, expected) in [
        ("acme", "ada", Answer::Served("acme".into(), "ada".into())),
        ("acme", "eve", Answer::refused(400, "ingress_principal")),
        ("globex", "ada", Answer::refused(403, "tenant_mismatch")),
        ("Acme", "ada", Answer::refused(403, "tenant_mismatch")),
    ] {
        let request = header(from(GATEWAY), "authorization", &token);
        let request = header(header(request, "x-tenant-id", tenant), "x-user-id", user);
        assert_eq!(door.send(request), expected, "{tenant} {user}");
    }
    // An agent of a person's id is not that person.
    let agent = common::ada().kind(PrincipalKind::Agent);
    let agent = format!("Bearer {}", door.fixture.token(agent));
    let request = header(from(GATEWAY), "authorization", &agent);
    let request = header(header(request, "x-tenant-id", "acme"), "x-user-id", "ada");
    assert_eq!(
        door.send(request),
        Answer::refused(400, "ingress_principal")
    );
}

#[test]
fn i5_suspension_reaches_those_whom_an_ingress_names() {
    let door = with_users();
    let request = || {
        header(
            header(from(GATEWAY), "x-tenant-id", "acme"),
            "x-user-id",
            "ada",
        )
    };
    let acme = tenant_auth::TenantId::parse("acme").unwrap();
    assert_eq!(
        door.send(request()),
        Answer::Served("acme".into(), "ada".into())
    );
    door.fixture.tenants.suspend(&acme);
    assert_eq!(
        door.send(request()),
        Answer::refused(403, "tenant_suspended")
    );
    door.fixture.tenants.resume(&acme);
    assert_eq!(
        door.send(request()),
        Answer::Served("acme".into(), "ada".into())
    );
}

#[test]
fn a_header_that_only_the_ingress_knows_is_read_compared_and_taken_off_as_the_others() {
    let gateway = Ingress::header(HeaderName::from_static("x-edge-tenant"))
        .from_networks([GATEWAY])
        .principal_header(USER, PrincipalKind::Human);
    let door = Door::new(|layer| layer.ingress(gateway));
    let token = format!("Bearer {}", door.fixture.good());
    let named = |peer: &str, tenant: &str| header(from(peer), "x-edge-tenant", tenant);
    let served = Answer::Served("acme".into(), "ada".into());
    let by_gateway = header(named(GATEWAY, "acme"), "x-user-id", "ada");
    assert_eq!(door.send(by_gateway), served);
    let by_stranger = |tenant: &str| header(named(STRANGER, tenant), "authorization", &token);
    assert_eq!(door.send(by_stranger("acme")), served);
    assert_eq!(
        door.send(by_stranger("globex")),
        Answer::refused(403, "tenant_mismatch")
    );
}

/// The gateway's word is given anew with each request.
#[test]
fn a_context_that_an_ingress_named_and_that_was_ended_is_not_given_again() {
    let door = with_users();
    let request = || {
        let request = header(from(GATEWAY), "x-tenant-id", "acme");
        header(request, "x-user-id", "ada")
    };
    let answer = door.raw(request());
    let first = tenant_auth::TenantContext::of(answer.extensions()).unwrap();
    first.revoke();
    assert_eq!(
        door.send(request()),
        Answer::Served("acme".into(), "ada".into())
    );
    assert!(first.check().is_err(), "what was ended stays so");
}

#[test]
fn an_ingress_that_would_trust_anybody_does_not_build() {
    let build = |ingress: Ingress| {
        let fixture = common::Fixture::new();
        let layer = tenant_auth::layer(fixture.tenants.clone()).ingress(ingress);
        layer.build().unwrap_err().to_string()
    };
    let user = |ingress: Ingress| ingress.principal_header(USER, PrincipalKind::Human);
    let header = || Ingress::header(TENANT);
    for (error, says) in [
        (build(user(header())), "nobody is trusted"),
        (
            build(user(header().from_networks(["0.0.0.0/0"]))),
            "trusts everybody",
        ),
        (
            build(user(header().from_networks(["::/0"]))),
            "trusts everybody",
        ),
        (
            build(user(header().from_networks(["10.0.0.1/8"]))),
            "10.0.0.0/8",
        ),
        (
            build(user(header().from_peer("spiffe://Mesh/x"))),
            "no SPIFFE id",
        ),
        (build(header().from_networks(["10.0.0.0/8"])), "nobody acts"),
        (
            build(
                header()
                    .from_networks(["10.0.0.0/8"])
                    .principal_header(TENANT, PrincipalKind::Human),
            ),
            "one header",
        ),
    ] {
        assert!(error.contains(says), "{error}");
    }
}

fn saas(change: impl FnOnce(Subdomain) -> Subdomain) -> Door {
    Door::new(|layer| layer.subdomain(change(Subdomain::of("saas.example.com").shared("api"))))
}

fn at(host: &str, token: &str) -> Request<()> {
    let request = header(
        Request::new(()),
        "authorization",
        &format!("Bearer {token}"),
    );
    header(request, "host", host)
}

#[test]
fn a_credential_of_one_tenant_at_the_host_of_another_is_refused_with_a_warm_cache_too() {
    let door = saas(|subdomain| subdomain);
    let token = door.fixture.good();
    let ada = Answer::Served("acme".into(), "ada".into());
    for _cold_then_warm in 0..2 {
        for (host, served) in [
            ("acme.saas.example.com", true),
            ("ACME.SAAS.Example.COM:8443", true),
            ("acme.saas.example.com.", true),
            ("api.saas.example.com", true),
            ("globex.saas.example.com", false),
            ("nobody.saas.example.com", false),
            ("xn--cme-5cd.saas.example.com", false),
            ("a.acme.saas.example.com", false),
            ("acme.a.saas.example.com", false),
            ("saas.example.com", false),
            ("acmesaas.example.com", false),
            ("acme.saas.example.com.evil.com", false),
            ("acme.saas.example.org", false),
            ("acme.example.com", false),
            ("acme", false),
            ("127.0.0.1", false),
            ("[::1]:80", false),
        ] {
            let expected = if served {
                ada.clone()
            } else {
                Answer::refused(403, "tenant_mismatch")
            };
            assert_eq!(door.send(at(host, &token)), expected, "{host}");
        }
    }
    let nowhere = header(
        Request::new(()),
        "authorization",
        &format!("Bearer {token}"),
    );
    assert_eq!(door.send(nowhere), Answer::refused(403, "tenant_mismatch"));
}

#[test]
fn case_insensitive_hosts_name_no_case_sensitive_tenant() {
    let door = saas(|subdomain| subdomain);
    let token = door
        .fixture
        .token(NewToken::new(ISSUER, "api", "Acme", "ada"));
    for host in ["acme.saas.example.com", "Acme.saas.example.com"] {
        assert_eq!(
            door.send(at(host, &token)),
            Answer::refused(403, "tenant_mismatch")
        );
    }
}

#[test]
fn what_is_no_host_is_malformed_whoever_asks() {
    let door = saas(|subdomain| subdomain.outside(OutsideHosts::NoSignal));
    let token = door.fixture.good();
    for host in [
        "acme@globex.saas.example.com",
        "globex.saas.example.com@acme.saas.example.com",
        "acme:pw@saas.example.com",
        "acme%2esaas.example.com",
        "\u{ff41}cme.saas.example.com",
        "acme\u{3002}saas.example.com",
        "acme..saas.example.com",
        "acme.saas.example.com..",
        ".saas.example.com",
        "acme.saas.example.com:x",
        "acme.saas.example.com, globex.saas.example.com",
        "acme saas.example.com",
        "",
    ] {
        let refused = Answer::refused(400, "host_malformed");
        assert_eq!(door.send(at(host, &token)), refused, "{host}");
        assert_eq!(
            door.send(header(Request::new(()), "host", host)),
            refused,
            "{host}"
        );
    }
    let twice = header(
        at("acme.saas.example.com", &token),
        "host",
        "acme.saas.example.com",
    );
    assert_eq!(door.send(twice), Answer::refused(400, "host_malformed"));
}

#[test]
fn authority_and_host_agree() {
    let door = saas(|subdomain| subdomain);
    let token = door.fixture.good();
    let request = |authority: &str, host: Option<&str>| {
        let mut request = at("x", &token);
        request.headers_mut().remove("host");
        *request.uri_mut() = format!("https://{authority}/invoices").parse().unwrap();
        match host {
            Some(host) => header(request, "host", host),
            None => request,
        }
    };
    let served = Answer::Served("acme".into(), "ada".into());
    let acme = "acme.saas.example.com";
    for (authority, host, expected) in [
        (acme, None, served.clone()),
        (acme, Some(acme), served.clone()),
        (
            "ACME.saas.example.com:443",
            Some("acme.saas.example.com."),
            served,
        ),
        (
            acme,
            Some("globex.saas.example.com"),
            Answer::refused(400, "host_conflict"),
        ),
        (
            "globex.saas.example.com",
            Some(acme),
            Answer::refused(400, "host_conflict"),
        ),
        (
            "globex.saas.example.com",
            None,
            Answer::refused(403, "tenant_mismatch"),
        ),
        (
            "user@acme.saas.example.com",
            None,
            Answer::refused(400, "host_malformed"),
        ),
    ] {
        let shown = format!("{authority} {host:?}");
        assert_eq!(door.send(request(authority, host)), expected, "{shown}");
    }
}

#[test]
fn hosts_outside_of_the_domain_mean_what_the_builder_says() {
    let door = saas(|subdomain| subdomain.outside(OutsideHosts::NoSignal).depth(2));
    let token = door.fixture.good();
    let served = Answer::Served("acme".into(), "ada".into());
    for host in [
        "invoices.internal:8080",
        "10.0.0.7",
        "[::1]",
        "saas.example.com",
    ] {
        assert_eq!(door.send(at(host, &token)), served, "{host}");
    }
    let deep = "eu.acme.saas.example.com";
    assert_eq!(
        door.send(at(deep, &token)),
        Answer::refused(403, "tenant_mismatch")
    );
    let by_region = saas(|subdomain| {
        subdomain
            .depth(2)
            .belongs(|tenant, label| label.strip_prefix("eu.") == Some(tenant.id().as_str()))
    });
    let token = by_region.fixture.good();
    assert_eq!(
        by_region.send(at("EU.Acme.saas.example.com", &token)),
        served
    );
    let globex = at("eu.globex.saas.example.com", &token);
    assert_eq!(
        by_region.send(globex),
        Answer::refused(403, "tenant_mismatch")
    );
}

#[test]
fn a_host_deeper_than_the_builder_says_is_nobodys() {
    for depth in [1, 2] {
        // Whatever is compared agrees: what refuses is the depth.
        let door = saas(|subdomain| subdomain.depth(depth).belongs(|_, _| true));
        let token = door.fixture.good();
        for (labels, host) in [(1, "a"), (2, "b.a"), (3, "c.b.a")] {
            let answer = door.send(at(&format!("{host}.saas.example.com"), &token));
            let expected = if labels <= depth {
                Answer::Served("acme".into(), "ada".into())
            } else {
                Answer::refused(403, "tenant_mismatch")
            };
            assert_eq!(answer, expected, "{host} at {depth}");
        }
    }
}

#[test]
fn i12_foreign_and_unknown_labels_get_the_same_answer_and_nobody_is_looked_up() {
    let door = saas(|subdomain| subdomain);
    let token = door.fixture.good();
    assert!(matches!(
        door.send(at("acme.saas.example.com", &token)),
        Answer::Served(..)
    ));
    let known = door.fixture.tenants.len();
    let shown: Vec<String> = ["globex", "nobody", "initech"]
        .map(|label| format!("{label}.saas.example.com"))
        .iter()
        .map(|host| format!("{:?}", door.raw(at(host, &token))))
        .collect();
    assert!(shown.windows(2).all(|pair| pair[0] == pair[1]), "{shown:?}");
    assert_eq!(door.fixture.tenants.len(), known, "no label was looked up");
}

#[test]
fn a_domain_that_is_none_does_not_build() {
    let build = |subdomain: Subdomain| {
        let fixture = common::Fixture::new();
        let layer = tenant_auth::layer(fixture.tenants.clone()).api_keys(fixture.keys.clone());
        layer.subdomain(subdomain).build().unwrap_err().to_string()
    };
    for (error, says) in [
        (build(Subdomain::of("com")), "no domain"),
        (build(Subdomain::of("")), "no domain"),
        (build(Subdomain::of("*.example.com")), "no domain"),
        (build(Subdomain::of("b\u{fc}cher.example")), "no domain"),
        (build(Subdomain::of("saas.example.com:80")), "no domain"),
        (
            build(Subdomain::of("saas.example.com").depth(0)),
            "a depth of 0",
        ),
        (
            build(Subdomain::of("saas.example.com").shared("a b")),
            "no label",
        ),
    ] {
        assert!(error.contains(says), "{error}");
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Credential {
    Of(&'static str),
    Bad,
}

#[derive(Clone, Debug)]
struct Signals {
    token: Option<Credential>,
    key: Option<Credential>,
    host: Option<&'static str>,
    header: Option<&'static str>,
    trusted: bool,
}

fn signals() -> impl Strategy<Value = (Signals, Vec<usize>)> {
    let tenant = || prop_oneof![3 => Just("acme"), 1 => Just("globex")];
    let credential = || {
        let one = prop_oneof![4 => tenant().prop_map(Credential::Of), 1 => Just(Credential::Bad)];
        proptest::option::of(one)
    };
    let host = prop_oneof![3 => tenant(), 1 => Just("nobody"), 1 => Just("api")];
    let signals = (
        credential(),
        credential(),
        proptest::option::of(host),
        proptest::option::of(tenant()),
        any::<bool>(),
    )
        .prop_map(|(token, key, host, header, trusted)| Signals {
            token,
            key,
            host,
            header,
            trusted,
        });
    (signals, Just((0..4).collect::<Vec<usize>>()).prop_shuffle())
}

/// What the rule says: by the sentence, not by the code.
fn expected(signals: &Signals) -> Result<&'static str, u16> {
    let presented: Vec<Credential> = signals.token.into_iter().chain(signals.key).collect();
    if presented.contains(&Credential::Bad) {
        return Err(401);
    }
    let mut named: Vec<&'static str> = Vec::new();
    for credential in &presented {
        if let Credential::Of(tenant) = credential {
            named.push(tenant);
        }
    }
    let agreed = named.windows(2).all(|pair| pair[0] == pair[1]);
    if signals.trusted && signals.header.is_none() {
        return Err(match (presented.is_empty(), agreed) {
            (true, _) => 401,
            (false, true) => 400,
            (false, false) => 403,
        });
    }
    if presented.is_empty() && !signals.trusted {
        return Err(401);
    }
    named.extend(signals.header);
    named.extend(signals.host.filter(|label| *label != "api"));
    let tenant = named[0];
    if named.iter().all(|name| *name == tenant) {
        Ok(tenant)
    } else {
        Err(403)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn i3_all_signals_agree_in_any_subset_and_order((signals, order) in signals()) {
        thread_local! {
            static DOOR: Door = Door::new(|layer| {
                let principal = tenant_auth::PrincipalId::parse("ada").unwrap();
                layer
                    .ingress(gateway().principal(tenant_auth::Principal::human(principal)))
                    .subdomain(
                        Subdomain::of("saas.example.com")
                            .shared("api")
                            .outside(OutsideHosts::NoSignal),
                    )
            });
        }
        DOOR.with(|door| {
            let mut request = from(if signals.trusted { GATEWAY } else { STRANGER });
            for signal in order {
                request = match signal {
                    0 => match signals.token {
                        Some(Credential::Of(tenant)) => {
                            let token = door.fixture.token(NewToken::new(ISSUER, "api", tenant, "ada"));
                            header(request, "authorization", &format!("Bearer {token}"))
                        }
                        Some(Credential::Bad) => {
                            let token = format!("Bearer {}x", door.fixture.good());
                            header(request, "authorization", &token)
                        }
                        None => request,
                    },
                    1 => match signals.key {
                        Some(Credential::Of(tenant)) => {
                            let key = door.fixture.api_key(tenant, "ada").0;
                            header(request, "x-api-key", key.expose())
                        }
                        Some(Credential::Bad) => header(request, "x-api-key", "sk_live_x"),
                        None => request,
                    },
                    2 => match signals.host {
                        Some(label) => header(request, "host", &format!("{label}.saas.example.com")),
                        None => request,
                    },
                    _ => match signals.header {
                        Some(tenant) => header(request, "x-tenant-id", tenant),
                        None => request,
                    },
                };
            }
            let answer = match door.send(request) {
                Answer::Served(tenant, _) => Ok(tenant),
                Answer::Refused(status, _) => Err(status),
            };
            prop_assert_eq!(answer, expected(&signals).map(str::to_owned), "{:?}", signals);
            Ok(())
        })?;
    }
}

#[test]
fn a_refusal_for_another_tenants_host_is_recorded_with_whose_credential_it_was() {
    let fixture = common::Fixture::new();
    let auth = tenant_auth::layer(fixture.tenants.clone())
        .api_keys(fixture.keys.clone())
        .subdomain(Subdomain::of("saas.example.com"))
        .authenticate()
        .unwrap();
    let fixture = common::Fixture { auth, ..fixture };
    let key = fixture.api_key("acme", "ci").0;
    let request = header(Request::new(()), "x-api-key", key.expose());
    let request = header(request, "host", "globex.saas.example.com");
    let rejection = fixture.admit(request).unwrap_err();
    assert_eq!(reason(Err(rejection.clone())), "tenant_mismatch");
    assert_eq!(rejection.identity().unwrap().tenant().id().as_str(), "acme");
}
