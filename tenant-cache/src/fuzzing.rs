//! What the fuzz targets reach beyond the public API. Not part of it.

use std::time::Duration;

use http::{HeaderMap, HeaderName, StatusCode, header};
use tenant_context::UnixTime;

use crate::{
    CacheKey,
    key::KeyWriter,
    policy::{self, Circumstances},
};

/// A key's bytes.
pub fn encoded(key: &impl CacheKey) -> Vec<u8> {
    let mut writer = KeyWriter::begin(1, 1);
    key.encode(&mut writer);
    writer.as_bytes().to_vec()
}

const AROUND: Circumstances = Circumstances {
    shared: false,
    authorized: false,
    cookie: false,
    delay: Duration::ZERO,
    now: UnixTime::from_secs(784_111_777),
    heuristic: None,
};

/// Reads a request's fields.
pub fn read_request(fields: &HeaderMap) {
    policy::request(fields);
}

/// Whether a 200 with these fields is stored.
pub fn is_storable(fields: &HeaderMap) -> bool {
    policy::response(StatusCode::OK, fields, &AROUND).is_ok()
}

/// What a response with this `Vary` varies by, if it is stored.
pub fn varies_by(fields: &HeaderMap) -> Option<Vec<HeaderName>> {
    let mut fields = fields.clone();
    let fresh = http::HeaderValue::from_static("max-age=60");
    fields.insert(header::CACHE_CONTROL, fresh);
    let stored = policy::response(StatusCode::OK, &fields, &AROUND).ok()?;
    Some(stored.vary)
}
