//! Tokens minted, delegated, and what the signature alone takes.

use std::{hint::black_box, sync::Arc, time::Duration};

use aws_lc_rs::{
    encoding::{AsDer, Pkcs8V1Der},
    rand::SystemRandom,
    rsa::KeySize,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
    },
};
use base64::{Engine, engine::general_purpose::STANDARD};
use futures_util::FutureExt;
use http::Request;
use tenant_auth::{
    AccessToken, Delegation, Principal, PrincipalId, SigningKey, TenantContext, TenantId,
    TokenIssuer,
};
use tenant_context::RequestHead;

use super::{Definition, Shared, stack};
use crate::{
    Result,
    drive::Tally,
    row::{Operation, Row, Work},
    token::{AUDIENCE, ISSUER, TENANT},
};

/// About the bytes of a minted token before its signature.
const SIGNED: [u8; 400] = [b'x'; 400];

fn issuer(key: SigningKey) -> Result<TokenIssuer> {
    Ok(TokenIssuer::builder(ISSUER, AUDIENCE).key(key).build()?)
}

fn rs256_key() -> Result<SigningKey> {
    let der: Pkcs8V1Der<'_> = RsaKeyPair::generate(KeySize::Rsa2048)?.as_der()?;
    let encoded = STANDARD.encode(der.as_ref());
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{encoded}\n-----END PRIVATE KEY-----\n");
    Ok(SigningKey::rs256_pem("bench", pem)?)
}

fn mint(definition: &'static Definition, key: SigningKey) -> Result<Row> {
    let issuer = issuer(key)?;
    let ada = Principal::human(PrincipalId::parse("ada")?);
    let token =
        AccessToken::new(TenantId::parse(TENANT)?, ada).scopes(["invoices:read", "invoices:write"]);
    Ok(definition.row(Operation::new(move || issuer.access_token(&token).is_ok())))
}

pub(super) fn eddsa(definition: &'static Definition, _: &Arc<Shared>) -> Result<Row> {
    mint(definition, SigningKey::eddsa_generate("bench")?)
}

pub(super) fn es256(definition: &'static Definition, _: &Arc<Shared>) -> Result<Row> {
    mint(definition, SigningKey::es256_generate("bench")?)
}

pub(super) fn rs256(definition: &'static Definition, _: &Arc<Shared>) -> Result<Row> {
    mint(definition, rs256_key()?)
}

/// Whoever holds this token, by the one door there is.
fn context(issuer: &TokenIssuer) -> Result<TenantContext> {
    let ada = Principal::human(PrincipalId::parse("ada")?);
    let token = AccessToken::new(TenantId::parse(TENANT)?, ada)
        .scopes(["invoices:*", "reports:create"])
        .ttl(TokenIssuer::MAX_TTL);
    let token = issuer.access_token(&token)?;
    let door = tenant_auth::layer(stack::tenants()?)
        .jwt(issuer.as_issuer())
        .authenticate()?;
    let request = Request::builder().header("authorization", format!("Bearer {}", token.expose()));
    let (head, ()) = request.body(())?.into_parts();
    let admitted = TenantContext::admit(&door, &RequestHead::new(&head)).wait();
    let admitted = admitted.now_or_never();
    Ok(admitted.ok_or("the tenant is in memory")??)
}

fn delegation() -> Result<(TokenIssuer, TenantContext, Delegation)> {
    let issuer = issuer(SigningKey::eddsa_generate("bench")?)?;
    let context = context(&issuer)?;
    let delegation = Delegation::to(Principal::agent(PrincipalId::parse("reader")?))
        .scopes(["invoices:read"])
        .ttl(Duration::from_secs(60))
        .purpose("monthly report");
    Ok((issuer, context, delegation))
}

/// Each delegation is minted from an order of its own, made before as requests are.
struct Delegations {
    issuer: TokenIssuer,
    context: TenantContext,
    order: Delegation,
    prepared: Vec<Delegation>,
    tally: Tally,
}

impl Work for Delegations {
    fn prepare(&mut self, operations: usize) {
        self.prepared = vec![self.order.clone(); operations];
    }

    fn run(&mut self) {
        for order in self.prepared.drain(..) {
            let minted = black_box(self.issuer.delegate(&self.context, order));
            self.tally.refused = self.tally.refused.saturating_add(minted.is_err().into());
        }
    }

    fn tally(&self) -> Tally {
        self.tally
    }

    fn largest_batch(&self) -> usize {
        64
    }
}

pub(super) fn delegate(definition: &'static Definition, _: &Arc<Shared>) -> Result<Row> {
    let (issuer, context, order) = delegation()?;
    Ok(definition.row(Delegations {
        issuer,
        context,
        order,
        prepared: Vec::new(),
        tally: Tally::default(),
    }))
}

/// A signature hashes what it signs twice: its cost grows with the token.
pub(super) fn sign_delegated(definition: &'static Definition, _: &Arc<Shared>) -> Result<Row> {
    let (issuer, context, delegation) = delegation()?;
    let token = issuer.delegate(&context, delegation)?;
    let (signed, _) = token.expose().rsplit_once('.').ok_or("a token has dots")?;
    let (signed, pair) = (signed.as_bytes().to_vec(), Ed25519KeyPair::generate()?);
    Ok(definition.row(Operation::new(move || {
        !pair.sign(&signed).as_ref().is_empty()
    })))
}

pub(super) fn sign_eddsa(definition: &'static Definition, _: &Arc<Shared>) -> Result<Row> {
    let pair = Ed25519KeyPair::generate()?;
    Ok(definition.row(Operation::new(move || {
        !pair.sign(&SIGNED).as_ref().is_empty()
    })))
}

pub(super) fn sign_es256(definition: &'static Definition, _: &Arc<Shared>) -> Result<Row> {
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)?;
    let random = SystemRandom::new();
    Ok(definition.row(Operation::new(move || pair.sign(&random, &SIGNED).is_ok())))
}

pub(super) fn sign_rs256(definition: &'static Definition, _: &Arc<Shared>) -> Result<Row> {
    let pair = RsaKeyPair::generate(KeySize::Rsa2048)?;
    let random = SystemRandom::new();
    let mut signature = vec![0; pair.public_modulus_len()];
    Ok(definition.row(Operation::new(move || {
        pair.sign(&RSA_PKCS1_SHA256, &random, &SIGNED, &mut signature)
            .is_ok()
    })))
}
