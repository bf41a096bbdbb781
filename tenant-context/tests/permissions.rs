//! Scopes, roles, prefixes and owners: what a context allows.

#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;

use futures_util::FutureExt;
use http::HeaderValue;
use parking_lot::Mutex;
use proptest::{collection::vec, prelude::*};
use tenant_context::{
    Authorize, CachedRegistry, Claims, ForTenant, Lookup, MemoryRegistry, Principal, PrincipalId,
    Protocol, Rejection, RejectionKind, RoleGrants, RoleMapping, Roles, TenantContext, TenantId,
    TenantRecord, TenantScoped, TenantState, scope_covers,
};
use tenant_testkit::{ManualClock, claims, context_with};

fn tenants(roles: impl RoleMapping) -> CachedRegistry {
    let registry = MemoryRegistry::new();
    for id in ["acme", "globex"] {
        registry.insert(TenantRecord::new(TenantId::parse(id).unwrap()));
    }
    CachedRegistry::builder(registry)
        .clock(ManualClock::new())
        .roles(roles)
        .build()
        .unwrap()
}

fn ready() -> CachedRegistry {
    tenants(Roles::ready())
}

fn holder(roles: &[&str]) -> Claims {
    claims("acme", "ada").roles(roles.iter().copied())
}

fn human(id: &str) -> Principal {
    Principal::human(PrincipalId::parse(id).unwrap())
}

fn ada() -> Principal {
    human("ada")
}

fn bot() -> Principal {
    Principal::agent(PrincipalId::parse("bot").unwrap())
}

#[test]
fn the_ready_roles_allow_what_their_table_says() {
    let tenants = ready();
    let allows = |role: &str, scope: &str| context_with(&tenants, holder(&[role])).allows(scope);
    for (role, scope, allowed) in [
        ("admin", "billing:write", true),
        ("admin", "*", true),
        ("developer", "invoices:write", true),
        ("developer", "invoices:delete", false),
        ("developer", "billing:read", false),
        ("developer", "billing:write", false),
        ("developer", "*:read", false),
        ("viewer", "billing:read", true),
        ("viewer", "invoices:write", false),
        ("agent", "invoices:read", false),
        ("Admin", "invoices:read", false),
        ("root", "invoices:read", false),
    ] {
        assert_eq!(allows(role, scope), allowed, "{role} {scope}");
    }
}

#[test]
fn an_agent_has_what_its_credential_names_and_nothing_of_a_role() {
    let tenants = ready();
    let limited = holder(&["agent"]).scopes(["invoices:read"]);
    let agent = context_with(&tenants, limited);
    assert!(agent.allows("invoices:read"));
    assert!(!agent.allows("invoices:write"));

    // An admin's agent is no admin.
    let acting = context_with(&tenants, holder(&["admin"]).actor(bot()));
    assert!(!acting.allows("invoices:read"));
    assert!(acting.require_role("admin").is_err());
    let mut own = holder(&["admin"]);
    own.principal = bot();
    let own = context_with(&tenants, own);
    assert!(!own.allows("invoices:read"));
    assert!(own.require_role("admin").is_err());
}

#[test]
fn a_credential_limited_to_nothing_is_not_widened_to_its_roles() {
    let tenants = ready();
    assert!(context_with(&tenants, holder(&["admin"])).allows("invoices:read"));
    let nothing = holder(&["admin"]).scopes(None::<String>);
    assert!(!context_with(&tenants, nothing).allows("invoices:read"));
}

#[test]
fn admin_of_one_tenant_is_nothing_in_another() {
    let acme = TenantId::parse("acme").unwrap();
    let roles = Roles::none()
        .role("clerk", RoleGrants::new(["invoices:read"]))
        .tenant_role(&acme, "admin", RoleGrants::new(["*"]))
        .tenant_role(&acme, "clerk", RoleGrants::new(["invoices:*"]));
    let tenants = tenants(roles);
    let as_role =
        |tenant: &str, role: &str| context_with(&tenants, claims(tenant, "ada").roles([role]));
    assert!(as_role("acme", "admin").allows("users:delete"));
    assert!(!as_role("globex", "admin").allows("users:delete"));
    assert!(as_role("acme", "clerk").allows("invoices:write"));
    assert!(!as_role("globex", "clerk").allows("invoices:write"));
    assert!(as_role("globex", "clerk").allows("invoices:read"));
}

#[test]
fn a_change_of_a_role_holds_for_the_next_decision() {
    struct Changing(Arc<Mutex<Option<Arc<RoleGrants>>>>);
    impl RoleMapping for Changing {
        fn grants(&self, _: &TenantState, _: &str) -> Option<Arc<RoleGrants>> {
            self.0.lock().clone()
        }
    }
    let grants = Arc::new(Mutex::new(Some(Arc::new(RoleGrants::new(["*"])))));
    let tenants = tenants(Changing(Arc::clone(&grants)));
    let context = context_with(&tenants, holder(&["any"]));
    assert!(context.require("invoices:read").is_ok());
    *grants.lock() = None;
    assert!(context.require("invoices:read").is_err());
}

