//! The service, its two tenants with their invoices, and what is sent to it.

use std::{
    ffi::OsStr,
    fs,
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use axum::http::StatusCode;
use serde_json::{Value, json};
use tempfile::TempDir;
use tenant_auth::{ApiKeySecret, ApiKeys, NewApiKey, NewToken, TokenMinter};
use tenant_context::{Principal, PrincipalId, SystemClock, TenantId, TenantRecord};
use tokio::net::TcpListener;
use uuid::Uuid;

use crate::{
    client::{Answer, Client, PATIENCE, within},
    grpc::proto::CreateRequest,
    stack::{self, AUDIENCE, ISSUER, Service},
    store::Invoice,
};

/// `SplitMix64`: the same operations for the same seed.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(bound).unwrap()).unwrap()
    }

    pub(super) fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }

    pub(super) fn uuid(&mut self) -> Uuid {
        let bytes = u128::from(self.next()) << 64 | u128::from(self.next());
        uuid::Builder::from_random_bytes(bytes.to_be_bytes()).into_uuid()
    }
}

/// A tenant with three invoices.
pub(super) struct Side {
    pub(super) tenant: &'static str,
    pub(super) token: String,
    /// Stands in each of its invoices and in no request of the other.
    pub(super) canary: String,
    pub(super) invoices: Vec<Invoice>,
    /// What each of its invoices comes to: digits that stand in nothing else.
    pub(super) cents: u64,
}

pub(super) struct World {
    pub(super) service: Service,
    pub(super) client: Client,
    pub(super) minter: TokenMinter,
    pub(super) globex_key: ApiKeySecret,
    pub(super) acme: Side,
    pub(super) globex: Side,
    raw: AtomicU64,
    _log: TempDir,
}

