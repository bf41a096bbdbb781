//! What is reached by fuzz targets only.

use http::{Extensions, HeaderMap, HeaderValue, Method};

use crate::{endpoints::Endpoints, headers};

/// A `RateLimit` field that an inner service has written, and what becomes of it when a policy is added.
pub fn merged(known: &HeaderValue, added: &HeaderValue) -> HeaderValue {
    let mut fields = HeaderMap::new();
    fields.insert(headers::RATE_LIMIT, known.clone());
    headers::merge(&mut fields, headers::RATE_LIMIT, added);
    fields
        .remove(headers::RATE_LIMIT)
        .unwrap_or_else(|| known.clone())
}

/// A table of endpoints.
#[derive(Clone, Debug, Default)]
pub struct Table(Endpoints);

impl Table {
    /// The endpoint's number, if it can be declared.
    pub fn declare(&mut self, name: &str) -> Option<usize> {
        self.0.declare(name).ok()
    }

    /// Which endpoint a request is for.
    pub fn of(&self, method: &Method, path: &str) -> Option<usize> {
        self.0.of(method, path, &Extensions::new())
    }
}

/// What a response's header says that a request has cost.
pub fn cost(values: &[HeaderValue]) -> Option<u64> {
    let name = http::HeaderName::from_static("x-cost");
    let mut fields = HeaderMap::new();
    for value in values {
        fields.append(&name, value.clone());
    }
    crate::Settle::header(name).of_header(&fields)
}
