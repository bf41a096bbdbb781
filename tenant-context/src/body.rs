//! A request's content, which ends when its context ends.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use http_body::{Body, Frame, SizeHint};
use pin_project::pin_project;

use crate::{BoxError, EndReason, context::Watch};

/// A request's body that ends when its context does: with an error, so that no handler takes what it has read for all.
///
/// It is read by code that runs in the context's scope already.
#[pin_project]
#[derive(Debug)]
pub struct GuardedBody<B> {
    #[pin]
    inner: B,
    /// Boxed: each layer inside moves a request, and most have no content.
    watch: Option<Box<Watch>>,
    done: bool,
}

impl<B> GuardedBody<B> {
    pub(crate) fn new(inner: B, watch: Option<Watch>) -> Self {
        Self {
            inner,
            watch: watch.map(Box::new),
            done: false,
        }
    }
}

fn cut<D>(reason: EndReason, watch: &Watch) -> Result<Frame<D>, BoxError> {
    if let Some(upload) = watch.upload() {
        upload.cut(reason);
    }
    Err(reason.into())
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
        let mut this = self.project();
        if *this.done {
            return Poll::Ready(None);
        }
        let whole = this.inner.is_end_stream();
        if let Some(watch) = this.watch
            && !whole
            && let Some(reason) = watch.ended()
        {
            *this.done = true;
            return Poll::Ready(Some(cut(reason, watch)));
        }
        let polled = this.inner.as_mut().poll_frame(cx);
        let Some(watch) = this.watch else {
            return polled.map_err(Into::into);
        };
        if (matches!(polled, Poll::Ready(None)) || this.inner.is_end_stream())
            && let Some(upload) = watch.upload()
        {
            upload.end();
        }
        match polled {
            Poll::Ready(frame) => {
                if frame.is_none() {
                    *this.watch = None;
                }
                Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
            }
            Poll::Pending => match watch.poll_ended(cx) {
                Poll::Ready(reason) if !whole => {
                    *this.done = true;
                    Poll::Ready(Some(cut(reason, watch)))
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
