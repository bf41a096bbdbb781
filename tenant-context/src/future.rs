//! The response future of the identity layer.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use futures_util::future::BoxFuture;
use http::{HeaderName, HeaderValue, Request, Response};
use http_body::Body;
use pin_project::pin_project;
use tower_service::Service;

use crate::{
    EndReason, GuardedBody, Protocol, RefusalBody, Rejection, TenantContext, WatchedBody,
    context::{Watch, enter},
    layer::Shared,
    service::{admit, guard},
};

/// The response future of [`IdentityService`](crate::IdentityService): no box unless a look-up had to
/// wait.
#[pin_project]
pub struct ResponseFuture<S, A, B>
where
    S: Service<Request<GuardedBody<B>>>,
{
    #[pin]
    state: State<S, A, B>,
}

#[pin_project(project = StateProj)]
enum State<S, A, B>
where
    S: Service<Request<GuardedBody<B>>>,
{
    Deciding(Option<Box<Deciding<S, A, B>>>),
    Calling(#[pin] Calling<S::Future>),
    Refused(Option<Response<()>>),
}

struct Deciding<S, A, B> {
    decision: BoxFuture<'static, Result<TenantContext, Rejection>>,
    service: S,
    request: Request<B>,
    internal: Vec<(HeaderName, HeaderValue)>,
    shared: Arc<Shared<A>>,
}

#[pin_project]
struct Calling<F> {
    #[pin]
    inner: F,
    watch: Option<Watch>,
    protocol: Protocol,
    /// Whether the end of the context cuts the handler too.
    cut: bool,
}

impl<S, A, B> ResponseFuture<S, A, B>
where
    S: Service<Request<GuardedBody<B>>>,
{
    pub(crate) fn deciding(
        decision: BoxFuture<'static, Result<TenantContext, Rejection>>,
        service: S,
        request: Request<B>,
        internal: Vec<(HeaderName, HeaderValue)>,
        shared: Arc<Shared<A>>,
    ) -> Self {
        Self {
            state: State::Deciding(Some(Box::new(Deciding {
                decision,
                service,
                request,
                internal,
                shared,
            }))),
        }
    }

    pub(crate) fn calling(
        service: &mut S,
        request: Request<GuardedBody<B>>,
        watch: Option<Watch>,
        protocol: Protocol,
        cut: bool,
    ) -> Self {
        Self {
            state: State::Calling(call(service, request, watch, protocol, cut)),
        }
    }

    pub(crate) fn refused(rejection: &Rejection, protocol: Protocol) -> Self {
        Self {
            state: State::Refused(Some(rejection.to_response(protocol))),
        }
    }
}

fn call<S, B>(
    service: &mut S,
    request: Request<GuardedBody<B>>,
    mut watch: Option<Watch>,
    protocol: Protocol,
    cut: bool,
) -> Calling<S::Future>
where
    S: Service<Request<GuardedBody<B>>>,
{
    let mut nobody = None;
    let entered = enter(watch.as_mut(), &mut nobody);
    let inner = service.call(request);
    drop(entered);
    Calling {
        inner,
        watch,
        protocol,
        cut,
    }
}

impl<F, B, E> Calling<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    fn poll(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Response<RefusalBody<WatchedBody<B>>>, E>> {
        let this = self.project();
        if *this.cut
            && let Some(reason) = this.watch.as_ref().and_then(Watch::ended)
        {
            return Poll::Ready(Ok(end(reason, *this.protocol)));
        }
        let mut nobody = None;
        let entered = enter(this.watch.as_mut(), &mut nobody);
        let polled = this.inner.poll(cx);
        drop(entered);
        match polled {
            Poll::Ready(answer) => {
                let watch = this.watch.take();
                let upload = watch.as_ref().and_then(Watch::upload);
                if let Some(reason) = upload.and_then(|upload| upload.was_cut()) {
                    // Whatever the handler took the end of its input for, it has not had all of it.
                    return Poll::Ready(Ok(end(reason, *this.protocol)));
                }
                Poll::Ready(answer.map(|response| {
                    let protocol = Protocol::of(response.headers());
                    response.map(|body| RefusalBody::Inner(WatchedBody::new(body, watch, protocol)))
                }))
            }
            Poll::Pending => {
                if *this.cut
                    && let Some(watch) = this.watch.as_mut()
                {
                    let reason = ready!(watch.poll_ended(cx));
                    return Poll::Ready(Ok(end(reason, *this.protocol)));
                }
                Poll::Pending
            }
        }
    }
}

fn end<B>(reason: EndReason, protocol: Protocol) -> Response<RefusalBody<WatchedBody<B>>> {
    reason
        .rejection()
        .to_response(protocol)
        .map(|()| RefusalBody::Empty)
}

impl<S, A, B, ResBody> Future for ResponseFuture<S, A, B>
where
    S: Service<Request<GuardedBody<B>>, Response = Response<ResBody>>,
    B: Body,
{
    type Output = Result<Response<RefusalBody<WatchedBody<ResBody>>>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            let next = match state.as_mut().project() {
                StateProj::Calling(calling) => return calling.poll(cx),
                StateProj::Refused(response) => match response.take() {
                    Some(response) => {
                        return Poll::Ready(Ok(response.map(|()| RefusalBody::Empty)));
                    }
                    None => return Poll::Pending,
                },
                StateProj::Deciding(slot) => {
                    let Some(waiting) = slot.as_mut() else {
                        return Poll::Pending;
                    };
                    let decision = ready!(waiting.decision.as_mut().poll(cx));
                    let Some(decided) = slot.take() else {
                        return Poll::Pending;
                    };
                    let Deciding {
                        mut service,
                        mut request,
                        internal,
                        shared,
                        ..
                    } = *decided;
                    match admit(&mut request, decision, &internal, &shared.settings) {
                        Ok(mut watch) => {
                            let protocol = Protocol::of(request.headers());
                            let cut = shared.settings.cut_in_flight;
                            let request = guard(request, watch.as_mut());
                            State::Calling(call(&mut service, request, watch, protocol, cut))
                        }
                        Err(rejection) => State::Refused(Some(
                            rejection.to_response(Protocol::of(request.headers())),
                        )),
                    }
                }
            };
            state.set(next);
        }
    }
}

impl<S, A, B> fmt::Debug for ResponseFuture<S, A, B>
where
    S: Service<Request<GuardedBody<B>>>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
