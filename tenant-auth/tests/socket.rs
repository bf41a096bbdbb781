//! Bad input over a real socket: each gets its answer, none a panic, a 500, or a line with the secret.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::disallowed_methods,
    clippy::string_slice,
    clippy::panic,
    clippy::format_push_string,
    clippy::format_collect,
    unreachable_pub,
    dead_code,
    reason = "tests"
)]

mod common;

use std::{
    io::Write,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use axum::{Router, extract::Request, routing::get};
use common::{Fixture, HEADER, ISSUER, claims, with};
use parking_lot::Mutex;
use tenant_auth::{Issuer, NewToken, TenantContext, TenantStack, VerifyingKey};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tower::Layer;

/// A secret that may appear nowhere but where it was sent.
const CANARY: &str = "c4n4ry5ecret";

struct Service {
    fixture: Fixture,
    address: SocketAddr,
    handled: Arc<AtomicUsize>,
}

#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Service {
    async fn start() -> Self {
        Self::start_with(true).await
    }

    async fn start_with(forward: bool) -> Self {
        let fixture = Fixture::new();
        let identity = tenant_auth::layer(fixture.tenants.clone())
            .jwt(
                Issuer::new(ISSUER)
                    .audience("api")
                    .key(fixture.minter.verifying_key()),
            )
            .api_keys(fixture.keys.clone())
            .public(http::Method::GET, "/health")
            .realm("invoices")
            .forward_credentials(forward)
            .build()
            .unwrap();
        let handled = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&handled);
        let app = Router::new().route("/health", get(async || "up")).fallback(
            async move |tenant: Option<TenantContext>, request: Request| {
                count.fetch_add(1, Ordering::SeqCst);
                let tenant = tenant.map(|tenant| tenant.tenant_id().to_string());
                tracing::info!(?tenant, headers = ?request.headers(), "handled");
                let seen: Vec<_> = request
                    .headers()
                    .keys()
                    .map(http::HeaderName::as_str)
                    .collect();
                format!("{tenant:?} {seen:?}")
            },
        );
        let app = TenantStack::new().identity(identity).layer(app);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let app = Router::new().fallback_service(app);
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self {
            fixture,
            address,
            handled,
        }
    }

    /// Sends a request, byte for byte, and reads the answer.
    async fn send(&self, request: &[u8]) -> Answer {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        let answer = String::from_utf8(answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        Answer {
            status: head.split(' ').nth(1).unwrap().parse().unwrap(),
            head: head.to_ascii_lowercase(),
            body: body.to_owned(),
        }
    }

    async fn get(&self, path: &str, headers: &[(&str, &[u8])]) -> Answer {
        let mut request =
            format!("GET {path} HTTP/1.1\r\nhost: api\r\nconnection: close\r\n").into_bytes();
        for (name, value) in headers {
            request.extend_from_slice(name.as_bytes());
            request.extend_from_slice(b": ");
            request.extend_from_slice(value);
            request.extend_from_slice(b"\r\n");
        }
        request.extend_from_slice(b"\r\n");
        self.send(&request).await
    }

    fn handled(&self) -> usize {
        self.handled.load(Ordering::SeqCst)
    }
}

