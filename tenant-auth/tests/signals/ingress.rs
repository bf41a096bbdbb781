//! What a trusted ingress says of a request, and what anybody else does.

use http::{HeaderName, Request};
use tenant_auth::{Ingress, PeerIdentity, PrincipalKind};

use crate::{
    common,
    edge::{Answer, Door, GATEWAY, STRANGER},
    gateway::{SPIFFE, TENANT, from, gateway, header},
};

const USER: HeaderName = HeaderName::from_static("x-user-id");

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
