//! The probe's bodies, and what a body may not do.

use std::{
    collections::VecDeque,
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Buf, Bytes};
use http::{HeaderMap, HeaderValue};
use http_body::{Body, Frame, SizeHint};

use super::ledger::{Held, Ledger};
use crate::{Gate, Pass};

/// A body of known frames, for requests and responses of a probe. The default has none.
#[derive(Debug, Default)]
pub struct ProbeBody {
    frames: VecDeque<Step>,
    sized: bool,
    ended: bool,
    watched: Option<(Ledger, Held)>,
}

#[derive(Debug)]
enum Step {
    Data(Bytes),
    Trailers,
    /// Pending once.
    Yield,
    Wait(Pass),
    Fail,
    Panic,
}

impl ProbeBody {
    /// A body with these frames of data, of known length.
    pub fn new<D: Into<Bytes>>(frames: impl IntoIterator<Item = D>) -> Self {
        let frames = frames.into_iter().map(|data| Step::Data(data.into()));
        Self {
            frames: frames.collect(),
            sized: true,
            ended: false,
            watched: None,
        }
    }

    /// Ends with trailers (`probe: trailers`).
    #[must_use]
    pub fn trailers(mut self) -> Self {
        self.frames.push_back(Step::Trailers);
        self
    }

    /// Does not tell its length in advance.
    #[must_use]
    pub fn unsized_hint(mut self) -> Self {
        self.sized = false;
        self
    }

    /// Is pending once before each frame.
    #[must_use]
    pub fn yielding(mut self) -> Self {
        let frames = std::mem::take(&mut self.frames);
        self.frames = frames
            .into_iter()
            .flat_map(|frame| [Step::Yield, frame])
            .collect();
        self
    }

    pub(crate) fn waiting(mut self, gate: &Gate) -> Self {
        self.frames.push_front(Step::Wait(gate.pass()));
        self
    }

    /// After the first frame comes an error.
    pub(crate) fn failing(mut self) -> Self {
        self.frames.truncate(1);
        self.frames.push_back(Step::Fail);
        self.sized = false;
        self
    }

    /// After the first frame comes a panic.
    pub(crate) fn panicking(mut self) -> Self {
        self.frames.truncate(1);
        self.frames.push_back(Step::Panic);
        self.sized = false;
        self
    }

    pub(crate) fn watched(mut self, ledger: &Ledger, held: Held) -> Self {
        self.watched = Some((ledger.clone(), held));
        self
    }
}

impl Body for ProbeBody {
    type Data = Bytes;
    type Error = ProbeError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ProbeError>>> {
        let this = &mut *self;
        if let (true, Some((ledger, _))) = (this.ended, &this.watched) {
            ledger.violated("a body was polled after its end");
        }
        if let Some(Step::Wait(pass)) = this.frames.front_mut() {
            if Pin::new(pass).poll(cx).is_pending() {
                return Poll::Pending;
            }
            this.frames.pop_front();
        }
        let frame = match this.frames.pop_front() {
            Some(Step::Data(data)) => Some(Ok(Frame::data(data))),
            Some(Step::Trailers) => Some(Ok(Frame::trailers(HeaderMap::from_iter([(
                http::HeaderName::from_static("probe"),
                HeaderValue::from_static("trailers"),
            )])))),
            Some(Step::Yield) => {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            Some(Step::Fail) => Some(Err(ProbeError)),
            Some(Step::Panic) => panic_quietly(),
            Some(Step::Wait(_)) | None => {
                this.ended = true;
                None
            }
        };
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        let frames = &mut self.frames.iter();
        frames.all(|step| matches!(step, Step::Yield | Step::Wait(_)))
    }

    fn size_hint(&self) -> SizeHint {
        if !self.sized {
            return SizeHint::new();
        }
        let data = self.frames.iter().map(|step| match step {
            Step::Data(data) => data.len(),
            _ => 0,
        });
        SizeHint::with_exact(u64::try_from(data.sum::<usize>()).unwrap_or(u64::MAX))
    }
}

/// The error of the probe's handler and bodies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(
    clippy::exhaustive_structs,
    reason = "handlers of a test return it, and tests compare with it"
)]
pub struct ProbeError;

impl fmt::Display for ProbeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the probe's handler fails, as it was told")
    }
}

impl std::error::Error for ProbeError {}

/// The payload of the probe's panics.
#[derive(Debug)]
pub(crate) struct ProbePanic;

/// A panic that unwinds as every other and prints nothing.
pub(crate) fn panic_quietly() -> ! {
    std::panic::resume_unwind(Box::new(ProbePanic))
}

/// Compares what a body announced before each frame with what came.
#[derive(Debug, Default)]
pub(crate) struct Announced {
    before: Vec<Announcement>,
    bytes: u64,
    frames: usize,
}

#[derive(Debug)]
struct Announcement {
    hint: SizeHint,
    end: bool,
    bytes: u64,
    frames: usize,
}

impl Announced {
    pub(crate) fn look(&mut self, body: &impl Body) {
        self.before.push(Announcement {
            hint: body.size_hint(),
            end: body.is_end_stream(),
            bytes: self.bytes,
            frames: self.frames,
        });
    }

    pub(crate) fn frame<D: Buf>(&mut self, frame: &Frame<D>) {
        let bytes = frame.data_ref().map_or(0, Buf::remaining);
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.bytes = self.bytes.saturating_add(bytes);
        self.frames = self.frames.saturating_add(1);
    }

    /// To be asked when the body has ended without an error.
    pub(crate) fn kept(&self) -> Result<(), String> {
        for announcement in &self.before {
            let left = self.bytes.saturating_sub(announcement.bytes);
            let (lower, upper) = (announcement.hint.lower(), announcement.hint.upper());
            if left < lower || upper.is_some_and(|upper| left > upper) {
                return Err(format!(
                    "after {} frames `size_hint` said {lower} to {upper:?} bytes, but {left} bytes followed",
                    announcement.frames
                ));
            }
            if announcement.end && self.frames > announcement.frames {
                return Err(format!(
                    "after {} frames `is_end_stream` was true, but another frame followed",
                    announcement.frames
                ));
            }
        }
        Ok(())
    }
}
