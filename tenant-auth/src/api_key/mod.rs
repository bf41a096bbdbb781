//! API keys: long-lived secrets of programs.

mod builder;
mod error;
mod format;
mod keys;
mod lifecycle;
mod live;
mod memory;
mod new;
mod record;
mod ring;
mod rotation;
mod secret;
mod store;

pub use self::{
    builder::ApiKeysBuilder,
    error::ApiKeyError,
    keys::ApiKeys,
    lifecycle::{RotatedApiKey, RotationPolicy},
    memory::MemoryApiKeyStore,
    new::NewApiKey,
    record::{ApiKeyDigest, ApiKeyRecord, ApiKeyState},
    ring::SecretTag,
    rotation::RotateApiKeyService,
    secret::ApiKeySecret,
    store::ApiKeyStore,
};
pub(crate) use self::{
    format::{random, random_by},
    keys::{Behind, Vouched},
    live::LiveKey,
};
