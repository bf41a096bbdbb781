//! A client of the two services, over real sockets. It numbers every request that it sends.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, header};
use bytes::Bytes;
use futures_util::Stream;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{self, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::Value;
use tenant_context::{BoxError, X_REQUEST_ID};
use tonic::{Code, Status, transport::Channel};
use tonic_types::StatusExt;
use uuid::Uuid;

use crate::grpc::proto::{
    health_client::HealthClient, invoices_client::InvoicesClient, late_client::LateClient,
};

/// The longest wait for any one thing.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// Waits, but not for ever.
pub(crate) async fn within<F: Future>(future: F) -> Result<F::Output, BoxError> {
    tokio::time::timeout(PATIENCE, future)
        .await
        .map_err(|_| format!("nothing came back within {} s", PATIENCE.as_secs()).into())
}

/// Speaks to both services.
pub(crate) struct Client {
    http: legacy::Client<HttpConnector, Full<Bytes>>,
    grpc: Channel,
    base: String,
    run: String,
    sent: AtomicU64,
}

impl Client {
    pub(crate) fn new(http: SocketAddr, grpc: SocketAddr) -> Result<Self, BoxError> {
        Ok(Self {
            http: legacy::Client::builder(TokioExecutor::new()).build_http(),
            grpc: Channel::from_shared(format!("http://{grpc}"))?.connect_lazy(),
            base: format!("http://{http}"),
            run: Uuid::new_v4().simple().to_string(),
            sent: AtomicU64::new(0),
        })
    }

    /// The ids of all requests that were sent.
    pub(crate) fn sent(&self) -> Vec<String> {
        let sent = self.sent.load(Ordering::SeqCst);
        (1..=sent).map(|number| self.id(number)).collect()
    }

    /// What the ids of all requests begin with.
    pub(crate) fn run(&self) -> &str {
        &self.run
    }

    fn id(&self, number: u64) -> String {
        format!("{}-{number}", self.run)
    }

    fn next_id(&self) -> String {
        self.id(self.sent.fetch_add(1, Ordering::SeqCst).saturating_add(1))
    }

    pub(crate) fn get(&self, path: &str) -> Call<'_> {
        self.call(Method::GET, path, Bytes::new())
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Call<'_> {
        self.call(Method::POST, path, body.to_string().into())
    }

    pub(crate) fn patch(&self, path: &str, body: &Value) -> Call<'_> {
        self.call(Method::PATCH, path, body.to_string().into())
    }

    /// A request of this run to another server, which the audit of this one does not see.
    pub(crate) async fn elsewhere(
        &self,
        server: SocketAddr,
        path: &str,
        token: &str,
    ) -> Result<Answer, BoxError> {
        let call = self.get("").bearer(token);
        let uri = format!("http://{server}{path}");
        Call {
            uri,
            numbered: false,
            ..call
        }
        .send()
        .await
    }

    fn call(&self, method: Method, path: &str, body: Bytes) -> Call<'_> {
        Call {
            client: self,
            method,
            uri: format!("{}{path}", self.base),
            headers: HeaderMap::new(),
            body,
            numbered: true,
        }
    }

    pub(crate) fn invoices(&self) -> InvoicesClient<Channel> {
        InvoicesClient::new(self.grpc.clone())
    }

    pub(crate) fn health(&self) -> HealthClient<Channel> {
        HealthClient::new(self.grpc.clone())
    }

    pub(crate) fn late(&self) -> LateClient<Channel> {
        LateClient::new(self.grpc.clone())
    }

    /// A gRPC request without a credential. Made to be sent: it is counted here.
    pub(crate) fn anonymous<T>(&self, message: T) -> Result<tonic::Request<T>, BoxError> {
        let mut request = tonic::Request::new(message);
        request
            .metadata_mut()
            .insert("x-request-id", self.next_id().parse()?);
        Ok(request)
    }

    /// A gRPC request with a bearer token.
    pub(crate) fn rpc<T>(&self, token: &str, message: T) -> Result<tonic::Request<T>, BoxError> {
        let mut request = self.anonymous(message)?;
        request
            .metadata_mut()
            .insert("authorization", format!("Bearer {token}").parse()?);
        Ok(request)
    }
}

/// One HTTP request.
#[must_use = "a call does nothing until it is sent"]
pub(crate) struct Call<'a> {
    client: &'a Client,
    method: Method,
    uri: String,
    headers: HeaderMap,
    body: Bytes,
    numbered: bool,
}

