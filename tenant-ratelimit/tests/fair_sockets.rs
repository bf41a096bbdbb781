//! Fair when it hurts, over real sockets: only what is admitted is asserted, no time is.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "tests"
)]

use std::{net::SocketAddr, time::Duration};

use axum::{Router, routing::get};
use futures_util::future::join_all;
use tenant_context::{
    CachedRegistry, IdentityLayer, MemoryRegistry, TenantId, TenantRecord, TenantStack,
};
use tenant_ratelimit::{Floors, Quota, layer};
use tenant_testkit::{ManualClock, TestAuth, claims};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tower::Layer;

const QUIET: usize = 50;
/// The hand-turned clock's steps: an eighth of a second each.
const STEPS: usize = 24;
/// 2,000 a second: a hundred times an even share of 1,000 a second among 51.
const LOUD: usize = 250;
const LOUD_CONNECTIONS: usize = 5;

/// A connection that stays open.
struct Client {
    stream: TcpStream,
    request: Vec<u8>,
}

impl Client {
    async fn new(server: SocketAddr, tenant: usize) -> Self {
        let request =
            format!("GET /invoices HTTP/1.1\r\nhost: a\r\nauthorization: Test {tenant}\r\n\r\n");
        Self {
            stream: TcpStream::connect(server).await.unwrap(),
            request: request.into_bytes(),
        }
    }

    /// How many of so many requests, one after the other, are answered 200; the others are 429.
    async fn ask(&mut self, times: usize) -> usize {
        let mut admitted = 0;
        for _ in 0..times {
            self.stream.write_all(&self.request).await.unwrap();
            match self.status().await {
                200 => admitted += 1,
                429 => {}
                other => panic!("{other}"),
            }
        }
        admitted
    }

    /// Reads one answer, and its status.
    async fn status(&mut self) -> u16 {
        let (mut answer, mut part) = (Vec::new(), [0; 4096]);
        loop {
            let text = String::from_utf8_lossy(&answer);
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                let length = head.lines().find_map(|line| {
                    let (name, value) = line.split_once(": ")?;
                    let named = name.eq_ignore_ascii_case("content-length");
                    named.then(|| value.parse::<usize>().unwrap())
                });
                if body.len() >= length.unwrap() {
                    return head.get(9..12).unwrap().parse().unwrap();
                }
            }
            let read = self.stream.read(&mut part).await.unwrap();
            assert!(read > 0, "the server has hung up");
            answer.extend_from_slice(&part[..read]);
        }
    }
}

/// How many quiet requests were admitted, and how many of the loud one's, while all of them asked at once.
async fn run(floors: bool) -> (usize, usize) {
    let clock = ManualClock::new();
    let registry = MemoryRegistry::new();
    for tenant in 0..=QUIET {
        let id = TenantId::parse(format!("tenant-{tenant}")).unwrap();
        registry.insert(TenantRecord::new(id));
    }
    let day = Duration::from_secs(86_400);
    let registry = CachedRegistry::builder(registry)
        .clock(clock.clone())
        .ttl(day)
        .max_stale(day)
        .build()
        .unwrap();
    let auth = (0..=QUIET).fold(TestAuth::new(registry), |auth, tenant| {
        let claims = claims(&format!("tenant-{tenant}"), "ada");
        auth.accept(&tenant.to_string(), claims)
    });
    let limits = layer()
        .global(Quota::per_second(1_000).burst(1_000))
        .clock(clock.clone());
    let limits = if floors {
        limits.floors(Floors::each(Quota::per_second(10), 51))
    } else {
        limits
    };
    let stack = TenantStack::new()
        .identity(IdentityLayer::builder().build(auth).unwrap())
        .limits(limits.build().unwrap());
    let app = stack.layer(Router::new().route("/invoices", get(|| async { "ok" })));
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let server = listener.local_addr().unwrap();
    let serving = async {
        let app = Router::new().fallback_service(app);
        axum::serve(listener, app).await.unwrap();
    };
    let asking = async {
        let mut loud = Vec::new();
        for _ in 0..LOUD_CONNECTIONS {
            loud.push(Client::new(server, 0).await);
        }
        let mut quiet = Vec::new();
        for tenant in 1..=QUIET {
            quiet.push(Client::new(server, tenant).await);
        }
        let (mut of_quiet, mut of_loud) = (0, 0);
        for _ in 0..STEPS {
            clock.advance(Duration::from_millis(125));
            // The loud one is always there first.
            let each = LOUD / LOUD_CONNECTIONS / 2;
            let first = join_all(loud.iter_mut().map(|client| client.ask(each))).await;
            of_loud += first.into_iter().sum::<usize>();
            let loud = loud.iter_mut().map(|client| client.ask(each));
            let quiet = quiet.iter_mut().map(|client| client.ask(1));
            let (loud, quiet) = tokio::join!(join_all(loud), join_all(quiet));
            of_loud += loud.into_iter().sum::<usize>();
            of_quiet += quiet.into_iter().sum::<usize>();
        }
        (of_quiet, of_loud)
    };
    tokio::select! {
        outcome = asking => outcome,
        () = serving => panic!("the server has ended"),
    }
}

#[tokio::test]
async fn one_loud_tenant_over_sockets_takes_nothing_from_fifty_quiet_ones() {
    // 8 a second each, of a floor of 10.
    let (quiet, loud) = run(true).await;
    assert_eq!(quiet, QUIET * STEPS, "every request within its floor");
    assert!(loud > 0 && loud < LOUD * STEPS / 2, "{loud}");
}

#[tokio::test]
async fn without_floors_the_loudest_wins_over_sockets_too() {
    // What the test above would see without the code under test.
    let (quiet, _) = run(false).await;
    assert!(quiet < QUIET * STEPS, "{quiet}");
}
