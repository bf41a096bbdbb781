//! An answer that waits for its record.

use std::{
    collections::VecDeque,
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Buf;
use http_body::{Body, Frame, SizeHint};
use tenant_context::BoxError;

use crate::{AuditError, durable::Wait, open::Open, outcome::End};

/// A body whose last frame is withheld until the record is durable.
pub(crate) struct Held<B: Body> {
    inner: Pin<Box<B>>,
    /// Read and not handed on.
    frames: VecDeque<Frame<B::Data>>,
    /// What the body failed with, after the frames.
    failed: Option<B::Error>,
    progress: Progress,
}

enum Progress {
    Reading(Open),
    Waiting(Wait),
    /// All that is left may go.
    Settled,
}

/// What came of the attempt to have a whole answer before its head leaves.
pub(crate) enum Whole {
    /// It is whole, and its record durable, or need not be.
    Durable,
    /// It is whole, and its record is not durable.
    Unsynced(AuditError),
    /// It is a stream: its end waits.
    Stream,
}

/// A unary answer is a frame, over gRPC one and its trailers.
const AT_ONCE: usize = 2;

impl<B: Body> Held<B> {
    pub(crate) fn new(inner: B, open: Open) -> Self {
        let mut held = Self {
            inner: Box::pin(inner),
            frames: VecDeque::new(),
            failed: None,
            progress: Progress::Reading(open),
        };
        if held.inner.is_end_stream() {
            held.end(End::Complete);
        }
        held
    }

    fn end(&mut self, end: End) {
        if let Progress::Reading(open) = &mut self.progress {
            let wait = open.finish_synced(end);
            self.progress = wait.map_or(Progress::Settled, Progress::Waiting);
        }
    }

    /// Reads one frame on.
    fn read(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Progress::Reading(open) = &self.progress else {
            return Poll::Ready(());
        };
        open.running(true);
        let polled = self.inner.as_mut().poll_frame(cx);
        open.running(false);
        let frame = match polled {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(None) => {
                self.end(End::Complete);
                return Poll::Ready(());
            }
            Poll::Ready(Some(Err(error))) => {
                // Nothing is withheld of a failure.
                if let Progress::Reading(open) = &mut self.progress {
                    open.finish(End::BodyError);
                }
                self.progress = Progress::Settled;
                self.failed = Some(error);
                return Poll::Ready(());
            }
            Poll::Ready(Some(Ok(frame))) => frame,
        };
        if let Some(data) = frame.data_ref() {
            open.data(data.remaining());
        }
        if let Some(trailers) = frame.trailers_ref() {
            open.trailers(trailers);
        }
        let last = frame.is_trailers() || self.inner.is_end_stream();
        self.frames.push_back(frame);
        if last {
            self.end(End::Complete);
        }
        Poll::Ready(())
    }

    /// Tries to have the whole answer before its head leaves: only then can it still become a 503.
    pub(crate) fn poll_whole(&mut self, cx: &mut Context<'_>) -> Poll<Whole> {
        loop {
            match &mut self.progress {
                Progress::Settled => return Poll::Ready(Whole::Durable),
                Progress::Waiting(wait) => {
                    return match Pin::new(&mut *wait).poll(cx) {
                        Poll::Pending => Poll::Pending,
                        Poll::Ready(result) => {
                            let go_on = wait.door().continue_unsynced;
                            self.progress = Progress::Settled;
                            Poll::Ready(match result {
                                Err(error) if !go_on => Whole::Unsynced(error),
                                _ => Whole::Durable,
                            })
                        }
                    };
                }
                Progress::Reading(_) if self.frames.len() >= AT_ONCE => {
                    return Poll::Ready(Whole::Stream);
                }
                Progress::Reading(_) => {
                    if self.read(cx).is_pending() {
                        return Poll::Ready(Whole::Stream);
                    }
                }
            }
        }
    }

    pub(crate) fn is_end_stream(&self) -> bool {
        self.frames.is_empty()
            && self.failed.is_none()
            && matches!(self.progress, Progress::Settled)
            && self.inner.is_end_stream()
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        let held = self.frames.iter().fold(0_u64, |sum, frame| {
            let bytes = frame.data_ref().map_or(0, Buf::remaining);
            sum.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX))
        });
        let inner = self.inner.size_hint();
        let mut hint = SizeHint::new();
        if let Some(upper) = inner.upper() {
            hint.set_upper(upper.saturating_add(held));
        }
        hint.set_lower(inner.lower().saturating_add(held));
        hint
    }
}

impl<B: Body> Held<B>
where
    B::Error: Into<BoxError>,
{
    pub(crate) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, BoxError>>> {
        loop {
            match &mut self.progress {
                Progress::Settled => {
                    let frame = self.frames.pop_front().map(Ok);
                    let failure = || self.failed.take().map(|error| Err(error.into()));
                    return Poll::Ready(frame.or_else(failure));
                }
                Progress::Reading(_) => {
                    if let Some(frame) = self.frames.pop_front() {
                        return Poll::Ready(Some(Ok(frame)));
                    }
                    if self.read(cx).is_pending() {
                        return Poll::Pending;
                    }
                }
                Progress::Waiting(wait) => match Pin::new(&mut *wait).poll(cx) {
                    Poll::Pending if self.frames.len() > 1 => {
                        return Poll::Ready(self.frames.pop_front().map(Ok));
                    }
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(result) => {
                        let go_on = wait.door().continue_unsynced;
                        self.progress = Progress::Settled;
                        if let Err(error) = result
                            && !go_on
                        {
                            self.frames.clear();
                            return Poll::Ready(Some(Err(error.into())));
                        }
                    }
                },
            }
        }
    }
}

impl<B: Body> fmt::Debug for Held<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Held")
            .field("frames", &self.frames.len())
            .finish_non_exhaustive()
    }
}