#[test]
fn a_403_names_all_scopes_that_are_needed() {
    let context = context_with(&ready(), claims("acme", "ada").scopes(["a:read"]));
    let refused = context.require_all(["a:read", "b:write"]).unwrap_err();
    assert_eq!(refused.kind(), RejectionKind::InsufficientScope);
    assert_eq!(refused.reason(), "scope");
    let response = refused.to_response(Protocol::Http);
    assert_eq!(response.status(), 403);
    let challenge = HeaderValue::from_static(
        r#"Bearer realm="api", error="insufficient_scope", scope="a:read b:write""#,
    );
    assert_eq!(response.headers()["www-authenticate"], challenge);
    assert!(context.require_all(["a:read"]).is_ok());
}

#[test]
fn a_context_that_has_ended_allows_nothing() {
    let context = context_with(&ready(), holder(&["admin"]));
    assert!(context.require("a:read").is_ok());
    context.revoke();
    assert_eq!(context.require("a:read").unwrap_err().reason(), "revoked");
    assert_eq!(
        context.require_role("admin").unwrap_err().reason(),
        "revoked"
    );
    assert_eq!(
        context.require_owner(&ada()).unwrap_err().reason(),
        "revoked"
    );
    assert_eq!(
        context.require_resource("x").unwrap_err().reason(),
        "revoked"
    );
}

fn answer(rejection: &Rejection) -> String {
    let response = rejection.to_response(Protocol::Http);
    format!("{} {:?}", response.status(), response.headers())
}

#[test]
fn i12_another_prefix_another_owner_and_a_missing_resource_are_one_404() {
    let tenants = ready();
    let mut limited = claims("acme", "ada");
    limited.resource_prefix = Some("projects/7".to_owned());
    let (limited, free) = (
        context_with(&tenants, limited),
        context_with(&tenants, claims("acme", "ada")),
    );
    let acme = || TenantScoped::new(TenantId::parse("acme").unwrap(), 17);
    let missing = None::<TenantScoped<u32>>.for_tenant(&free).unwrap_err();

    assert_eq!(acme().at("projects/7/a").for_tenant(&limited).unwrap(), 17);
    assert_eq!(acme().for_tenant(&free).unwrap(), 17);
    assert!(limited.require_resource("projects/7/a").is_ok());
    assert!(free.require_resource("anything").is_ok());
    for (refused, reason) in [
        (
            acme().at("projects/77").for_tenant(&limited).unwrap_err(),
            "resource_prefix",
        ),
        (acme().for_tenant(&limited).unwrap_err(), "resource_prefix"),
        (
            limited.require_resource("projects/77").unwrap_err(),
            "resource_prefix",
        ),
        (acme().for_owner(&free).unwrap_err(), "owner"),
        (
            acme().of(human("eve")).for_owner(&free).unwrap_err(),
            "owner",
        ),
        (free.require_owner(&human("eve")).unwrap_err(), "owner"),
        (
            None::<TenantScoped<u32>>.for_owner(&free).unwrap_err(),
            "not_found",
        ),
    ] {
        assert_eq!(refused.reason(), reason);
        assert_eq!(answer(&refused), answer(&missing));
    }

    assert_eq!(acme().of(ada()).for_owner(&free).unwrap(), 17);
    assert!(free.require_owner(&ada()).is_ok());
    let foreign = TenantScoped::new(TenantId::parse("globex").unwrap(), 17).of(ada());
    assert_eq!(
        foreign.for_owner(&free).unwrap_err().reason(),
        "cross_tenant"
    );
}

#[test]
fn an_agent_and_a_service_of_a_persons_id_do_not_own_what_is_hers() {
    let tenants = ready();
    let draft = || TenantScoped::new(TenantId::parse("acme").unwrap(), 17).of(ada());
    let is_owner = |principal: Principal| {
        let mut claims = claims("acme", "ada");
        claims.principal = principal;
        let context = context_with(&tenants, claims);
        let (required, loaded) = (context.require_owner(&ada()), draft().for_owner(&context));
        assert_eq!(required.is_ok(), loaded.is_ok());
        for refused in [required.err(), loaded.err()].into_iter().flatten() {
            assert_eq!(refused.reason(), "owner");
        }
        context.require_owner(&ada()).is_ok()
    };
    let id = || ada().id().clone();
    assert!(is_owner(Principal::human(id())));
    assert!(!is_owner(Principal::agent(id())));
    assert!(!is_owner(Principal::service(id())));

    // Whoever acts for her reaches what is hers; she does not own what her agent of the same id does.
    let acting = context_with(
        &tenants,
        claims("acme", "ada").actor(Principal::agent(id())),
    );
    assert!(acting.require_owner(&ada()).is_ok());
    assert!(acting.require_owner(&Principal::agent(id())).is_err());
}

