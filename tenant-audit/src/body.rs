//! The response's body, watched for its end.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Buf;
use http_body::{Body, Frame, SizeHint};
use pin_project::pin_project;
use tenant_context::RefusalBody;

use crate::{open::Open, outcome::End};

/// A response's body. Its end writes the request's record.
#[pin_project]
#[derive(Debug)]
pub struct AuditBody<B> {
    #[pin]
    inner: RefusalBody<B>,
    open: Option<Open>,
}

impl<B> AuditBody<B> {
    pub(crate) const fn empty() -> Self {
        Self {
            inner: RefusalBody::Empty,
            open: None,
        }
    }
}

impl<B: Body> AuditBody<B> {
    pub(crate) fn new(inner: B, mut open: Open) -> Self {
        let open = if inner.is_end_stream() {
            open.finish(End::Complete);
            None
        } else {
            Some(open)
        };
        Self {
            inner: RefusalBody::Inner(inner),
            open,
        }
    }
}

impl<B: Body> Body for AuditBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let mut this = self.project();
        let Some(open) = this.open.as_mut() else {
            return this.inner.poll_frame(cx);
        };
        open.running(true);
        let polled = this.inner.as_mut().poll_frame(cx);
        open.running(false);
        let end = match &polled {
            Poll::Pending => None,
            Poll::Ready(None) => Some(End::Complete),
            Poll::Ready(Some(Err(_))) => Some(End::BodyError),
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(data) = frame.data_ref() {
                    open.data(data.remaining());
                }
                if let Some(trailers) = frame.trailers_ref() {
                    open.trailers(trailers);
                }
                // Servers need not ask again after the last frame.
                (frame.is_trailers() || this.inner.is_end_stream()).then_some(End::Complete)
            }
        };
        if let Some(end) = end {
            open.finish(end);
            *this.open = None;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
