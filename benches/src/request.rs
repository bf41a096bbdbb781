//! The request that every row is given.

use bytes::{Bytes, BytesMut};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version,
    header::{ACCEPT, ACCEPT_ENCODING, ACCEPT_LANGUAGE, AUTHORIZATION, HOST, USER_AGENT},
};
use http_body_util::Empty;

use crate::Result;

/// The body of the requests: none.
pub type RequestBody = Empty<Bytes>;

/// The route the requests ask for, and its template.
pub const PATH: &str = "/invoices/5f0c2b1e-8a43-4d57-9c1f-2f6f0e1c7a90";
/// The template that [`PATH`] matches.
pub const TEMPLATE: &str = "/invoices/{id}";

/// Makes requests as a server hands them on: `GET`, a bearer token, six ordinary headers, no extension map; the
/// target and the headers' values are slices of one buffer, the request's own.
#[derive(Clone, Debug)]
pub struct Requests {
    buffer: Vec<u8>,
    target: usize,
    values: Vec<(HeaderName, usize)>,
}

impl Requests {
    /// Requests with this token.
    ///
    /// # Errors
    ///
    /// The token is no header value.
    pub fn bearing(token: &str) -> Result<Self> {
        let bearer = format!("Bearer {token}");
        let fields: [(HeaderName, &str); 7] = [
            (HOST, "api.saas.example.com"),
            (
                USER_AGENT,
                "invoice-agent/2.4 (+https://agents.example.com)",
            ),
            (ACCEPT, "application/json"),
            (ACCEPT_ENCODING, "gzip, br, zstd"),
            (ACCEPT_LANGUAGE, "en-GB,en;q=0.8"),
            (
                HeaderName::from_bytes(b"traceparent")?,
                "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            ),
            (AUTHORIZATION, &bearer),
        ];
        let mut buffer = PATH.as_bytes().to_vec();
        let mut values = Vec::with_capacity(fields.len());
        for (name, value) in fields {
            HeaderValue::from_str(value)?;
            buffer.extend_from_slice(value.as_bytes());
            values.push((name, value.len()));
        }
        Ok(Self {
            buffer,
            target: PATH.len(),
            values,
        })
    }

    /// The next request.
    pub fn make(&self) -> Request<RequestBody> {
        let mut buffer = BytesMut::from(self.buffer.as_slice());
        let uri = Uri::from_maybe_shared(buffer.split_to(self.target).freeze());
        let mut headers = HeaderMap::with_capacity(self.values.len());
        for (name, length) in &self.values {
            let value = buffer.split_to(*length).freeze();
            if let Ok(value) = HeaderValue::from_maybe_shared(value) {
                headers.append(name.clone(), value);
            }
        }
        let mut request = Request::new(Empty::new());
        *request.method_mut() = Method::GET;
        *request.version_mut() = Version::HTTP_11;
        *request.uri_mut() = uri.unwrap_or_default();
        *request.headers_mut() = headers;
        request
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_as_the_rows_say() {
        let request = Requests::bearing("abc").unwrap().make();
        assert_eq!(request.uri().path(), PATH);
        assert_eq!(request.headers().len(), 7);
        assert_eq!(request.headers()[AUTHORIZATION], "Bearer abc");
        assert!(request.extensions().is_empty());
    }
}
