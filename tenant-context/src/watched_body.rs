//! Responses that end when their context ends.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use pin_project::pin_project;

use crate::{
    BoxError, EndReason, Protocol,
    context::{Watch, enter},
    render::grpc,
};

/// A response's body that ends when its context does, in a way that a client cannot take for success: with an error,
/// which the server turns into a reset; over gRPC with a status, unless the client is still sending, which only a reset
/// ends. It runs in its context's scope.
///
/// The answer of a handler that was allowed to finish is never torn: a response whose length is known is
/// let through if it is ready at once and whole, and so is over gRPC a message that is ready at once together with the
/// status that is ready at once behind it. That is all of a unary answer. Of a stream it is at most one more message,
/// and none once it has waited for its next.
#[pin_project]
#[derive(Debug)]
pub struct WatchedBody<B> {
    #[pin]
    inner: B,
    watch: Option<Watch>,
    protocol: Protocol,
    progress: Progress,
    done: bool,
}

/// What of a response has been let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    Nothing,
    /// One frame of data, which was ready at once.
    One,
    /// More than one, or it had to wait: it is a stream.
    Stream,
}

/// What of an ended response may still be let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rest {
    All,
    /// What is ready at once: data only if there was none.
    Ready {
        data: bool,
    },
    None,
}

impl<B> WatchedBody<B> {
    pub(crate) const fn new(inner: B, watch: Option<Watch>, protocol: Protocol) -> Self {
        Self {
            inner,
            watch,
            protocol,
            progress: Progress::Nothing,
            done: false,
        }
    }
}

impl Progress {
    fn rest<B: Body>(self, protocol: Protocol, inner: &B) -> Rest {
        if inner.is_end_stream() {
            return Rest::All;
        }
        match (protocol, self) {
            (Protocol::Http, Self::Nothing) if inner.size_hint().exact().is_some() => {
                Rest::Ready { data: true }
            }
            (Protocol::Grpc, Self::Nothing | Self::One) => Rest::Ready {
                data: self == Self::Nothing,
            },
            _ => Rest::None,
        }
    }

    fn after<D, E>(self, protocol: Protocol, polled: &Poll<Option<Result<Frame<D>, E>>>) -> Self {
        match (polled, self) {
            (Poll::Ready(Some(Ok(frame))), Self::Nothing) if frame.is_data() => Self::One,
            (Poll::Pending, progress) if protocol == Protocol::Http => progress,
            _ => Self::Stream,
        }
    }
}

fn cut<D>(
    reason: EndReason,
    protocol: Protocol,
    watch: Option<&Watch>,
) -> Result<Frame<D>, BoxError> {
    let open = watch
        .and_then(Watch::upload)
        .is_some_and(|upload| upload.is_open());
    if protocol == Protocol::Http || open {
        return Err(reason.into());
    }
    let mut trailers = HeaderMap::with_capacity(3);
    grpc::write_status(&reason.rejection(), &mut trailers);
    Ok(Frame::trailers(trailers))
}

impl<B> Body for WatchedBody<B>
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
        let rest = this.progress.rest(*this.protocol, &*this.inner);
        let ended = this.watch.as_ref().and_then(Watch::ended);
        if let Some(reason) = ended
            && rest == Rest::None
        {
            *this.done = true;
            return Poll::Ready(Some(cut(reason, *this.protocol, this.watch.as_ref())));
        }
        let mut nobody = None;
        let entered = enter(this.watch.as_mut(), &mut nobody);
        let polled = this.inner.as_mut().poll_frame(cx);
        drop(entered);
        let data = matches!(&polled, Poll::Ready(Some(Ok(frame))) if frame.is_data());
        if let Some(reason) = ended
            && let Rest::Ready { data: allowed } = rest
            && (polled.is_pending() || (data && !allowed))
        {
            *this.done = true;
            return Poll::Ready(Some(cut(reason, *this.protocol, this.watch.as_ref())));
        }
        *this.progress = this.progress.after(*this.protocol, &polled);
        match polled {
            Poll::Ready(frame) => {
                if frame.is_none() {
                    *this.watch = None;
                }
                Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
            }
            Poll::Pending => match this.watch.as_mut().map(|watch| watch.poll_ended(cx)) {
                Some(Poll::Ready(reason)) if rest != Rest::All => {
                    *this.done = true;
                    Poll::Ready(Some(cut(reason, *this.protocol, this.watch.as_ref())))
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
