//! Response bodies: stored ones, and those that are stored while they pass.

use std::{
    collections::VecDeque,
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project::{pin_project, pinned_drop};

use crate::{layer::Shared, partition::Partition, recording::Recording, stored::Head};

/// The handler's body, each frame passed on as it comes, or a stored one.
#[pin_project]
pub struct CacheBody<B: Body>(#[pin] State<B>);

#[pin_project(project = StateProj)]
enum State<B: Body> {
    Inner(#[pin] Passing<B>),
    Stored(Stored),
    Ahead(Box<Ahead<B>>),
}

/// A body whose beginning was read before it went out.
struct Ahead<B: Body> {
    read: VecDeque<Bytes>,
    /// What came after that and is no data.
    last: Option<Result<Frame<Bytes>, B::Error>>,
    ended: bool,
    rest: Passing<Pin<Box<B>>>,
}

/// The most frames that are read before a body goes out.
const AHEAD: usize = 64;

/// The body of an answer from the cache.
#[derive(Debug, Default)]
pub(crate) struct Stored {
    bytes: Option<Bytes>,
}

impl Stored {
    pub(crate) fn new(bytes: Bytes) -> Self {
        Self {
            bytes: Some(bytes).filter(|bytes| !bytes.is_empty()),
        }
    }
}

#[pin_project(PinnedDrop)]
struct Passing<B> {
    #[pin]
    inner: B,
    tee: Option<Box<Tee>>,
}

/// A response on its way into the cache.
pub(crate) struct Tee {
    recording: Recording,
    head: Head,
    copied: Copied,
    expected: Option<u64>,
}

/// What was copied of a body. It counts against the tenant's ceiling, for a client may read slowly.
struct Copied {
    shared: Arc<Shared>,
    partition: Arc<Partition>,
    bytes: Vec<u8>,
}

impl Copied {
    fn len(&self) -> u64 {
        u64::try_from(self.bytes.len()).unwrap_or(u64::MAX)
    }

    /// False if there is no room.
    fn push(&mut self, data: &[u8]) -> bool {
        let more = u64::try_from(data.len()).unwrap_or(u64::MAX);
        let fits = self.shared.cache.pool().pass(&self.partition, more);
        if fits {
            self.bytes.extend_from_slice(data);
        }
        fits
    }

    fn take(mut self) -> Vec<u8> {
        self.give_back();
        std::mem::take(&mut self.bytes)
    }

    fn give_back(&self) {
        self.shared.cache.pool().passed(&self.partition, self.len());
    }
}

impl Drop for Copied {
    fn drop(&mut self) {
        // Nothing, once it was taken.
        self.give_back();
    }
}

impl Tee {
    pub(crate) fn new(recording: Recording, head: Head, expected: Option<u64>) -> Self {
        Self {
            copied: Copied {
                shared: Arc::clone(&recording.shared),
                partition: Arc::clone(&recording.partition),
                bytes: Vec::new(),
            },
            recording,
            head,
            expected,
        }
    }

    /// Takes a frame's bytes in; false if there are too many.
    fn take(&mut self, data: &[u8]) -> bool {
        let length = self.copied.bytes.len().saturating_add(data.len());
        length <= self.recording.max_body() && self.copied.push(data)
    }

    /// Nobody waits for the rest of it.
    fn release(&mut self) {
        self.recording.leader = None;
    }

    fn is_whole(&self) -> bool {
        Some(self.copied.len()) == self.expected
    }

    fn store(self) {
        if self.expected.is_none() || self.is_whole() {
            let Self {
                recording,
                head,
                copied,
                ..
            } = self;
            recording.store(head, copied.take());
        }
    }
}

#[pinned_drop]
impl<B> PinnedDrop for Passing<B> {
    /// A server that knows the length asks for no frame after the last byte.
    fn drop(self: Pin<&mut Self>) {
        if let Some(tee) = self.project().tee.take()
            && tee.is_whole()
        {
            tee.store();
        }
    }
}

impl<B: Body<Data = Bytes>> CacheBody<B> {
    /// A body that passes through, into `tee` as well.
    pub(crate) fn inner(inner: B, mut tee: Option<Box<Tee>>) -> Self {
        if inner.is_end_stream()
            && let Some(tee) = tee.take()
        {
            tee.store();
        }
        Self(State::Inner(Passing { inner, tee }))
    }

    /// A body that is stored at once as far as it is there: who waits for it does not wait for its client to read. Nobody
    /// waits for the rest.
    pub(crate) fn read_ahead(inner: B, tee: Box<Tee>, cx: &mut Context<'_>) -> Self {
        let mut ahead = Ahead {
            read: VecDeque::new(),
            last: None,
            ended: false,
            rest: Passing {
                inner: Box::pin(inner),
                tee: Some(tee),
            },
        };
        for _ in 0..AHEAD {
            match Pin::new(&mut ahead.rest).poll_frame(cx) {
                Poll::Pending => break,
                Poll::Ready(None) => {
                    ahead.ended = true;
                    break;
                }
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => ahead.read.push_back(data),
                    Err(trailers) => {
                        ahead.last = Some(Ok(trailers));
                        break;
                    }
                },
                Poll::Ready(Some(Err(error))) => {
                    ahead.last = Some(Err(error));
                    break;
                }
            }
            if ahead.rest.tee.is_none() {
                break;
            }
        }
        if let Some(tee) = &mut ahead.rest.tee {
            tee.release();
        }
        Self(State::Ahead(Box::new(ahead)))
    }

    pub(crate) const fn stored(stored: Stored) -> Self {
        Self(State::Stored(stored))
    }
}

impl<B: Body<Data = Bytes>> Ahead<B> {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        if let Some(data) = self.read.pop_front() {
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        if self.last.is_some() {
            return Poll::Ready(self.last.take());
        }
        if self.ended {
            return Poll::Ready(None);
        }
        Pin::new(&mut self.rest).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.read.is_empty()
            && self.last.is_none()
            && (self.ended || self.rest.inner.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        let read = self.read.iter().map(Bytes::len).sum::<usize>();
        let read = u64::try_from(read).unwrap_or(u64::MAX);
        let mut hint = if self.ended {
            SizeHint::with_exact(0)
        } else {
            self.rest.inner.size_hint()
        };
        if let Some(upper) = hint.upper() {
            hint.set_upper(upper.saturating_add(read));
        }
        hint.set_lower(hint.lower().saturating_add(read));
        hint
    }
}

impl<B: Body<Data = Bytes>> Passing<B> {
    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let mut this = self.project();
        let polled = this.inner.as_mut().poll_frame(cx);
        let Some(tee) = this.tee.as_mut() else {
            return polled;
        };
        let (goes_on, ended) = match &polled {
            Poll::Pending => (true, false),
            Poll::Ready(None) => (true, true),
            // Trailers are not stored, and neither is a response without its own.
            Poll::Ready(Some(Ok(frame))) => match frame.data_ref() {
                Some(data) => (tee.take(data), this.inner.is_end_stream()),
                None => (false, false),
            },
            Poll::Ready(Some(Err(_))) => (false, false),
        };
        if !goes_on {
            *this.tee = None;
        } else if ended && let Some(tee) = this.tee.take() {
            tee.store();
        }
        polled
    }
}

impl<B: Body<Data = Bytes>> Body for CacheBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        match self.project().0.project() {
            StateProj::Inner(passing) => passing.poll_frame(cx),
            StateProj::Stored(stored) => {
                Poll::Ready(stored.bytes.take().map(|bytes| Ok(Frame::data(bytes))))
            }
            StateProj::Ahead(ahead) => ahead.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            State::Inner(passing) => passing.inner.is_end_stream(),
            State::Stored(stored) => stored.bytes.is_none(),
            State::Ahead(ahead) => ahead.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            State::Inner(passing) => passing.inner.size_hint(),
            State::Stored(stored) => {
                let length = stored.bytes.as_ref().map_or(0, Bytes::len);
                SizeHint::with_exact(u64::try_from(length).unwrap_or(u64::MAX))
            }
            State::Ahead(ahead) => ahead.size_hint(),
        }
    }
}

impl<B: Body> fmt::Debug for CacheBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stored = matches!(self.0, State::Stored(_));
        f.debug_struct("CacheBody")
            .field("stored", &stored)
            .finish_non_exhaustive()
    }
}