#[tokio::test]
async fn credentials_are_answered_as_the_standards_say() {
    let service = Service::start().await;
    let good = format!("Bearer {}", service.fixture.good());
    let key = service.fixture.api_key("globex", "ci").0;

    let answer = service
        .get("/invoices", &[("authorization", good.as_bytes())])
        .await;
    assert_eq!(
        (answer.status, answer.body.contains("\"acme\"")),
        (200, true),
        "{answer:?}"
    );
    let answer = service
        .get("/invoices", &[("x-api-key", key.expose().as_bytes())])
        .await;
    assert_eq!(
        (answer.status, answer.body.contains("\"globex\"")),
        (200, true),
        "{answer:?}"
    );
    assert_eq!(service.get("/health", &[]).await.status, 200);
    assert_eq!(service.handled(), 2);

    let missing = service.get("/invoices", &[]).await;
    assert_eq!(missing.status, 401);
    assert!(
        missing
            .head
            .contains("www-authenticate: bearer realm=\"invoices\"\r\n"),
        "{missing:?}"
    );
    assert!(
        missing
            .head
            .contains("www-authenticate: apikey realm=\"invoices\"\r\n"),
        "{missing:?}"
    );
    let malformed = service
        .get("/invoices", &[("authorization", b"Bearer")])
        .await;
    assert_eq!(malformed.status, 400);
    assert!(
        malformed.head.contains("error=\"invalid_request\""),
        "{malformed:?}"
    );
    let public = service
        .get("/health", &[("authorization", b"Bearer x")])
        .await;
    assert_eq!(
        public.status, 401,
        "a credential presented on a public route is verified"
    );
    assert_eq!(service.handled(), 2);
}

