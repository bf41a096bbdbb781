//! The identity layer under a flood of bad credentials.

use std::{net::SocketAddr, sync::Arc};

use http::{HeaderValue, Request, Response, StatusCode, header::AUTHORIZATION};
use http_body::Body;
use tenant_auth::{FailureBudget, Issuer};
use tenant_context::{PeerAddress, TenantStack};
use tower_layer::Layer;
use tower_service::Service;

use super::{Definition, Shared, noop::Noop, stack};
use crate::{
    Result,
    drive::{self, Tally},
    request::{RequestBody, Requests},
    row::{Row, Work},
    token::{AUDIENCE, Algorithm, ISSUER},
};

/// Bad `EdDSA` tokens, each another, from one address whose budget is spent, through render and identity. A good one
/// from elsewhere is served meanwhile, or there is no row.
pub(super) fn after_budget(definition: &'static Definition, shared: &Arc<Shared>) -> Result<Row> {
    let token = shared.tokens.token(Algorithm::EdDsa)?;
    let issuer = Issuer::new(ISSUER)
        .audience(AUDIENCE)
        .key(stack::verifying_key(&shared.tokens, Algorithm::EdDsa)?);
    let identity = tenant_auth::layer(stack::tenants()?)
        .jwt(issuer)
        .failure_budget(FailureBudget::per_minute(1).burst(16))
        .build()?;
    let service = TenantStack::new().identity(identity).layer(Noop);
    let mut flood = Flood {
        service,
        requests: Requests::bearing(&token)?,
        bad: bad_tokens(&token)?,
        next: 0,
        prepared: Vec::new(),
        tally: Tally::default(),
    };
    flood.prepare(16);
    flood.run();
    flood.tally = Tally::default();
    let mut elsewhere = Tally::default();
    let mut good = flood.requests.make();
    let customer: SocketAddr = ([198, 51, 100, 1], 4711).into();
    good.extensions_mut().insert(PeerAddress::new(customer));
    drive::answer(&mut flood.service, good, &mut elsewhere);
    if elsewhere != Tally::default() {
        return Err(format!("a good token from elsewhere was refused: {elsewhere:?}").into());
    }
    Ok(definition.row(flood))
}

struct Flood<S> {
    service: S,
    requests: Requests,
    bad: Vec<HeaderValue>,
    next: usize,
    prepared: Vec<Request<RequestBody>>,
    /// Those that were answered with anything but 429, or 401 when the budget has grown by one.
    tally: Tally,
}

impl<S, R> Work for Flood<S>
where
    S: Service<Request<RequestBody>, Response = Response<R>>,
    R: Body,
{
    fn prepare(&mut self, operations: usize) {
        let attacker: SocketAddr = ([192, 0, 2, 66], 4711).into();
        for _ in 0..operations {
            let mut request = self.requests.make();
            if let Some(token) = self.bad.get(self.next) {
                request.headers_mut().insert(AUTHORIZATION, token.clone());
            }
            self.next = self.next.saturating_add(1);
            if self.next >= self.bad.len() {
                self.next = 0;
            }
            request.extensions_mut().insert(PeerAddress::new(attacker));
            self.prepared.push(request);
        }
    }

    fn run(&mut self) {
        for request in self.prepared.drain(..) {
            let mut met = Tally::default();
            drive::answer(&mut self.service, request, &mut met);
            let expected = matches!(
                met.status,
                Some(StatusCode::TOO_MANY_REQUESTS | StatusCode::UNAUTHORIZED)
            );
            if !expected {
                self.tally.refused = self.tally.refused.saturating_add(1);
                self.tally.status = met.status.or(self.tally.status);
            }
        }
    }

    fn tally(&self) -> Tally {
        self.tally
    }

    fn largest_batch(&self) -> usize {
        64
    }
}

/// The token under 4096 signatures, none of them its own.
fn bad_tokens(token: &str) -> Result<Vec<HeaderValue>> {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let (signed, signature) = token.rsplit_once('.').ok_or("the token has no signature")?;
    let rest = signature.get(3..).ok_or("the signature is too short")?;
    let third = if signature.as_bytes().get(2) == Some(&b'A') {
        'B'
    } else {
        'A'
    };
    let mut bad = Vec::with_capacity(4096);
    for one in ALPHABET {
        for two in ALPHABET {
            let (one, two) = (char::from(*one), char::from(*two));
            let value = format!("Bearer {signed}.{one}{two}{third}{rest}");
            bad.push(HeaderValue::try_from(value)?);
        }
    }
    Ok(bad)
}
