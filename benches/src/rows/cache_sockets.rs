//! Requests per second through real sockets, with the response cache and without.

use std::{
    convert::Infallible,
    future::IntoFuture,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Router, body::Body, extract::Request, response::IntoResponse, routing::get, serve::ListenerExt,
};
use http::{Response, header::CACHE_CONTROL};
use tenant_cache::{ResponseCacheLayer, TenantCache};
use tenant_context::{IdentityLayer, TenantStack};
use tokio::{net::TcpListener, sync::oneshot};
use tower_service::Service;

use super::{
    Definition, Shared,
    cache::{Only, Tenants},
};
use crate::{
    Result,
    drive::Tally,
    row::{Row, Work},
};

/// What the handler serialises for each request: the like of a page of a list.
#[derive(Debug, serde::Serialize)]
struct Invoice {
    id: u64,
    customer: String,
    cents: u64,
    paid: bool,
}

async fn list() -> Response<Body> {
    let page: Vec<Invoice> = (0..32)
        .map(|id| Invoice {
            id,
            customer: format!("customer {id}"),
            cents: id.wrapping_mul(125),
            paid: id % 2 == 0,
        })
        .collect();
    let json = serde_json::to_vec(&page).unwrap_or_default();
    let mut response = Response::new(Body::from(json));
    let hour = http::HeaderValue::from_static("max-age=3600");
    response.headers_mut().insert(CACHE_CONTROL, hour);
    response
}

/// A server on a thread of its own, until this is dropped, and a connection to it.
struct Served {
    // The tenants are looked up as long as it serves.
    _tenants: Tenants,
    _stop: oneshot::Sender<()>,
    connection: TcpStream,
    request: Vec<u8>,
    buffer: Vec<u8>,
    left: usize,
    rate: f64,
    tally: Tally,
}

/// Requests that are sent before the first answer is read.
const AT_ONCE: usize = 16;

fn serve<S>(service: S) -> Result<(SocketAddr, oneshot::Sender<()>)>
where
    S: Service<Request, Response: IntoResponse, Error = Infallible, Future: Send>,
    S: Clone + Send + Sync + 'static,
{
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let listener = runtime.block_on(TcpListener::bind(("127.0.0.1", 0)))?;
    let address = listener.local_addr()?;
    let (stop, stopped) = oneshot::channel::<()>();
    std::thread::spawn(move || {
        runtime.block_on(async {
            // Answers that wait for acknowledgements would measure those.
            let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
            let serving =
                axum::serve(listener, Router::new().fallback_service(service)).into_future();
            tokio::select! {
                ended = serving => drop(ended),
                _ = stopped => {}
            }
        });
    });
    Ok((address, stop))
}

fn row(definition: &'static Definition, cache: Option<ResponseCacheLayer>) -> Result<Row> {
    let mut tenants = Tenants::new()?;
    let identity = IdentityLayer::builder().build(Only(tenants.identity()?))?;
    let stack = TenantStack::new().identity(identity);
    let router = Router::new().route("/invoices", get(list));
    let (address, stop) = match cache {
        Some(cache) => serve(tower_layer::Layer::layer(&stack.cache(cache), router))?,
        None => serve(tower_layer::Layer::layer(&stack, router))?,
    };
    let connection = TcpStream::connect(address)?;
    connection.set_nodelay(true)?;
    connection.set_read_timeout(Some(Duration::from_secs(10)))?;
    Ok(definition.row(Served {
        _tenants: tenants,
        _stop: stop,
        connection,
        request: b"GET /invoices HTTP/1.1\r\nhost: api.test\r\n\r\n".to_vec(),
        buffer: Vec::new(),
        left: 0,
        rate: 0.0,
        tally: Tally::default(),
    }))
}

impl Served {
    fn ask(&mut self, count: usize) -> Result<()> {
        self.connection.write_all(&self.request.repeat(count))?;
        for _ in 0..count {
            self.answer()?;
        }
        Ok(())
    }

    /// Reads one answer; an error if it is none of status 200.
    fn answer(&mut self) -> Result<()> {
        let mut chunk = [0; 16 << 10];
        loop {
            if let Some(length) = whole(&self.buffer)? {
                self.buffer.drain(..length);
                return Ok(());
            }
            let read = self.connection.read(&mut chunk)?;
            if read == 0 {
                return Err("the server hung up".into());
            }
            self.buffer.extend(chunk.iter().take(read));
        }
    }
}

/// The length of the answer that the bytes begin with, if all of it is there.
fn whole(bytes: &[u8]) -> Result<Option<usize>> {
    let Some(head) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
        return Ok(None);
    };
    let text = std::str::from_utf8(bytes.get(..head).unwrap_or_default())?;
    if !text.starts_with("HTTP/1.1 200 ") {
        return Err(format!("answered {text:?}").into());
    }
    let length = text
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .ok_or("an answer without a length")?
        .parse::<usize>()?;
    let end = head.saturating_add(4).saturating_add(length);
    Ok((bytes.len() >= end).then_some(end))
}

impl Work for Served {
    fn prepare(&mut self, operations: usize) {
        self.left = operations;
    }

    #[allow(
        clippy::disallowed_methods,
        clippy::cast_precision_loss,
        reason = "a benchmark measures the system's time"
    )]
    fn run(&mut self) {
        let (count, start) = (self.left, Instant::now());
        while self.left > 0 {
            let next = self.left.min(AT_ONCE);
            if self.ask(next).is_err() {
                self.tally.refused = self.tally.refused.saturating_add(1);
                return;
            }
            self.left = self.left.saturating_sub(next);
        }
        self.rate = count as f64 / start.elapsed().as_secs_f64();
    }

    fn figure(&self) -> Option<f64> {
        Some(self.rate)
    }

    fn tally(&self) -> Tally {
        self.tally
    }

    fn largest_batch(&self) -> usize {
        64
    }
}

pub(super) fn without(definition: &'static Definition, _: &Arc<Shared>) -> Result<Row> {
    row(definition, None)
}

pub(super) fn with(definition: &'static Definition, _: &Arc<Shared>) -> Result<Row> {
    let cache = tenant_cache::layer(TenantCache::builder().build()?).build()?;
    row(definition, Some(cache))
}
