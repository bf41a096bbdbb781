//! Key sets that change while the service runs: from a file, a URL, or where an issuer's metadata says.

mod discovery;
mod fetch;
#[cfg(feature = "jwks")]
mod http;
mod live;
mod refresher;
mod schedule;
mod worker;

#[cfg(feature = "jwks")]
pub use self::http::HttpFetcher;
pub(crate) use self::live::{Arrival, LiveKeys, State};
pub use self::{
    fetch::{Fetch, FetchError, Fetched},
    refresher::{KeyRefresher, KeyRefresherBuilder, KeySource},
    worker::KeyWorker,
};
