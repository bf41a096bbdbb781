//! The host as a signal: a credential of `acme` is admitted at its host, and at nothing that another reader could take
//! for another's.

#![no_main]

use std::{
    pin::pin,
    sync::OnceLock,
    task::{Context, Poll, Waker},
};

use http::{HeaderValue, Request, Uri, header::HOST};
use tenant_auth::{
    Authenticated, ApiKeys, CachedRegistry, MemoryRegistry, NewApiKey, Principal, PrincipalId,
    Subdomain, TenantContext, TenantId, TenantRecord,
};
use tenant_context::RequestHead;

const DOMAIN: &str = "saas.example.com";

fn service() -> &'static (Authenticated, String) {
    static SERVICE: OnceLock<(Authenticated, String)> = OnceLock::new();
    SERVICE.get_or_init(|| {
        let acme = TenantId::parse("acme").expect("an id");
        let registry = MemoryRegistry::new();
        registry.insert(TenantRecord::new(acme.clone()));
        let tenants = CachedRegistry::builder(registry).build().expect("a registry");
        let keys = ApiKeys::in_memory("sk", "live", [7; 32]).expect("a store");
        let ci = Principal::service(PrincipalId::parse("ci").expect("an id"));
        let mut issuing = pin!(keys.issue(NewApiKey::new(acme, ci)));
        let Poll::Ready(Ok((secret, _))) = issuing.as_mut().poll(&mut Context::from_waker(Waker::noop())) else {
            panic!("a store in memory answers at once");
        };
        let auth = tenant_auth::layer(tenants)
            .api_keys(keys.clone())
            .subdomain(Subdomain::of(DOMAIN))
            .authenticate()
            .expect("a layer");
        (auth, secret.expose().to_owned())
    })
}

/// What else reads hosts: lower case, without port, without the root's dot.
fn normalised(host: &str) -> String {
    let (name, port) = host.rsplit_once(':').unwrap_or((host, "0"));
    assert!(port.parse::<u16>().is_ok(), "{host:?}");
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    // A line each: the authority, then `Host` lines.
    let mut lines = bytes.split(|byte| *byte == b'\n');
    let authority = lines.next().unwrap_or_default();
    let (auth, key) = service();
    let mut request = Request::new(());
    request.headers_mut().insert("x-api-key", HeaderValue::from_str(key).expect("ASCII"));
    let mut named = Vec::new();
    if !authority.is_empty() {
        let uri = std::str::from_utf8(authority).ok().and_then(|text| {
            Uri::builder().scheme("https").authority(text).path_and_query("/").build().ok()
        });
        let Some(uri) = uri else {
            return;
        };
        named.push(uri.authority().expect("it was given").as_str().to_owned());
        *request.uri_mut() = uri;
    }
    for line in lines.take(3) {
        let Ok(value) = HeaderValue::from_bytes(line) else {
            continue;
        };
        named.push(String::from_utf8_lossy(value.as_bytes()).into_owned());
        request.headers_mut().append(HOST, value);
    }
    let (head, ()) = request.into_parts();
    let head = RequestHead::new(&head);
    let decision = pin!(TenantContext::admit(auth, &head).wait())
        .poll(&mut Context::from_waker(Waker::noop()));
    let Poll::Ready(decision) = decision else {
        panic!("the registry answers at once");
    };
    let acme = format!("acme.{DOMAIN}");
    match decision {
        Ok(_) => {
            assert!(!named.is_empty() && named.len() <= 2, "{named:?}");
            for host in &named {
                assert_eq!(normalised(host), acme, "{named:?}");
            }
        }
        Err(rejection) => {
            assert!(matches!(rejection.status().as_u16(), 400 | 403), "{rejection:?}");
            // The host itself, and nothing else, is never refused.
            assert!(named != [acme.as_str()], "{named:?}");
        }
    }
});
