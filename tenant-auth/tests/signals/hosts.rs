//! The tenant in a host, and the credential that is presented there.

use http::Request;
use tenant_auth::{NewToken, OutsideHosts, Subdomain};

use crate::{
    common::{self, ISSUER, reason},
    edge::{Answer, Door},
    gateway::header,
};

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
