//! Identities through the real door.

use futures_util::FutureExt;
use http::{Request, header};
use tenant_context::{
    CachedRegistry, Claims, MemoryRegistry, Principal, PrincipalId, RequestHead, TenantContext,
    TenantId, TenantRecord, UnixTime,
};

use crate::{ManualClock, TestAuth};

/// Active tenants on plan `pro`, in a cache with the default bounds that runs on `clock`, timer
/// included.
///
/// # Panics
///
/// If an id is not a [`TenantId`].
#[track_caller]
pub fn tenants(ids: &[&str], clock: &ManualClock) -> CachedRegistry {
    let registry = MemoryRegistry::new();
    for id in ids {
        registry.insert(TenantRecord::new(tenant_id(id)).plan("pro"));
    }
    let builder = CachedRegistry::builder(registry)
        .clock(clock.clone())
        .timer(clock.clone());
    builder
        .build()
        .unwrap_or_else(|error| panic!("the default bounds are valid: {error}"))
}

/// Claims of a human without scopes or roles, until the year 2096.
///
/// # Panics
///
/// If an id is not valid.
#[track_caller]
pub fn claims(tenant: &str, principal: &str) -> Claims {
    let principal = PrincipalId::parse(principal)
        .unwrap_or_else(|error| panic!("principal {principal:?}: {error}"));
    Claims::new(
        tenant_id(tenant),
        Principal::human(principal),
        UnixTime::from_secs(4_000_000_000),
    )
}

/// The context of a human of this tenant, admitted by a [`TestAuth`].
///
/// # Panics
///
/// If an id is not valid, the tenant is refused, or its look-up has to wait.
#[track_caller]
pub fn context(tenants: &CachedRegistry, tenant: &str, principal: &str) -> TenantContext {
    context_with(tenants, claims(tenant, principal))
}

/// The context of a credential with these claims, admitted by a [`TestAuth`].
///
/// # Panics
///
/// If the claims are refused, or their tenant's look-up has to wait.
#[track_caller]
pub fn context_with(tenants: &CachedRegistry, claims: Claims) -> TenantContext {
    let tenant = claims.tenant.clone();
    let auth = TestAuth::new(tenants.clone()).accept("context", claims);
    let mut request = Request::new(());
    request.headers_mut().insert(
        header::AUTHORIZATION,
        http::HeaderValue::from_static("Test context"),
    );
    let (head, ()) = request.into_parts();
    match TenantContext::admit(&auth, &RequestHead::new(&head))
        .wait()
        .now_or_never()
    {
        Some(Ok(context)) => context,
        Some(Err(rejection)) => panic!("no context of tenant {tenant}: {rejection:?}"),
        None => panic!(
            "no context of tenant {tenant}: its registry makes the look-up wait; poll `TenantContext::admit` yourself"
        ),
    }
}

#[track_caller]
fn tenant_id(id: &str) -> TenantId {
    TenantId::parse(id).unwrap_or_else(|error| panic!("tenant {id:?}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tenant_context::EndReason;

    #[test]
    fn a_context_ends_as_in_production() {
        let clock = ManualClock::new();
        let tenants = tenants(&["acme"], &clock);
        let mut short = claims("acme", "ada");
        short.expires_at = ManualClock::START.saturating_add(std::time::Duration::from_secs(60));
        let ada = context_with(&tenants, short);
        assert_eq!(&*ada.tenant().plan(), "pro");
        clock.advance(std::time::Duration::from_secs(60));
        assert_eq!(ada.ended().now_or_never(), Some(EndReason::Expired));
        let bob = context(&tenants, "acme", "bob");
        tenants.suspend(bob.tenant_id());
        assert_eq!(bob.ended().now_or_never(), Some(EndReason::Suspended));
    }

    #[test]
    #[should_panic(expected = "no context of tenant globex")]
    fn there_is_no_context_of_an_unknown_tenant() {
        let clock = ManualClock::new();
        context(&tenants(&["acme"], &clock), "globex", "eve");
    }
}
