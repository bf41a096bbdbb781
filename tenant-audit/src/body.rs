//! The response's body, watched for its end.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Buf;
use http_body::{Body, Frame, SizeHint};
use pin_project::pin_project;
use tenant_context::{BoxError, RefusalBody};

use crate::{held::Held, open::Open, outcome::End};

/// A response's body. Its end writes the request's record; where the record is to be
/// [`Synced`](crate::Durability::Synced), the end waits for that.
#[pin_project]
#[derive(Debug)]
pub struct AuditBody<B: Body>(#[pin] Kind<B>);

#[pin_project(project = KindProj)]
#[derive(Debug)]
enum Kind<B: Body> {
    Watched {
        #[pin]
        inner: RefusalBody<B>,
        open: Option<Open>,
    },
    Held(Box<Held<B>>),
}

impl<B: Body> AuditBody<B> {
    pub(crate) const fn empty() -> Self {
        Self(Kind::Watched {
            inner: RefusalBody::Empty,
            open: None,
        })
    }

    pub(crate) const fn held(held: Box<Held<B>>) -> Self {
        Self(Kind::Held(held))
    }

    pub(crate) fn new(inner: B, mut open: Open) -> Self {
        let open = if inner.is_end_stream() {
            open.finish(End::Complete);
            None
        } else {
            Some(open)
        };
        Self(Kind::Watched {
            inner: RefusalBody::Inner(inner),
            open,
        })
    }
}

impl<B: Body> Body for AuditBody<B>
where
    B::Error: Into<BoxError>,
{
    type Data = B::Data;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, BoxError>>> {
        let (mut inner, slot) = match self.project().0.project() {
            KindProj::Held(held) => return held.poll_frame(cx),
            KindProj::Watched { inner, open } => (inner, open),
        };
        let boxed = |frame: Result<_, B::Error>| frame.map_err(Into::into);
        let Some(open) = slot.as_mut() else {
            return inner.poll_frame(cx).map(|frame| frame.map(boxed));
        };
        open.running(true);
        let polled = inner.as_mut().poll_frame(cx);
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
                (frame.is_trailers() || inner.is_end_stream()).then_some(End::Complete)
            }
        };
        if let Some(end) = end {
            open.finish(end);
            *slot = None;
        }
        polled.map(|frame| frame.map(boxed))
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Watched { inner, .. } => inner.is_end_stream(),
            Kind::Held(held) => held.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Watched { inner, .. } => inner.size_hint(),
            Kind::Held(held) => held.size_hint(),
        }
    }
}