#[test]
fn a_policy_narrows_and_is_asked_of_a_living_context_only() {
    struct Policy(TenantContext);
    impl Authorize for Policy {
        fn authorize(
            &self,
            tenant: &TenantContext,
            action: &str,
            resource: &str,
        ) -> Lookup<Result<(), Rejection>> {
            assert_eq!((tenant.tenant_id().as_str(), action), ("acme", "edit"));
            let (resource, other) = (resource.to_owned(), self.0.clone());
            Lookup::pending(async move {
                match resource.as_str() {
                    "mine" => Ok(()),
                    "slow" => {
                        other.revoke();
                        Ok(())
                    }
                    _ => Err(Rejection::not_found()),
                }
            })
        }
    }
    let context = context_with(&ready(), claims("acme", "ada"));
    let policy = Policy(context.clone());
    let ask = |resource| {
        context
            .authorize(&policy, "edit", resource)
            .now_or_never()
            .unwrap()
    };
    assert!(ask("mine").is_ok());
    assert_eq!(ask("other").unwrap_err().kind(), RejectionKind::NotFound);
    assert_eq!(
        ask("slow").unwrap_err().reason(),
        "revoked",
        "revoked while the policy decided"
    );
    assert_eq!(ask("mine").unwrap_err().reason(), "revoked");
}

fn pattern() -> impl Strategy<Value = String> {
    let segment = prop_oneof![
        Just("a"),
        Just("b"),
        Just("billing"),
        Just("read"),
        Just("write"),
        Just("*")
    ];
    vec(segment, 1..4).prop_map(|segments| segments.join(":"))
}

#[test]
fn a_token_for_less_than_a_role_allows_is_not_in_that_role() {
    let roles = Roles::ready()
        .role("founder", RoleGrants::only_the_credentials())
        .role("nothing", RoleGrants::new(None::<&str>));
    let tenants = tenants(roles);
    let acts = |role: &str, scopes: Option<&[&str]>| {
        let mut claims = holder(&[role]);
        if let Some(scopes) = scopes {
            claims = claims.scopes(scopes.iter().copied());
        }
        context_with(&tenants, claims).require_role(role).is_ok()
    };
    for (role, scopes, expected) in [
        ("admin", None, true),
        ("admin", Some(&["*"][..]), true),
        ("admin", Some(&["invoices:read"]), false),
        ("admin", Some(&["*:read", "*:write"]), false),
        ("admin", Some(&[]), false),
        ("developer", Some(&["*:read", "*:write"]), true),
        ("developer", Some(&["*:read"]), false),
        ("viewer", Some(&["*:read", "extra"]), true),
        // Of a role that is not known nobody can say what is left of it.
        ("unknown", None, true),
        ("unknown", Some(&["*"]), false),
        ("nothing", None, true),
        ("nothing", Some(&["*"]), false),
        ("founder", Some(&["invoices:read"]), true),
    ] {
        assert_eq!(acts(role, scopes), expected, "{role} {scopes:?}");
    }
    let refused = context_with(&tenants, holder(&["admin"]).scopes(["a:read"]));
    let refused = refused.require_any_role(["viewer", "admin"]).unwrap_err();
    assert_eq!((refused.status().as_u16(), refused.reason()), (403, "role"));
}

proptest! {
    #[test]
    fn whoever_passes_as_a_role_may_do_all_that_it_allows(
        scopes in proptest::option::of(vec(pattern(), 0..4)),
        roles in vec(prop_oneof![Just("admin"), Just("developer"), Just("agent"), Just("viewer"), Just("unknown")], 1..4),
        acting in any::<bool>(),
        needed in vec(pattern(), 8),
    ) {
        let tenants = ready();
        let mut claims = holder(&roles);
        if let Some(scopes) = &scopes {
            claims = claims.scopes(scopes.clone());
        }
        if acting {
            claims = claims.actor(bot());
        }
        let context = context_with(&tenants, claims);
        for role in roles.iter().filter(|role| context.require_role(role).is_ok()) {
            let whole = context_with(&tenants, holder(&[role]));
            for needed in needed.iter().map(String::as_str).chain(["*", "*:read", "*:write", "a:b", "a:read"]) {
                prop_assert!(!whole.allows(needed) || context.allows(needed), "{} {}", role, needed);
            }
        }
    }

    #[test]
    fn a_role_never_widens_a_tokens_scopes(
        scopes in vec(pattern(), 0..4),
        roles in vec(prop_oneof![Just("admin"), Just("developer"), Just("agent"), Just("viewer"), Just("unknown")], 0..4),
        needed in pattern(),
    ) {
        let tenants = ready();
        let limited = claims("acme", "ada").scopes(scopes.clone());
        let without = context_with(&tenants, limited.clone());
        let with = context_with(&tenants, limited.roles(roles.clone()));
        let named = scopes.iter().any(|held| scope_covers(held, &needed));
        prop_assert_eq!(without.allows(&needed), named);
        prop_assert!(!with.allows(&needed) || named, "{:?} {:?} {}", scopes, roles, needed);
        if with.allows(&needed) && !roles.is_empty() {
            // And the roles allow it too.
            let by_role = context_with(&tenants, claims("acme", "ada").roles(roles.clone()));
            prop_assert!(by_role.allows(&needed) || roles.contains(&"agent"));
        }
    }
}
