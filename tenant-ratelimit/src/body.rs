//! The response's body, and what is held until it has ended.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Buf;
use http_body::{Body, Frame, SizeHint};
use pin_project::pin_project;
use tenant_context::RefusalBody;

use crate::{Settle, hold::Hold};

/// The response body of [`RateLimit`](crate::RateLimit): the inner service's, or none. The place in flight is
/// free again when it has ended or is dropped.
#[pin_project]
#[derive(Debug)]
pub struct LimitedBody<B> {
    #[pin]
    body: RefusalBody<B>,
    tail: Option<Box<Tail>>,
}

/// What is left to be done while and after a body is sent.
pub(crate) struct Tail {
    hold: Box<Hold>,
    settle: Option<Arc<Settle>>,
    counted: u64,
}

impl Tail {
    pub(crate) const fn new(hold: Box<Hold>, settle: Option<Arc<Settle>>) -> Self {
        Self {
            hold,
            settle,
            counted: 0,
        }
    }

    fn frame<D: Buf>(&mut self, frame: &Frame<D>) {
        let Some(settle) = &self.settle else { return };
        if let Some(data) = frame.data_ref() {
            self.counted = self.counted.saturating_add(settle.of_part(data.chunk()));
        } else if let Some(trailers) = frame.trailers_ref()
            && let Some(actual) = settle.of_trailer(trailers)
        {
            self.hold.settle(actual);
            self.settle = None;
        }
    }

    /// The body has ended as it should: what was counted is what it cost.
    fn ended(&mut self) {
        if self.settle.as_ref().is_some_and(|settle| settle.counts()) {
            self.hold.settle(self.counted);
        }
    }
}

impl fmt::Debug for Tail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tail").finish_non_exhaustive()
    }
}

impl<B> LimitedBody<B> {
    #[inline]
    pub(crate) const fn inner(body: B, tail: Option<Box<Tail>>) -> Self {
        Self {
            body: RefusalBody::Inner(body),
            tail,
        }
    }

    pub(crate) const fn empty() -> Self {
        Self {
            body: RefusalBody::Empty,
            tail: None,
        }
    }
}

impl<B: Body> Body for LimitedBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    #[inline]
    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let mut this = self.project();
        let frame = ready!(this.body.as_mut().poll_frame(cx));
        if let Some(mut tail) = this.tail.take() {
            match &frame {
                Some(Ok(frame)) => {
                    tail.frame(frame);
                    // A server that knows the length does not ask for the frame that is none.
                    if this.body.is_end_stream() {
                        tail.ended();
                    } else {
                        *this.tail = Some(tail);
                    }
                }
                // Broken off: the estimate stays charged.
                Some(Err(_)) => {}
                None => tail.ended(),
            }
        }
        Poll::Ready(frame)
    }

    /// Not before what is held has been given back: a server need not ask a body for a frame that says so.
    #[inline]
    fn is_end_stream(&self) -> bool {
        self.tail.is_none() && self.body.is_end_stream()
    }

    #[inline]
    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
