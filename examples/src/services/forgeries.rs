//! What must not be let in, presented to `billing` over HTTP and gRPC.

use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use tenant_auth::{NewToken, PrincipalKind, TokenMinter};
use tenant_context::{BoxError, Clock, SystemClock};
use tonic::{
    Code, Request,
    metadata::{AsciiMetadataValue, MetadataKey},
};

use crate::{
    Addresses, BILLING, ORDERS, client, orders,
    proto::{ChargeRequest, charges_client::ChargesClient},
};

/// One credential, and both answers to it.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) presented: &'static str,
    pub(crate) http: u16,
    pub(crate) grpc: i32,
    pub(crate) expected: (u16, i32),
}

const REFUSED: (u16, i32) = (401, Code::Unauthenticated as i32);
const FORBIDDEN: (u16, i32) = (403, Code::PermissionDenied as i32);

/// A token as `orders` mints them for ada.
fn good(tenant: &str) -> NewToken {
    NewToken::new(ORDERS, BILLING, tenant, "ada")
        .act(PrincipalKind::Service, "orders")
        .scopes(["charges:write"])
        .expires_in(Duration::from_secs(300))
}

struct Forgery {
    presented: &'static str,
    token: Option<String>,
    claimed: Option<&'static str>,
    expected: (u16, i32),
}

fn forgeries(minter: &TokenMinter) -> Result<Vec<Forgery>, BoxError> {
    let clock = SystemClock::new();
    let mint = |token: &NewToken| minter.mint(token, &clock);
    let impostor = TokenMinter::eddsa_generate("2026-01")?;
    let users = TokenMinter::eddsa_generate("users")?;
    let genuine = mint(&good("acme"))?;
    let other = mint(&good("globex"))?;
    // The claims of one token under the signature of another.
    let parts = |token: &str| token.split('.').map(ToOwned::to_owned).collect::<Vec<_>>();
    let (genuine_parts, other_parts) = (parts(&genuine), parts(&other));
    let spliced = [&genuine_parts, &other_parts, &genuine_parts]
        .into_iter()
        .enumerate()
        .filter_map(|(at, token)| token.get(at).cloned())
        .collect::<Vec<_>>()
        .join(".");
    let unsigned = minter.mint_raw(r#"{"alg":"none"}"#, "")?;
    let unsigned = [parts(&unsigned).first(), genuine_parts.get(1)]
        .into_iter()
        .flatten()
        .cloned()
        .collect::<Vec<_>>()
        .join(".");
    let past = clock.unix().as_secs().saturating_sub(600);
    let expired = mint(&good("acme").claim("exp", past))?;
    let elsewhere = NewToken::new(ORDERS, "shipping", "acme", "ada").scopes(["charges:write"]);
    let reading = NewToken::new(ORDERS, BILLING, "acme", "ada").scopes(["charges:read"]);

    let row = |presented, token: Option<String>, expected| Forgery {
        presented,
        token,
        claimed: None,
        expected,
    };
    let claimed = |presented, token: &str, tenant, expected| Forgery {
        presented,
        token: Some(token.to_owned()),
        claimed: Some(tenant),
        expected,
    };
    Ok(vec![
        // What is no forgery, so that the rows can be told from a service that refuses everything.
        row(
            "orders' token, as it was minted",
            Some(genuine.clone()),
            (200, 0),
        ),
        claimed(
            "the same, and the same tenant in metadata",
            &genuine,
            "acme",
            (200, 0),
        ),
        row("nothing", None, REFUSED),
        row(
            "the user's own token, passed on",
            Some(orders::users_token(&users)?),
            REFUSED,
        ),
        row(
            "a token for another service",
            Some(mint(&elsewhere)?),
            REFUSED,
        ),
        row(
            "a token of another key of the same name",
            Some(impostor.mint(&good("acme"), &clock)?),
            REFUSED,
        ),
        row(
            "globex's claims under acme's signature",
            Some(spliced),
            REFUSED,
        ),
        row("a token without a signature", Some(unsigned), REFUSED),
        row("a token that has expired", Some(expired), REFUSED),
        row(
            "a tenant that does not exist",
            Some(mint(&good("nobody"))?),
            REFUSED,
        ),
        row(
            "a tenant that is suspended",
            Some(mint(&good("initech"))?),
            FORBIDDEN,
        ),
        row(
            "a token for another operation",
            Some(mint(&reading)?),
            FORBIDDEN,
        ),
        claimed(
            "acme's token, and globex in metadata",
            &genuine,
            "globex",
            FORBIDDEN,
        ),
    ])
}

/// Sends each over both.
pub(crate) async fn send(billing: Addresses, minter: &TokenMinter) -> Result<Vec<Row>, BoxError> {
    let (http, channel) = (client::http(), client::grpc(billing)?);
    let mut rows = Vec::new();
    for forgery in forgeries(minter)? {
        let mut headers = HeaderMap::new();
        if let Some(token) = &forgery.token {
            let value = HeaderValue::try_from(format!("Bearer {token}"))?;
            headers.insert(header::AUTHORIZATION, value);
        }
        if let Some(tenant) = forgery.claimed {
            let name = HeaderName::from_static("x-tenant-id");
            headers.insert(name, HeaderValue::from_static(tenant));
        }
        let mut call = Request::new(ChargeRequest { cents: 1200 });
        for (name, value) in &headers {
            let name = MetadataKey::from_bytes(name.as_str().as_bytes())?;
            let value = AsciiMetadataValue::try_from(value.as_bytes())?;
            call.metadata_mut().insert(name, value);
        }
        let answer = http.request(client::charge(billing, headers)?).await?;
        let code = match ChargesClient::new(channel.clone()).charge(call).await {
            Ok(_) => Code::Ok,
            Err(status) => status.code(),
        };
        rows.push(Row {
            presented: forgery.presented,
            http: answer.status().as_u16(),
            grpc: code as i32,
            expected: forgery.expected,
        });
    }
    Ok(rows)
}
