//! Refusals as bytes: problem+json (RFC 9457) and gRPC trailers-only answers.

mod body;
pub(crate) mod grpc;
mod layer;
mod problem;

use http::{HeaderMap, HeaderValue, header};

pub use self::{
    body::{RefusalBody, RenderBody},
    layer::{Render, RenderFuture, RenderLayer},
    problem::Rendered,
};

/// Which rendering a client understands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(
    clippy::exhaustive_enums,
    reason = "the two renderings of WIRE; a third would be a new contract"
)]
pub enum Protocol {
    /// Plain HTTP.
    Http,
    /// gRPC over HTTP/2.
    Grpc,
}

impl Protocol {
    /// gRPC if the content type is exactly `application/grpc` or begins with `application/grpc+` or
    /// `application/grpc;`; `application/grpc-web` is HTTP.
    pub fn of(headers: &HeaderMap) -> Self {
        headers
            .get(header::CONTENT_TYPE)
            .map_or(Self::Http, Self::of_type)
    }

    pub(crate) fn of_type(value: &HeaderValue) -> Self {
        match value.as_bytes().strip_prefix(b"application/grpc") {
            Some([] | [b'+' | b';', ..]) => Self::Grpc,
            _ => Self::Http,
        }
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;

    #[test]
    fn grpc_is_told_from_grpc_web() {
        let of = |value: &'static str| {
            Protocol::of(&HeaderMap::from_iter([(
                header::CONTENT_TYPE,
                HeaderValue::from_static(value),
            )]))
        };
        for grpc in [
            "application/grpc",
            "application/grpc+proto",
            "application/grpc+json",
        ] {
            assert_eq!(of(grpc), Protocol::Grpc, "{grpc}");
        }
        for http in [
            "application/grpc-web",
            "application/grpc-web+proto",
            "application/grpcx",
            "application/json",
            "",
        ] {
            assert_eq!(of(http), Protocol::Http, "{http}");
        }
        assert_eq!(Protocol::of(&HeaderMap::new()), Protocol::Http);
    }
}
