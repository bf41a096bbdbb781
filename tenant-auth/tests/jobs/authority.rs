//! For whom a job acts, and what it is allowed.

use tenant_auth::{
    CredentialId, Principal, PrincipalId, RejectionKind, TenantId, jobs::JobEnvelope,
};
use tenant_context::{Claims, Rejection};
use tenant_testkit::{ManualClock, claims, context_with};

use crate::fixture::{Fixture, MINUTE};

#[test]
fn what_a_context_says_travels_with_its_job() {
    let fixture = Fixture::new();
    let id = |text| PrincipalId::parse(text).unwrap();
    let mut full = claims("acme", "ada")
        .actor(Principal::agent(id("bot-2")))
        .actor(Principal::agent(id("bot-1")))
        .scopes(["reports:write", "reports:read"])
        .roles(["developer"])
        .credential(CredentialId::parse("jti-1").unwrap());
    full.resource_prefix = Some("/reports".to_owned());
    full.issuer = Some("https://id.example.com".into());
    full.org_id = Some("emea".to_owned());
    full.issued_at = Some(ManualClock::START);
    full.stated_expiry = Some(ManualClock::START.saturating_add(60 * MINUTE));
    full.parents = vec![tenant_context::Parent::new(
        CredentialId::parse("jti-0").unwrap(),
        full.expires_at,
        vec!["reports:*".into()],
    )];
    full.purpose = Some("month's end".to_owned());
    full.operator_of = Some(TenantId::parse("globex").unwrap());
    full.custom.insert("read_only".to_owned(), true.into());
    let ada = context_with(&fixture.tenants, full);
    let envelope = fixture.jobs.seal(&ada, b"payload").unwrap();
    let job = fixture.open(Some(&envelope)).unwrap();
    let mut expected: Claims = ada.to_claims();
    expected.expires_at = ManualClock::START.saturating_add(60 * MINUTE);
    expected.stated_expiry = None;
    let mut opened = job.context().to_claims();
    assert!(opened.custom.remove("tenant-auth:job-until").is_some());
    assert_eq!(opened, expected);
    assert_eq!(job.payload(), b"payload");
}

#[test]
fn a_job_has_the_scopes_it_names_and_no_others() {
    let fixture = Fixture::new();
    let scopes = claims("acme", "ada")
        .scopes(["a:read", "b:read"])
        .roles(["admin"]);
    let ada = context_with(&fixture.tenants, scopes);
    let narrow = fixture
        .jobs
        .prepare(&ada)
        .scopes(["a:read"])
        .seal(b"")
        .unwrap();
    let job = fixture.open(Some(&narrow)).unwrap();
    assert_eq!(job.context().scopes().collect::<Vec<_>>(), ["a:read"]);
    assert!(job.context().allows("a:read"));
    assert!(
        !job.context().allows("b:read"),
        "its role gave back what was left out"
    );
    let wide = fixture
        .jobs
        .prepare(&ada)
        .scopes(["a:read", "c:read"])
        .seal(b"");
    let rejection = Rejection::from(wide.unwrap_err());
    assert_eq!(rejection.kind(), RejectionKind::InsufficientScope);
}

/// An administrator's job for one thing is no administrator.
#[test]
fn a_job_with_fewer_scopes_does_not_act_in_its_principals_roles() {
    let fixture = Fixture::new();
    let roles = ["admin", "founder", "agent"];
    let ada = context_with(&fixture.tenants, claims("acme", "ada").roles(roles));
    let opened = |envelope: JobEnvelope| {
        let job = fixture.open(Some(&envelope)).unwrap();
        roles.map(|role| job.context().require_role(role).is_ok())
    };
    let narrowed = |scope: &str| {
        fixture
            .jobs
            .prepare(&ada)
            .scopes([scope])
            .seal(b"")
            .unwrap()
    };
    assert_eq!(opened(fixture.jobs.seal(&ada, b"").unwrap()), [true; 3]);
    // What no scope stands for may be more than what is left; `agent` says of itself that it is not.
    assert_eq!(opened(narrowed("reports:read")), [false, false, true]);
    assert_eq!(opened(narrowed("*")), [true, false, true]);
}

/// A credential that names no scope in its scope claim allows nothing, whatever its roles are.
#[test]
fn a_job_of_a_credential_that_is_limited_to_nothing_is_too() {
    let fixture = Fixture::new();
    let nothing = claims("acme", "ada")
        .scopes(Vec::<String>::new())
        .roles(["admin"]);
    let ada = context_with(&fixture.tenants, nothing);
    assert!(!ada.allows("a:read"));
    let envelope = fixture.jobs.seal(&ada, b"").unwrap();
    let job = fixture.open(Some(&envelope)).unwrap();
    assert!(!job.context().allows("a:read"));
    let by_role = context_with(&fixture.tenants, claims("acme", "ada").roles(["admin"]));
    let envelope = fixture.jobs.seal(&by_role, b"").unwrap();
    let job = fixture.open(Some(&envelope)).unwrap();
    assert!(job.context().allows("a:read"));
    // And one that is given nothing has nothing, not what its roles allow.
    let nothing = fixture.jobs.prepare(&by_role).scopes(None::<String>);
    let envelope = nothing.seal(b"").unwrap();
    let job = fixture.open(Some(&envelope));
    assert!(!job.unwrap().context().allows("a:read"));
}
