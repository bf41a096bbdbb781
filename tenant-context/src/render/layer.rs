//! The layer that turns refusals into bytes, once, at the edge.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, header};
use http_body::Body;
use pin_project::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use super::{Protocol, RenderBody, Rendered, problem::problem_json};
use crate::Rejection;

type Renderer = Arc<dyn Fn(&Rejection) -> Rendered + Send + Sync>;

/// Renders every [`Rejection`] found in a response's extensions: problem+json for HTTP, a
/// trailers-only answer for gRPC. It stands outside of all layers that refuse, inside of audit.
///
/// [`TenantStack`](crate::TenantStack) includes it.
///
/// A service with an error envelope of its own says how it renders for HTTP; status and headers
/// (`WWW-Authenticate`, `Retry-After`) stay as they are:
///
/// ```
/// use http::HeaderValue;
/// use tenant_context::{RenderLayer, Rendered};
///
/// let layer = RenderLayer::new().render_with(|rejection| {
///     let body = format!(r#"{{"error":{{"message":"{rejection}"}}}}"#);
///     Rendered::new(HeaderValue::from_static("application/json"), body)
/// });
/// ```
#[derive(Clone, Default)]
#[must_use = "a layer does nothing until it wraps a service"]
pub struct RenderLayer {
    renderer: Option<Renderer>,
}

impl RenderLayer {
    /// Renders problem+json.
    pub const fn new() -> Self {
        Self { renderer: None }
    }

    /// Renders HTTP refusals in the application's own form. The function sees what a client may know
    /// (`Display`) and what it may not ([`Rejection::reason`]): show the former only.
    pub fn render_with(
        mut self,
        renderer: impl Fn(&Rejection) -> Rendered + Send + Sync + 'static,
    ) -> Self {
        self.renderer = Some(Arc::new(renderer));
        self
    }
}

impl fmt::Debug for RenderLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RenderLayer")
            .field("custom", &self.renderer.is_some())
            .finish()
    }
}

impl<S> Layer<S> for RenderLayer {
    type Service = Render<S>;

    fn layer(&self, inner: S) -> Render<S> {
        Render {
            inner,
            renderer: self.renderer.clone(),
        }
    }
}

/// The service of [`RenderLayer`].
#[derive(Clone)]
pub struct Render<S> {
    inner: S,
    renderer: Option<Renderer>,
}

impl<S: fmt::Debug> fmt::Debug for Render<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Render")
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for Render<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    ResBody: Body<Data = Bytes>,
{
    type Response = Response<RenderBody<ResBody>>;
    type Error = S::Error;
    type Future = RenderFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        let is_head = *request.method() == Method::HEAD;
        // gRPC is POST; under another method the identity layer refuses it, and says it was gRPC.
        let protocol = if *request.method() == Method::POST {
            Protocol::of(request.headers())
        } else {
            Protocol::Http
        };
        RenderFuture {
            inner: self.inner.call(request),
            protocol,
            is_head,
            renderer: self.renderer.clone(),
        }
    }
}

/// The response future of [`Render`].
#[pin_project]
pub struct RenderFuture<F> {
    #[pin]
    inner: F,
    protocol: Protocol,
    is_head: bool,
    renderer: Option<Renderer>,
}

impl<F, B, E> Future for RenderFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Body<Data = Bytes>,
{
    type Output = Result<Response<RenderBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let response = ready!(this.inner.poll(cx))?;
        if response.extensions().get::<Rejection>().is_none() {
            return Poll::Ready(Ok(response.map(RenderBody::inner)));
        }
        let to_body: &dyn Fn(&Rejection) -> Rendered = match this.renderer {
            Some(renderer) => &**renderer,
            None => &problem_json,
        };
        let protocol = match Protocol::of(response.headers()) {
            Protocol::Grpc => Protocol::Grpc,
            Protocol::Http => *this.protocol,
        };
        Poll::Ready(Ok(render(response, protocol, *this.is_head, to_body)))
    }
}

fn render<B>(
    response: Response<B>,
    protocol: Protocol,
    is_head: bool,
    to_body: &dyn Fn(&Rejection) -> Rendered,
) -> Response<RenderBody<B>> {
    let (mut parts, _replaced) = response.into_parts();
    let Some(rejection) = parts.extensions.get::<Rejection>() else {
        return Response::from_parts(parts, RenderBody::rendered(Bytes::new()));
    };
    // Whoever refused may not have known the protocol (a handler): the head is written again, over what
    // others added on the way out.
    rejection.write_head(protocol, &mut parts.status, &mut parts.headers);
    let body = match protocol {
        Protocol::Grpc => {
            parts.headers.remove(header::CONTENT_LENGTH);
            parts.headers.remove(header::RETRY_AFTER);
            Bytes::new()
        }
        Protocol::Http => {
            let rendered = to_body(rejection);
            parts
                .headers
                .insert(header::CONTENT_TYPE, rendered.content_type);
            parts.headers.insert(
                header::CONTENT_LENGTH,
                HeaderValue::from(rendered.body.len()),
            );
            // The answer to HEAD has the length and no content (RFC 9110 §9.3.2); over HTTP/2 it would be an error.
            if is_head { Bytes::new() } else { rendered.body }
        }
    };
    Response::from_parts(parts, RenderBody::rendered(body))
}

impl<F: fmt::Debug> fmt::Debug for RenderFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RenderFuture")
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}
