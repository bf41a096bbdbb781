//! What the fuzz targets reach beyond the public API. Not part of it.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, StatusCode, header};
use tenant_context::{Monotonic, UnixTime};

use crate::{
    CacheKey,
    key::KeyWriter,
    policy::{self, Asked, Circumstances, Storable},
    stored::{Choice, Deed, Head, StoredResponse, Variants},
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

fn fresh(fields: &HeaderMap) -> Option<Storable> {
    let mut fields = fields.clone();
    let fresh = http::HeaderValue::from_static("max-age=60");
    fields.insert(header::CACHE_CONTROL, fresh);
    policy::response(StatusCode::OK, &fields, &AROUND).ok()
}

/// What a response with this `Vary` varies by, if it is stored.
pub fn varies_by(fields: &HeaderMap) -> Option<Vec<HeaderName>> {
    Some(fresh(fields)?.vary)
}

/// Whether a response with this `Vary` that answered one request is stored and found for another.
pub fn is_found(fields: &HeaderMap, one: &HeaderMap, other: &HeaderMap) -> bool {
    let now = Monotonic::from_secs(1);
    let head = fresh(fields).and_then(|storable| {
        let received = (now, AROUND.now);
        Head::new(
            StatusCode::OK,
            fields,
            storable,
            one,
            Deed::default(),
            received,
        )
    });
    let stored = head.map(|head| StoredResponse {
        head,
        body: Bytes::new(),
        tags: Box::default(),
    });
    stored.is_some_and(|stored| {
        let variants = Variants::default().with(stored, 8, now);
        matches!(
            variants.choose(other, Asked::default(), now),
            Choice::Serve(..)
        )
    })
}
