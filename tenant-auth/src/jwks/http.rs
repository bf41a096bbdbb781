//! A fetcher on `reqwest`.

use std::time::Duration;

use futures_util::{FutureExt, future::BoxFuture};
use http::{StatusCode, header};
use reqwest::{Certificate, Client, redirect};

use super::{Fetch, FetchError, Fetched};
use crate::{KeyError, KeyErrorKind};

/// Fetches key sets and metadata over HTTPS, with `reqwest` and `rustls`. Its futures must be polled
/// inside a tokio runtime.
///
/// It follows no redirect, uses no proxy and keeps no cookies. Certificates are verified by the
/// operating system's trust, or by the roots that are given.
#[derive(Clone, Debug)]
pub struct HttpFetcher(Client);

impl HttpFetcher {
    /// A fetcher that trusts whom the operating system trusts.
    ///
    /// # Errors
    ///
    /// [`KeyError`] if there is no TLS to be had.
    pub fn new() -> Result<Self, KeyError> {
        Self::build(None)
    }

    /// A fetcher that trusts the certificates in this PEM and no others: for an issuer inside your own
    /// network.
    ///
    /// # Errors
    ///
    /// [`KeyError`] if it holds no certificate.
    pub fn with_roots_pem(pem: impl AsRef<[u8]>) -> Result<Self, KeyError> {
        let roots = Certificate::from_pem_bundle(pem.as_ref());
        let roots = roots.map_err(|_| KeyError::format("this PEM holds no certificates"))?;
        if roots.is_empty() {
            return Err(KeyError::format("this PEM holds no certificate"));
        }
        Self::build(Some(roots))
    }

    fn build(roots: Option<Vec<Certificate>>) -> Result<Self, KeyError> {
        let client = Client::builder()
            .redirect(redirect::Policy::none())
            .no_proxy()
            .referer(false)
            .user_agent(concat!("tenant-auth/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(Duration::from_secs(5))
            .pool_max_idle_per_host(1);
        let client = match roots {
            Some(roots) => client.tls_certs_only(roots),
            None => client,
        };
        client.build().map(Self).map_err(|error| {
            KeyError::new(
                KeyErrorKind::Unsupported,
                format!("no HTTPS client can be made here: {error}"),
            )
        })
    }
}

impl Fetch for HttpFetcher {
    fn fetch(&self, url: &str, max_len: usize) -> BoxFuture<'static, Result<Fetched, FetchError>> {
        let request = self
            .0
            .get(url)
            .header(header::ACCEPT, "application/json, application/jwk-set+json");
        async move {
            let mut response = request.send().await.map_err(FetchError::new)?;
            if response.status() != StatusCode::OK {
                return Err(FetchError::status(response.status().as_u16()));
            }
            let max_age = response
                .headers()
                .get_all(header::CACHE_CONTROL)
                .iter()
                .filter_map(|value| value.to_str().ok())
                .find_map(max_age);
            let mut body = Vec::new();
            while let Some(chunk) = response.chunk().await.map_err(FetchError::new)? {
                if chunk.len() > max_len.saturating_sub(body.len()) {
                    return Err(FetchError::message(format!(
                        "the document is longer than {max_len} bytes"
                    )));
                }
                body.extend_from_slice(&chunk);
            }
            Ok(Fetched::new(body).max_age(max_age))
        }
        .boxed()
    }
}

/// `max-age` of a `Cache-Control`; what may not be stored at all is as old as it gets.
fn max_age(value: &str) -> Option<Duration> {
    value.split(',').find_map(|directive| {
        let directive = directive.trim();
        if directive.eq_ignore_ascii_case("no-store") || directive.eq_ignore_ascii_case("no-cache")
        {
            return Some(Duration::ZERO);
        }
        let (name, secs) = directive.split_once('=')?;
        let secs = secs.trim_matches('"').parse().ok()?;
        name.eq_ignore_ascii_case("max-age")
            .then(|| Duration::from_secs(secs))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_is_read_from_cache_control() {
        for (value, secs) in [
            ("max-age=60", Some(60)),
            ("public, Max-Age=\"60\", must-revalidate", Some(60)),
            ("no-store", Some(0)),
            ("no-cache, max-age=60", Some(0)),
            ("public", None),
            ("s-maxage=60", None),
            ("max-age=-1", None),
            ("max-age=99999999999999999999", None),
            ("", None),
        ] {
            assert_eq!(max_age(value), secs.map(Duration::from_secs), "{value}");
        }
    }
}
