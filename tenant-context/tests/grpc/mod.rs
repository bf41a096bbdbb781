//! A gRPC service of texts behind the identity layer, and its client: all four kinds of call, without
//! generated code.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Buf, BufMut};
use futures_util::{Stream, StreamExt, stream};
use http::uri::PathAndQuery;
use tenant_context::{CachedRegistry, Clock, IdentityLayer, IdentityLayerBuilder, TenantId};
use tenant_testkit::{ManualClock, TestAuth, claims, tenants};
use tokio::{
    net::TcpListener,
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
};
use tonic::{
    Request, Response, Status, Streaming,
    body::Body,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    server::NamedService,
    transport::{Channel, Server, server::TcpIncoming},
};
use tower::service_fn;

pub(crate) const LIMIT: Duration = Duration::from_secs(20);

/// Messages are texts, as they are.
#[derive(Clone, Copy, Debug, Default)]
struct Text;

impl Codec for Text {
    type Encode = String;
    type Decode = String;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Text {
    type Item = String;
    type Error = Status;

    fn encode(&mut self, text: String, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put_slice(text.as_bytes());
        Ok(())
    }
}

impl Decoder for Text {
    type Item = String;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<String>, Status> {
        let bytes = from.copy_to_bytes(from.remaining());
        Ok(Some(String::from_utf8(bytes.to_vec()).unwrap()))
    }
}

/// The service, and what its handlers say they have seen.
#[derive(Clone)]
struct Kinds {
    seen: UnboundedSender<String>,
    tenants: CachedRegistry,
}

impl NamedService for Kinds {
    const NAME: &'static str = "t";
}

type Texts = Pin<Box<dyn Stream<Item = Result<String, Status>> + Send>>;

struct SayWhenDropped(UnboundedSender<String>, &'static str);

impl Drop for SayWhenDropped {
    fn drop(&mut self) {
        self.0.send(self.1.to_owned()).ok();
    }
}

impl Kinds {
    fn say(&self, text: &str) {
        self.seen.send(text.to_owned()).ok();
    }

    async fn unary(self, path: String) -> Result<Response<String>, Status> {
        match path.as_str() {
            "/t/SuspendsItself" => {
                self.tenants.suspend(&TenantId::parse("acme").unwrap());
                tokio::task::yield_now().await;
            }
            "/t/Hangs" => {
                self.say("Hangs");
                let _guard = SayWhenDropped(self.seen.clone(), "Hangs is dropped");
                std::future::pending::<()>().await;
            }
            _ => {}
        }
        Ok(Response::new("done".to_owned()))
    }

    /// Takes the end of its input for what it is not.
    async fn upload(self, mut texts: Streaming<String>) -> Result<Response<String>, Status> {
        loop {
            match texts.message().await {
                Ok(Some(text)) => self.say(&text),
                Ok(None) => break,
                Err(_) => {
                    self.say("Upload ends with an error");
                    break;
                }
            }
        }
        Ok(Response::new("success".to_owned()))
    }

    fn events() -> Response<Texts> {
        let first = stream::once(async { Ok("event".to_owned()) });
        Response::new(first.chain(stream::pending()).boxed())
    }

    /// Says every text again, and stays when the client has said all.
    fn chat(self, texts: Streaming<String>) -> Response<Texts> {
        let echo = stream::unfold((self, texts), |(kinds, mut texts)| async move {
            if let Ok(Some(text)) = texts.message().await {
                kinds.say(&text);
                return Some((Ok(text), (kinds, texts)));
            }
            kinds.say("Chat ends");
            std::future::pending().await
        });
        Response::new(echo.boxed())
    }
}

impl tower::Service<http::Request<Body>> for Kinds {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let (kinds, path) = (self.clone(), request.uri().path().to_owned());
        let mut grpc = tonic::server::Grpc::new(Text);
        Box::pin(async move {
            Ok(match path.as_str() {
                "/t/Upload" => {
                    let upload = move |texts: Request<_>| kinds.clone().upload(texts.into_inner());
                    grpc.client_streaming(service_fn(upload), request).await
                }
                "/t/Events" => {
                    let events = |_: Request<String>| async { Ok::<_, Status>(Kinds::events()) };
                    grpc.server_streaming(service_fn(events), request).await
                }
                "/t/Chat" => {
                    let chat = move |texts: Request<_>| {
                        let answer = kinds.clone().chat(texts.into_inner());
                        async move { Ok::<_, Status>(answer) }
                    };
                    grpc.streaming(service_fn(chat), request).await
                }
                _ => {
                    let unary = move |_: Request<String>| kinds.clone().unary(path.clone());
                    grpc.unary(service_fn(unary), request).await
                }
            })
        })
    }
}

#[derive(Clone)]
pub(crate) struct Client(Channel);

fn bearing<T>(token: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    let value = format!("Test {token}").parse().unwrap();
    request.metadata_mut().insert("authorization", value);
    request
}

impl Client {
    pub(crate) async fn unary(
        &mut self,
        token: &str,
        path: &'static str,
    ) -> Result<String, Status> {
        let mut grpc = tonic::client::Grpc::new(self.0.clone());
        grpc.ready().await.unwrap();
        let path = PathAndQuery::from_static(path);
        let request = bearing(token, String::new());
        grpc.unary(request, path, Text)
            .await
            .map(Response::into_inner)
    }
}

/// A call whose request and response are streams; a single message is a stream of one.
pub(crate) async fn streaming(
    client: &Client,
    token: &str,
    path: &'static str,
    texts: impl Stream<Item = String> + Send + 'static,
) -> Result<Streaming<String>, Status> {
    let mut grpc = tonic::client::Grpc::new(client.0.clone());
    grpc.ready().await.unwrap();
    let path = PathAndQuery::from_static(path);
    grpc.streaming(bearing(token, texts), path, Text)
        .await
        .map(Response::into_inner)
}

pub(crate) struct House {
    pub(crate) client: Client,
    pub(crate) tenants: CachedRegistry,
    pub(crate) seen: UnboundedReceiver<String>,
}

pub(crate) async fn house() -> House {
    house_with(|layer| layer).await
}

pub(crate) async fn house_with(
    configure: impl FnOnce(IdentityLayerBuilder) -> IdentityLayerBuilder,
) -> House {
    house_at(&ManualClock::new(), configure).await
}

pub(crate) async fn house_at(
    clock: &ManualClock,
    configure: impl FnOnce(IdentityLayerBuilder) -> IdentityLayerBuilder,
) -> House {
    let tenants = tenants(&["acme", "globex"], clock);
    let mut short = claims("acme", "short");
    short.expires_at = clock.unix().saturating_add(Duration::from_secs(60));
    let auth = TestAuth::new(tenants.clone())
        .accept("ada", claims("acme", "ada"))
        .accept("short", short)
        .accept("gus", claims("globex", "gus"));
    let layer = configure(IdentityLayer::builder()).build(auth).unwrap();
    let (say, seen) = unbounded_channel();
    let service = Kinds {
        seen: say,
        tenants: tenants.clone(),
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = Server::builder().layer(layer).add_service(service);
    tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
    let channel = Channel::from_shared(format!("http://{address}")).unwrap();
    House {
        client: Client(channel.connect().await.unwrap()),
        tenants,
        seen,
    }
}
