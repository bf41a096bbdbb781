//! Bodies that end when their context ends.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use pin_project::pin_project;

use crate::{BoxError, EndReason, Protocol, TenantContext, Trail, context::Watch, render::grpc};

/// A request's or response's body that ends when its context does: with an error, which the server
/// turns into a reset, so that a client cannot take the end for success; over gRPC with a status.
///
/// The first frame of a response whose length is known is let through: the whole answer of a handler
/// that was allowed to finish is never torn.
#[pin_project]
#[derive(Debug)]
pub struct GuardedBody<B> {
    #[pin]
    inner: B,
    watch: Option<Watch>,
    protocol: Protocol,
    whole: bool,
    /// Responses run in the scope; requests are read by code that runs in it already.
    scoped: bool,
    done: bool,
}

impl<B> GuardedBody<B> {
    pub(crate) fn request(inner: B, context: Option<TenantContext>) -> Self {
        let watch = context.map(|context| Watch::new(context, Trail::detached()));
        Self {
            inner,
            watch,
            protocol: Protocol::Http,
            whole: false,
            scoped: false,
            done: false,
        }
    }

    pub(crate) fn response(inner: B, watch: Option<Watch>, protocol: Protocol) -> Self {
        Self {
            inner,
            watch,
            protocol,
            whole: true,
            scoped: true,
            done: false,
        }
    }
}

impl<B> Body for GuardedBody<B>
where
    B: Body,
    B::Error: Into<BoxError>,
{
    type Data = B::Data;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, BoxError>>> {
        let this = self.project();
        if *this.done {
            return Poll::Ready(None);
        }
        let whole =
            this.inner.is_end_stream() || (*this.whole && this.inner.size_hint().exact().is_some());
        if let Some(reason) = this
            .watch
            .as_ref()
            .and_then(Watch::ended)
            .filter(|_| !whole)
        {
            *this.done = true;
            return Poll::Ready(Some(cut(reason, *this.protocol)));
        }
        let scoped = this.watch.as_mut().filter(|_| *this.scoped);
        let entered = scoped.map(Watch::enter);
        let polled = this.inner.poll_frame(cx);
        drop(entered);
        match polled {
            Poll::Ready(frame) => {
                *this.whole = false;
                if frame.is_none() {
                    *this.watch = None;
                }
                Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
            }
            Poll::Pending => match this.watch.as_mut().map(|watch| watch.poll_ended(cx)) {
                Some(Poll::Ready(reason)) if !whole => {
                    *this.done = true;
                    Poll::Ready(Some(cut(reason, *this.protocol)))
                }
                _ => Poll::Pending,
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        self.done || self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        if self.done {
            SizeHint::with_exact(0)
        } else {
            self.inner.size_hint()
        }
    }
}

fn cut<D>(reason: EndReason, protocol: Protocol) -> Result<Frame<D>, BoxError> {
    match protocol {
        Protocol::Http => Err(reason.into()),
        Protocol::Grpc => {
            let mut trailers = HeaderMap::with_capacity(3);
            grpc::write_status(&reason.rejection(), &mut trailers);
            Ok(Frame::trailers(trailers))
        }
    }
}
