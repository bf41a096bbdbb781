//! An `Authenticate` whose tokens the test chooses.

use std::{collections::HashMap, fmt, future::poll_fn, sync::Arc, task::Poll};

use http::{HeaderMap, header};
use parking_lot::Mutex;
use tenant_context::{
    Authenticate, CachedRegistry, Claims, Identity, Lookup, Rejection, RequestHead, Resolver,
};

use crate::Gate;

/// Accepts `Authorization: Test <token>` for the tokens it was told, through
/// [`Resolver::resolve`] as every real `Authenticate`. Clones are the same.
///
/// As with a credential cache, requests with one token share one [`Identity`] once it was resolved,
/// so attachments and revocation work as in production.
///
/// | what the request presents | answer |
/// |---|---|
/// | no `Authorization` | [`Rejection::credential_missing`] |
/// | two of them | [`Rejection::malformed`] |
/// | another scheme, an unknown token | [`Rejection::credential_invalid`] |
/// | a known token | its claims, resolved |
///
/// ```
/// use tenant_context::IdentityLayer;
/// use tenant_testkit::{ManualClock, TestAuth, claims, tenants};
///
/// let clock = ManualClock::new();
/// let auth = TestAuth::new(tenants(&["acme"], &clock)).accept("ada", claims("acme", "ada"));
/// let identity = IdentityLayer::builder().build(auth)?;
/// # Ok::<(), tenant_context::ConfigError>(())
/// ```
#[derive(Clone)]
pub struct TestAuth(Arc<Shared>);

struct Shared {
    resolver: Resolver,
    state: Mutex<State>,
    held: Gate,
}

#[derive(Default)]
struct State {
    accepted: HashMap<String, Accepted>,
    decisions: usize,
    pending: bool,
    hold: bool,
}

struct Accepted {
    claims: Claims,
    pending: bool,
    identity: Option<Arc<Identity>>,
}

impl TestAuth {
    /// Knows no token yet; looks tenants up in `tenants`.
    pub fn new(tenants: CachedRegistry) -> Self {
        Self(Arc::new(Shared {
            resolver: Resolver::new(tenants),
            state: Mutex::default(),
            held: Gate::closed(),
        }))
    }

    /// Accepts `token` with these claims, in place of what it stood for.
    #[must_use = "it returns the same `TestAuth`; a clone of it knows the token too"]
    pub fn accept(self, token: &str, claims: Claims) -> Self {
        self.0.accept(token, claims, false);
        self
    }

    /// As [`accept`](Self::accept), but every decision on this token is pending once.
    #[must_use = "it returns the same `TestAuth`; a clone of it knows the token too"]
    pub fn accept_pending(self, token: &str, claims: Claims) -> Self {
        self.0.accept(token, claims, true);
        self
    }

    /// Whether every decision is pending once before it is made: the path of a cache miss.
    #[must_use = "it returns the same `TestAuth`; the setting holds for its clones too"]
    pub fn pending(self, pending: bool) -> Self {
        self.0.state.lock().pending = pending;
        self
    }

    /// Holds every decision from now on, until [`release`](Self::release): a verifier that hangs.
    pub fn hold(&self) {
        self.0.state.lock().hold = true;
    }

    /// Lets the held decisions be made, and holds no more.
    pub fn release(&self) {
        self.0.state.lock().hold = false;
        self.0.held.release();
    }

    /// How many decisions are held: asked for, polled, and not dropped.
    pub fn held(&self) -> usize {
        self.0.held.waiting()
    }

    /// How many decisions were asked for.
    pub fn decisions(&self) -> usize {
        self.0.state.lock().decisions
    }

    /// Revokes what `token` stands for: later requests are refused as `revoked`, streams of earlier
    /// ones end. Nothing happens if no request has presented it yet.
    pub fn revoke(&self, token: &str) {
        if let Some(identity) = self.0.known(token) {
            identity.revoke();
        }
    }

    /// The tenants this looks up.
    pub fn tenants(&self) -> &CachedRegistry {
        self.0.resolver.tenants()
    }
}

impl Authenticate for TestAuth {
    fn authenticate(&self, head: &RequestHead<'_>) -> Lookup<Result<Arc<Identity>, Rejection>> {
        let token = token(head.headers());
        let (pending, hold) = {
            let mut state = self.0.state.lock();
            state.decisions = state.decisions.saturating_add(1);
            let accepted = token
                .as_ref()
                .ok()
                .and_then(|token| state.accepted.get(token));
            let pending = state.pending || accepted.is_some_and(|accepted| accepted.pending);
            (pending, state.hold)
        };
        if !pending && !hold {
            return decide(&self.0, token);
        }
        let shared = Arc::clone(&self.0);
        Lookup::pending(async move {
            if hold {
                shared.held.pass().await;
            } else {
                yield_once().await;
            }
            decide(&shared, token).wait().await
        })
    }
}

fn token(headers: &HeaderMap) -> Result<String, Rejection> {
    let mut lines = headers.get_all(header::AUTHORIZATION).iter();
    let line = match (lines.next(), lines.next()) {
        (None, _) => return Err(Rejection::credential_missing()),
        (Some(line), None) => line,
        (Some(_), Some(_)) => return Err(Rejection::malformed("authorization_repeated")),
    };
    let text = line
        .to_str()
        .map_err(|_| Rejection::malformed("authorization_not_text"))?;
    match text.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("test") => Ok(token.to_owned()),
        _ => Err(Rejection::credential_invalid("scheme")),
    }
}