#[tokio::test]
async fn every_bad_token_gets_one_answer() {
    let service = Service::start().await;
    let fixture = &service.fixture;
    let mint = |header: &str| {
        fixture
            .minter
            .mint_raw(header, &claims().to_string())
            .unwrap()
    };
    let tokens = [
        "x".to_owned(),
        "a.b.c.d.e".to_owned(),
        mint(r#"{"alg":"none"}"#),
        mint(r#"{"alg":"EdDSA","kid":"other"}"#),
        mint(r#"{"alg":"EdDSA","kid":"main","crit":["x"]}"#),
        format!("{}A", fixture.good()),
        fixture.forge(&with("exp", 1)),
        fixture.forge(&with("exp", "9999999999")),
        fixture.forge(&with("aud", "other")),
        fixture.forge(&with("iss", "https://evil.example")),
        fixture.forge(&with("tenant_id", "a".repeat(65))),
        fixture.forge(&with("tenant_id", "acme:globex")),
        fixture.forge(&with("tenant_id", "unknown")),
        fixture.token(NewToken::new(ISSUER, "api", "ACME", "ada")),
        "x".repeat(8193),
        "x".repeat(100_000),
        "sk_live_x".to_owned(),
    ];
    let mut answers = Vec::new();
    for token in &tokens {
        let value = format!("Bearer {token}");
        let answer = service
            .get("/invoices", &[("authorization", value.as_bytes())])
            .await;
        assert_eq!(answer.status, 401, "{token}");
        assert!(
            answer.head.contains("error=\"invalid_token\""),
            "{answer:?}"
        );
        let head: Vec<&str> = answer
            .head
            .lines()
            .filter(|line| !line.starts_with("date:"))
            .collect();
        answers.push((head.join("\n"), answer.body));
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "{answers:#?}");
    assert_eq!(service.handled(), 0);
}

#[tokio::test]
async fn a_header_chose_the_tenant() {
    let service = Service::start().await;
    let good = format!("Bearer {}", service.fixture.good());
    let key = service.fixture.api_key("acme", "ci").0;
    for _cold_then_warm in 0..2 {
        for credential in [
            ("authorization", good.as_bytes()),
            ("x-api-key", key.expose().as_bytes()),
        ] {
            for name in [
                "x-tenant-id",
                "X-TENANT-ID",
                "x-tenant",
                "x-organization-id",
                "x-org-id",
                "organization-id",
            ] {
                for foreign in [
                    &b"globex"[..],
                    b"Acme",
                    b"ACME",
                    b"",
                    b"acme, globex",
                    b"acme:globex",
                    b"tenant:acme",
                    b"\xff",
                    b"acm\xc3\xa9",
                    &[b'a'; 65],
                    &[b'a'; 9000],
                ] {
                    let before = service.handled();
                    let answer = service.get("/", &[credential, (name, foreign)]).await;
                    assert_eq!(
                        (answer.status, service.handled()),
                        (403, before),
                        "{name}: {foreign:?}"
                    );
                }
                let own = service.get("/", &[credential, (name, b"acme")]).await;
                assert_eq!(own.status, 200);
                assert!(
                    !own.body.contains(&name.to_ascii_lowercase()),
                    "gone before the handler: {own:?}"
                );
                let twice = service
                    .get("/", &[credential, (name, b"acme"), (name, b"globex")])
                    .await;
                assert_eq!(twice.status, 403);
            }
        }
    }
}

#[tokio::test]
async fn headers_above_their_bounds_are_refused() {
    let service = Service::start().await;
    let good = format!("Bearer {}", service.fixture.good());
    let good = ("authorization", good.as_bytes());
    let many: Vec<(String, Vec<u8>)> = (0..99).map(|n| (format!("x-{n}"), b"1".to_vec())).collect();
    let mut headers: Vec<(&str, &[u8])> = many
        .iter()
        .map(|(name, value)| (&**name, &**value))
        .collect();
    headers.push(good);
    // `host` and `connection` make 102.
    let answer = service.get("/", &headers).await;
    assert!(matches!(answer.status, 400 | 431), "{answer:?}");

    for (headers, status) in [
        (vec![good, good], 400),
        (vec![good, ("authorization", b"Basic x")], 400),
        (vec![("authorization", &b"Bearer \xff\xfe"[..])], 400),
        (vec![("authorization", "Bearer tökén".as_bytes())], 400),
        (vec![("authorization", b"Bearer a b")], 400),
        (vec![("authorization", b"")], 400),
        (vec![("x-api-key", b"\xff")], 400),
        (vec![("x-api-key", b"a"), ("x-api-key", b"b")], 400),
        (vec![("x-api-key", &[b'k'; 8193])], 401),
        (vec![("authorization", b"Basic YTpi")], 401),
        (vec![("AUTHORIZATION", good.1)], 200),
        (vec![good, ("x-request-id", &[b'x'; 5000])], 200),
    ] {
        let shown = format!("{headers:?}");
        let answer = service.get("/", &headers).await;
        assert_eq!(answer.status, status, "{shown}: {answer:?}");
    }
}

#[tokio::test]
async fn absurd_paths_are_answered() {
    let service = Service::start().await;
    let good = format!("Bearer {}", service.fixture.good());
    let good = ("authorization", good.as_bytes());
    let long = format!("/{}", "a/".repeat(5000));
    for path in [
        &*long,
        "//",
        "/../../etc/passwd",
        "/%2e%2e/%00",
        "/%ff%fe",
        "/a;b=c",
        "/health/",
        "//health",
        "/%68ealth",
        "/?",
        "/?a&&=b",
    ] {
        assert_eq!(service.get(path, &[]).await.status, 401, "{path}");
        assert_eq!(service.get(path, &[good]).await.status, 200, "{path}");
    }
    for path in [
        "/?access_token=x",
        "/health?access_token=x",
        "/?a=b&access_token=x",
    ] {
        assert_eq!(service.get(path, &[good]).await.status, 400, "{path}");
    }
    for request in [
        "GET * HTTP/1.1",
        "OPTIONS * HTTP/1.1",
        "GET http://acme.example/ HTTP/1.1",
    ] {
        let request = format!("{request}\r\nhost: api\r\nconnection: close\r\n\r\n");
        let answer = service.send(request.as_bytes()).await;
        assert!(matches!(answer.status, 400 | 401), "{answer:?}");
    }
}

#[tokio::test]
async fn credentials_are_taken_off_where_the_service_says_so() {
    for forward in [true, false] {
        let service = Service::start_with(forward).await;
        let good = format!("Bearer {}", service.fixture.good());
        let key = service.fixture.api_key("acme", "ada").0;
        let headers = [
            ("authorization", good.as_bytes()),
            ("x-api-key", key.expose().as_bytes()),
        ];
        let answer = service.get("/", &headers).await;
        assert_eq!(answer.status, 200);
        for name in ["\"authorization\"", "\"x-api-key\""] {
            assert_eq!(answer.body.contains(name), forward, "{answer:?}");
        }
    }
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn i8_tokens_in_clear_in_a_log() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    // For the whole process: with a subscriber of this thread alone, a test on another thread that comes to
    // an event first would switch it off for all.
    tracing::subscriber::set_global_default(subscriber).unwrap();

    let service = Service::start().await;
    let fixture = &service.fixture;
    let good = fixture.token(common::ada().claim("note", CANARY));
    let signature = good.rsplit('.').next().unwrap().to_owned();
    let key = fixture.api_key("acme", "ci").0;
    let tokens = [
        good.clone(),
        format!("{good}A"),
        format!("{CANARY}.{CANARY}.{CANARY}"),
        fixture.forge(&with("iss", CANARY)),
        fixture.forge(&with("aud", CANARY)),
        fixture.forge(&with("tenant_id", CANARY)),
        fixture.forge(&with("sub", format!("{CANARY} "))),
        fixture.forge(&with("exp", CANARY)),
        fixture
            .minter
            .mint_raw(HEADER, &format!("{{\"{CANARY}\":"))
            .unwrap(),
        fixture
            .minter
            .mint_raw(&format!(r#"{{"alg":"{CANARY}"}}"#), "{}")
            .unwrap(),
        format!("sk_live_{CANARY}"),
        format!("{}x", key.expose()),
    ];
    let mut shown = String::new();
    for token in &tokens {
        for value in [
            format!("Bearer {token}"),
            format!("ApiKey {token}"),
            format!("{CANARY} {token}"),
            format!("Bearer {token} {CANARY}"),
        ] {
            let answer = service
                .get("/", &[("authorization", value.as_bytes())])
                .await;
            shown += &format!("{answer:?}");
        }
        let answer = service.get("/", &[("x-api-key", token.as_bytes())]).await;
        shown += &format!("{answer:?}");
        let rejected = fixture.bearer(token);
        shown += &format!("{rejected:?}");
        if let Err(rejection) = rejected {
            shown += &format!("{rejection} {:?}", std::error::Error::source(&rejection));
        }
    }
    service
        .get("/", &[("x-api-key", key.expose().as_bytes())])
        .await;

    let secret = [CANARY, "0123456789abcdef0123456789"].concat();
    let verifying = VerifyingKey::hs256(&secret).kid("a");
    shown += &format!("{verifying:?} {:?}", VerifyingKey::rs256_pem(CANARY));
    shown += &format!("{:?}", VerifyingKey::rs256_pem(CANARY).check());
    shown += &format!(
        "{:?}",
        tenant_auth::KeySet::from_json(format!(
            r#"{{"keys":[{{"kty":"oct","k":"{CANARY}"}},"{CANARY}"]}}"#
        ))
    );
    shown += &format!("{:?}", tenant_auth::KeySet::from_json(CANARY));
    shown += &format!(
        "{:?}",
        tenant_auth::TokenMinter::hs256("a", &secret).unwrap()
    );
    shown += &format!("{:?}", tenant_auth::TokenMinter::hs256("a", CANARY));
    let keys = tenant_auth::ApiKeys::in_memory("sk", "live", &secret).unwrap();
    let (issued, id) = common::now(keys.issue(common::new_key("acme", "ci")));
    shown += &format!("{keys:?} {issued:?} {id:?}");
    let builder = tenant_auth::layer(fixture.tenants.clone())
        .jwt(Issuer::new("a").audience("b").key(verifying))
        .api_keys(keys);
    shown += &format!("{builder:?}");
    let layer = builder.build().unwrap();
    shown += &format!("{layer:?} {:?}", fixture.auth);

    let logged = String::from_utf8(log.0.lock().clone()).unwrap();
    assert!(logged.contains("handled"), "the log is captured: {logged}");
    assert!(service.handled() >= 2);
    for secret in [CANARY, &*signature, key.expose(), issued.expose(), &*good] {
        assert!(!logged.contains(secret), "{secret} in the log: {logged}");
        assert!(!shown.contains(secret), "{secret} shown: {shown}");
    }
}