impl Call<'_> {
    pub(crate) fn bearer(self, token: &str) -> Self {
        self.header(header::AUTHORIZATION, &format!("Bearer {token}"))
    }

    /// Only text that the tour itself makes: what is no header is left out.
    pub(crate) fn header(mut self, name: HeaderName, value: &str) -> Self {
        if let Ok(value) = value.parse() {
            self.headers.append(name, value);
        }
        self
    }

    async fn open(self) -> Result<axum::http::Response<Incoming>, BoxError> {
        let mut request = Request::builder().method(self.method).uri(self.uri);
        if !self.body.is_empty() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        if self.numbered {
            request = request.header(X_REQUEST_ID, self.client.next_id());
        }
        let mut request = request.body(Full::new(self.body))?;
        request.headers_mut().extend(self.headers);
        Ok(within(self.client.http.request(request)).await??)
    }

    pub(crate) async fn send(self) -> Result<Answer, BoxError> {
        let (head, body) = self.open().await?.into_parts();
        Ok(Answer {
            status: head.status,
            headers: head.headers,
            body: within(body.collect()).await??.to_bytes(),
        })
    }

    /// Sends the request and reads the answer's server-sent events one by one.
    pub(crate) async fn stream(self) -> Result<Events, BoxError> {
        let response = self.open().await?;
        if response.status() != StatusCode::OK {
            return Err(format!("the stream was answered with {}", response.status()).into());
        }
        Ok(Events {
            body: response.into_body(),
            read: Vec::new(),
        })
    }
}

/// A whole HTTP answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn code(&self) -> u16 {
        self.status.as_u16()
    }

    /// The body as JSON, null if it is none.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// A text in the body's JSON, empty if there is none.
    pub(crate) fn text(&self, pointer: &str) -> String {
        let json = self.json();
        let found = json.pointer(pointer).and_then(Value::as_str);
        found.unwrap_or_default().to_owned()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_default()
    }

    /// The headers in their order, without the date and the request's number.
    fn lasting_headers(&self) -> impl Iterator<Item = (&HeaderName, &HeaderValue)> {
        let lasts = |name: &HeaderName| *name != header::DATE && *name != X_REQUEST_ID;
        self.headers.iter().filter(move |(name, _)| lasts(name))
    }

    /// Whether two answers are the same byte for byte, but for their dates and numbers.
    pub(crate) fn same_as(&self, other: &Self) -> bool {
        self.status == other.status
            && self.lasting_headers().eq(other.lasting_headers())
            && self.body == other.body
    }

    /// The problem's type, without what stands before its name.
    pub(crate) fn problem(&self) -> String {
        let kind = self.text("/type");
        kind.rsplit(['#', ':'])
            .next()
            .unwrap_or_default()
            .to_owned()
    }
}

/// The server-sent events of an open HTTP stream.
pub(crate) struct Events {
    body: Incoming,
    read: Vec<u8>,
}

impl Events {
    /// The next event's text, `None` at an orderly end.
    pub(crate) async fn next(&mut self) -> Result<Option<String>, BoxError> {
        const END: &[u8] = b"\n\n";
        loop {
            if let Some(at) = self.read.windows(END.len()).position(|two| two == END) {
                let rest = self.read.split_off(at.saturating_add(END.len()));
                let event = std::mem::replace(&mut self.read, rest);
                return Ok(Some(String::from_utf8_lossy(&event).trim().to_owned()));
            }
            match within(self.body.frame()).await? {
                None => return Ok(None),
                Some(frame) => self.read.extend(frame?.data_ref().into_iter().flatten()),
            }
        }
    }

    /// How an open stream ends: whatever still arrives before is passed over.
    pub(crate) async fn end(&mut self) -> &'static str {
        loop {
            match self.next().await {
                Ok(Some(_)) => {}
                Ok(None) => return "ended as if complete",
                Err(error) if error.is::<hyper::Error>() => return "connection cut",
                Err(_) => return "still open",
            }
        }
    }
}

/// The next message of an open gRPC stream.
pub(crate) async fn next<T>(
    stream: &mut (impl Stream<Item = Result<T, Status>> + Unpin),
) -> Result<Option<T>, BoxError> {
    use futures_util::TryStreamExt;
    Ok(within(stream.try_next()).await??)
}

/// A status as the table shows it: `5 NOT_FOUND`.
pub(crate) fn named(code: Code) -> String {
    let name = match code {
        Code::Ok => "OK",
        Code::NotFound => "NOT_FOUND",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::Unauthenticated => "UNAUTHENTICATED",
        other => return format!("{} {other:?}", i32::from(other)),
    };
    format!("{} {name}", i32::from(code))
}

/// What came back from a call, as the table shows it.
pub(crate) fn code<T>(reply: &Result<T, Status>) -> String {
    named(reply.as_ref().err().map_or(Code::Ok, Status::code))
}

/// The reason in a status' `ErrorInfo`.
pub(crate) fn reason(status: &Status) -> String {
    let info = status.get_details_error_info();
    info.map(|info| info.reason).unwrap_or_default()
}

/// Whether two refusals are the same, but for their dates and numbers.
pub(crate) fn same<T, U>(one: &Result<T, Status>, other: &Result<U, Status>) -> bool {
    let bytes = |status: &Status| {
        let mut headers = status.metadata().clone().into_headers();
        headers.remove(header::DATE);
        headers.remove(X_REQUEST_ID);
        (
            status.code(),
            status.message().to_owned(),
            status.details().to_vec(),
            headers,
        )
    };
    match (one, other) {
        (Err(one), Err(other)) => bytes(one) == bytes(other),
        _ => false,
    }
}