fn decide(
    shared: &Arc<Shared>,
    token: Result<String, Rejection>,
) -> Lookup<Result<Arc<Identity>, Rejection>> {
    let token = match token {
        Ok(token) => token,
        Err(rejection) => return Lookup::Ready(Err(rejection)),
    };
    if let Some(identity) = shared.known(&token) {
        return Lookup::Ready(Ok(identity));
    }
    let claims = {
        let state = shared.state.lock();
        state
            .accepted
            .get(&token)
            .map(|accepted| accepted.claims.clone())
    };
    let Some(claims) = claims else {
        return Lookup::Ready(Err(Rejection::credential_invalid("token_unknown")));
    };
    let shared = Arc::clone(shared);
    shared
        .resolver
        .resolve(claims.clone())
        .map(move |resolved| Ok(shared.keep(&token, &claims, resolved?)))
}

impl Shared {
    fn accept(&self, token: &str, claims: Claims, pending: bool) {
        let accepted = Accepted {
            claims,
            pending,
            identity: None,
        };
        self.state
            .lock()
            .accepted
            .insert(token.to_owned(), accepted);
    }

    fn known(&self, token: &str) -> Option<Arc<Identity>> {
        let state = self.state.lock();
        state.accepted.get(token)?.identity.clone()
    }

    /// The first identity of a token stays, unless the token has come to stand for something else.
    fn keep(&self, token: &str, claims: &Claims, resolved: Arc<Identity>) -> Arc<Identity> {
        let mut state = self.state.lock();
        match state.accepted.get_mut(token) {
            Some(accepted) if accepted.claims == *claims => {
                Arc::clone(accepted.identity.get_or_insert(resolved))
            }
            _ => resolved,
        }
    }
}

async fn yield_once() {
    let mut yielded = false;
    poll_fn(|cx| {
        if yielded {
            return Poll::Ready(());
        }
        yielded = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

impl fmt::Debug for TestAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.0.state.lock();
        f.debug_struct("TestAuth")
            .field("tokens", &state.accepted.len())
            .field("decisions", &state.decisions)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ManualClock, claims, polls::Polls, tenants};
    use futures_util::FutureExt;
    use http::Request;
    use tenant_context::{RejectionKind, TenantContext};

    fn auth() -> TestAuth {
        TestAuth::new(tenants(&["acme"], &ManualClock::new())).accept("ada", claims("acme", "ada"))
    }

    fn admit(auth: &TestAuth, credentials: &[&str]) -> Lookup<Result<TenantContext, Rejection>> {
        let mut request = Request::builder();
        for credential in credentials {
            request = request.header(header::AUTHORIZATION, *credential);
        }
        let (head, ()) = request.body(()).unwrap().into_parts();
        TenantContext::admit(auth, &RequestHead::new(&head))
    }

    #[test]
    fn every_kind_of_request_gets_its_answer() {
        let auth = auth();
        let kind = |credentials: &[&str]| {
            let decision = admit(&auth, credentials).wait().now_or_never().unwrap();
            decision.map_or_else(|rejection| Some(rejection.kind()), |_| None)
        };
        assert_eq!(kind(&["Test ada"]), None);
        assert_eq!(kind(&["tESt ada"]), None);
        assert_eq!(kind(&[]), Some(RejectionKind::CredentialMissing));
        assert_eq!(kind(&["Test eve"]), Some(RejectionKind::CredentialInvalid));
        assert_eq!(
            kind(&["Bearer ada"]),
            Some(RejectionKind::CredentialInvalid)
        );
        assert_eq!(
            kind(&["Test ada", "Test ada"]),
            Some(RejectionKind::Malformed)
        );
        assert_eq!(auth.decisions(), 6);
    }

    #[test]
    fn a_token_is_one_identity_which_can_be_revoked() {
        let auth = auth();
        let admit = || admit(&auth, &["Test ada"]).wait().now_or_never().unwrap();
        let (first, second) = (admit().unwrap(), admit().unwrap());
        assert!(std::ptr::eq(&raw const *first, &raw const *second));
        auth.revoke("ada");
        assert_eq!(first.check().unwrap_err().reason(), "revoked");
        assert_eq!(admit().unwrap_err().reason(), "revoked");
    }

    #[test]
    fn a_pending_decision_waits_once_and_a_held_one_until_it_is_released() {
        let auth = auth().pending(true);
        let polls = Polls::new();
        let mut pending = Box::pin(admit(&auth, &["Test ada"]).wait());
        assert!(polls.poll(pending.as_mut()).is_pending());
        assert_eq!(polls.woken(), 1);
        assert!(polls.poll(pending.as_mut()).is_ready());

        let auth = auth
            .pending(false)
            .accept_pending("bob", claims("acme", "bob"));
        assert!(matches!(admit(&auth, &["Test ada"]), Lookup::Ready(Ok(_))));
        assert!(matches!(admit(&auth, &["Test bob"]), Lookup::Pending(_)));

        auth.hold();
        let polls = Polls::new();
        let mut held = Box::pin(admit(&auth, &["Test ada"]).wait());
        assert!(polls.poll(held.as_mut()).is_pending());
        assert_eq!((auth.held(), polls.woken()), (1, 0));
        auth.release();
        assert_eq!((auth.held(), polls.woken()), (0, 1));
        assert!(polls.poll(held.as_mut()).is_ready());
    }
}