impl World {
    pub(super) async fn start() -> Self {
        let listen = async || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let minter = TokenMinter::eddsa_generate("isolation").unwrap();
        let keys = ApiKeys::in_memory("sk", "test", [7; 32]).unwrap();
        let robot = Principal::service(PrincipalId::parse("robot").unwrap());
        let globex_id = TenantId::parse("globex").unwrap();
        let (globex_key, _) = keys
            .issue(NewApiKey::new(globex_id.clone(), robot))
            .await
            .unwrap();
        let log = tempfile::tempdir().unwrap();
        let listeners = (listen().await, listen().await);
        let dir = log.path().join("log");
        let service = stack::start(listeners, minter.verifying_key(), keys, dir).unwrap();
        let client = Client::new(service.http, service.grpc).unwrap();
        let side = |tenant: &'static str, who: &str, cents| Side {
            tenant,
            token: mint(
                &minter,
                &of(tenant, who).scopes(["invoices:read", "invoices:write"]),
            ),
            canary: format!("{tenant}-canary-{}", Uuid::new_v4().simple()),
            invoices: Vec::new(),
            cents,
        };
        let mut world = Self {
            acme: side("acme", "ada", 3_141_592_653),
            globex: side("globex", "grace", 7_000_000_000_000),
            service,
            client,
            minter,
            globex_key,
            raw: AtomicU64::new(0),
            _log: log,
        };
        world.acme.invoices = world.fill(&world.acme).await;
        world.globex.invoices = world.fill(&world.globex).await;
        // The small plan would end these tests early.
        let upgrade = TenantRecord::new(globex_id).plan("pro").version(1);
        world.service.tenants.apply(upgrade);
        world
    }

    async fn fill(&self, side: &Side) -> Vec<Invoice> {
        for number in 0..2 {
            let customer = format!("{} {number}", side.canary);
            let new = json!({ "customer": customer, "cents": side.cents });
            let made = self.client.post("/invoices", &new).bearer(&side.token);
            assert_eq!(made.send().await.unwrap().status, StatusCode::CREATED);
        }
        let customer = format!("{} rpc", side.canary);
        let cents = side.cents;
        let new = self
            .client
            .rpc(&side.token, CreateRequest { customer, cents });
        let mut rpc = self.client.invoices();
        within(rpc.create(new.unwrap())).await.unwrap().unwrap();
        self.list(side).await
    }

    pub(super) async fn list(&self, side: &Side) -> Vec<Invoice> {
        let answer = self.get("/invoices", &side.token).await;
        let mut invoices: Vec<Invoice> = serde_json::from_slice(&answer.body).unwrap();
        invoices.sort_by_key(|invoice| invoice.id);
        invoices
    }

    pub(super) async fn get(&self, path: &str, token: &str) -> Answer {
        self.client.get(path).bearer(token).send().await.unwrap()
    }

    /// A request whose head is written byte by byte. `{host}` of the line and the headers is replaced.
    pub(super) async fn raw(&self, line: &str, token: Option<&str>, headers: &[&[u8]]) -> Raw {
        let number = self.raw.fetch_add(1, Ordering::SeqCst) + 1;
        let mut head = format!("{line} HTTP/1.1\r\nConnection: close\r\n").into_bytes();
        head.extend(format!("X-Request-ID: raw-{}-{number}\r\n", self.client.run()).bytes());
        if let Some(token) = token {
            head.extend(format!("Authorization: Bearer {token}\r\n").bytes());
        }
        let named = |name: &[u8]| {
            headers
                .iter()
                .any(|it| it.to_ascii_lowercase().starts_with(name))
        };
        if !named(b"host:") {
            head.extend(format!("Host: {}\r\n", self.service.http).bytes());
        }
        for header in headers {
            head.extend([header, b"\r\n".as_slice()].concat());
        }
        head.extend(b"\r\n");
        let address = self.service.http;
        within(tokio::task::spawn_blocking(move || {
            exchange(address, &head)
        }))
        .await
        .unwrap()
        .unwrap()
    }

    pub(super) fn sides(&self, swapped: bool) -> (&Side, &Side) {
        if swapped {
            (&self.globex, &self.acme)
        } else {
            (&self.acme, &self.globex)
        }
    }

    /// The ids of all requests sent.
    pub(super) fn sent(&self) -> Vec<String> {
        let raw = 1..=self.raw.load(Ordering::SeqCst);
        let raw = raw.map(|number| format!("raw-{}-{number}", self.client.run()));
        self.client.sent().into_iter().chain(raw).collect()
    }

    /// What stands in the log, with the file it stands in, once there is something for every request
    /// (an answer can reach the client a moment before the server is done with it).
    pub(super) async fn log(&self) -> Vec<(String, Value)> {
        let mut again = tokio::time::interval(Duration::from_millis(20));
        let complete = async {
            loop {
                again.tick().await;
                self.service.audit.flush().await.unwrap();
                let log = self.written();
                if log.len() >= self.sent().len() {
                    return log;
                }
            }
        };
        tokio::time::timeout(PATIENCE, complete)
            .await
            .unwrap_or_else(|_| self.written())
    }

    fn written(&self) -> Vec<(String, Value)> {
        let mut written = Vec::new();
        for entry in fs::read_dir(&self.service.audit_dir).unwrap() {
            let path = entry.unwrap().path();
            if path.extension() == Some(OsStr::new("jsonl")) {
                let name = path.file_name().unwrap().to_string_lossy();
                for line in fs::read_to_string(&path).unwrap().lines() {
                    let mut line: Value = serde_json::from_str(line).unwrap();
                    let record = line["record"].take();
                    if record["request_id"].is_string() {
                        written.push((name.clone().into_owned(), record));
                    }
                }
            }
        }
        written
    }
}

pub(super) fn of(tenant: &str, who: &str) -> NewToken {
    NewToken::new(ISSUER, AUDIENCE, tenant, who)
}

pub(super) fn mint(minter: &TokenMinter, token: &NewToken) -> String {
    minter.mint(token, &SystemClock::new()).unwrap()
}

/// An answer as it came over the wire.
pub(super) struct Raw {
    pub(super) code: u16,
    pub(super) text: String,
}

fn exchange(address: SocketAddr, head: &[u8]) -> Raw {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(head).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let text = String::from_utf8_lossy(&answer).into_owned();
    let code = text.split(' ').nth(1).and_then(|code| code.parse().ok());
    Raw {
        code: code.unwrap_or_else(|| panic!("no answer to {:?}", String::from_utf8_lossy(head))),
        text,
    }
}

impl Raw {
    /// Without the date, the request's number, and how the cache came to it.
    pub(super) fn lasting(&self) -> String {
        const PASSING: [&str; 3] = ["date: ", "x-request-id: ", "cache-status: "];
        let passes = |line: &str| PASSING.iter().any(|name| line.starts_with(name));
        let lines = self.text.split("\r\n").filter(|line| !passes(line));
        lines.collect::<Vec<_>>().join("\r\n")
    }
}
