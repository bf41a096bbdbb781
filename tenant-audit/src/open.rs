//! A request's record while it is open: a guard that writes it, whatever happens to the request.

use std::{borrow::Cow, fmt, time::Duration};

use http::{Extensions, HeaderMap, HeaderName, Method, Request, Response, StatusCode, header};
use http_body::Body;
use smallvec::SmallVec;
use tenant_context::{Monotonic, Protocol, Rejection, RequestId, Trail, UnixTime};

use crate::{
    layer::Shared,
    outcome::End,
    queue::{Entry, Place},
    text,
};

/// A request that has ended, as the worker gets it: nothing is encoded on the request's thread.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) trail: Trail,
    pub(crate) request_id: Option<RequestId>,
    pub(crate) method: Method,
    pub(crate) path: PathText,
    pub(crate) protocol: Protocol,
    pub(crate) started: UnixTime,
    pub(crate) duration: Duration,
    pub(crate) status: Option<StatusCode>,
    pub(crate) grpc_status: Option<u32>,
    pub(crate) bytes: u64,
    pub(crate) end: End,
    pub(crate) refused: bool,
}

/// A request's path, copied: a slice of the server's read buffer would keep the whole buffer alive
/// for as long as the record waits. Usual paths need no allocation.
pub(crate) struct PathText {
    bytes: SmallVec<[u8; 64]>,
    cut: bool,
}

impl PathText {
    /// The most bytes that are kept.
    const MAX: usize = 1024;

    pub(crate) fn of(path: &str) -> Self {
        let kept = path.as_bytes().get(..Self::MAX);
        Self {
            bytes: SmallVec::from_slice(kept.unwrap_or(path.as_bytes())),
            cut: kept.is_some() && path.len() > Self::MAX,
        }
    }

    pub(crate) fn show(&self) -> Cow<'_, str> {
        let kept = String::from_utf8_lossy(&self.bytes);
        if self.cut {
            return Cow::Owned(format!("{}…", text::visible(&kept)));
        }
        match kept {
            Cow::Borrowed(kept) => text::visible(kept),
            Cow::Owned(kept) => Cow::Owned(text::visible(&kept).into_owned()),
        }
    }
}

impl fmt::Debug for PathText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.show())
    }
}

/// When a request came in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival {
    pub(crate) unix: UnixTime,
    pub(crate) monotonic: Monotonic,
}

/// The open record of one request. Dropping it writes it, so exactly one is written.
pub(crate) struct Open {
    /// Taken once, when the record is written.
    slot: Option<(Place, Finished)>,
    shared: Shared,
    arrived: Monotonic,
    /// Whether foreign code runs right now: if the guard is dropped meanwhile, that code panicked.
    running: bool,
    answered: bool,
    /// How long the body is, if the answer says so.
    expected: Option<u64>,
}

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");

impl Open {
    /// Opens the record of a request, and its trail.
    pub(crate) fn begin<B>(
        place: Place,
        request: &mut Request<B>,
        arrival: Arrival,
        shared: Shared,
    ) -> Self {
        let trail = Trail::open();
        let finished = Finished {
            trail: trail.clone(),
            request_id: request.extensions().get().cloned(),
            method: request.method().clone(),
            path: PathText::of(request.uri().path()),
            protocol: Protocol::of(request.headers()),
            started: arrival.unix,
            duration: Duration::ZERO,
            status: None,
            grpc_status: None,
            bytes: 0,
            end: End::Cancelled,
            refused: false,
        };
        request.extensions_mut().insert(trail);
        Self {
            slot: Some((place, finished)),
            shared,
            arrived: arrival.monotonic,
            running: false,
            answered: false,
            expected: None,
        }
    }

    /// Runs foreign code: if it panics, the record says so.
    pub(crate) fn run<R>(&mut self, f: impl FnOnce() -> R) -> R {
        self.running = true;
        let result = f();
        self.running = false;
        result
    }

    /// Takes in the head of the answer.
    pub(crate) fn answer<B: Body>(&mut self, response: &Response<B>) {
        self.answered = true;
        let Some((_, finished)) = &mut self.slot else {
            return;
        };
        let status = response.status();
        finished.status = Some(status);
        note_rejection(finished, response.extensions());
        if finished.protocol == Protocol::Grpc {
            finished.grpc_status = grpc_status(response.headers());
            return;
        }
        let bodiless = finished.method == Method::HEAD
            || status.is_informational()
            || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        self.expected = if bodiless {
            Some(0)
        } else {
            content_length(response.headers()).or_else(|| response.body().size_hint().exact())
        };
    }

    /// Takes in a part of the body.
    pub(crate) fn data(&mut self, bytes: usize) {
        if let Some((_, finished)) = &mut self.slot {
            let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
            finished.bytes = finished.bytes.saturating_add(bytes);
        }
    }

    /// Takes in the trailers.
    pub(crate) fn trailers(&mut self, trailers: &HeaderMap) {
        if let Some((_, finished)) = &mut self.slot
            && finished.protocol == Protocol::Grpc
        {
            finished.grpc_status = grpc_status(trailers).or(finished.grpc_status);
        }
    }

    /// Writes the record, unless it is written.
    pub(crate) fn finish(&mut self, end: End) {
        if let Some((_, finished)) = &mut self.slot {
            let now = self.shared.clock().monotonic();
            finished.end = end;
            finished.duration = now.saturating_since(self.arrived);
        }
        if let Some((place, finished)) = self.slot.take() {
            place.fill(Entry::Request(finished));
        }
    }

    /// A server stops reading a body whose length it knows when it has it all: it need not ask for
    /// the end.
    fn delivered(&self) -> bool {
        match (&self.slot, self.expected) {
            (Some((_, finished)), Some(expected)) => finished.bytes >= expected,
            _ => false,
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if self.slot.is_none() {
            return;
        }
        let end = if self.running {
            End::Panicked
        } else if !self.answered {
            End::Cancelled
        } else if self.delivered() {
            End::Complete
        } else {
            End::BodyDropped
        };
        self.finish(end);
    }
}

fn note_rejection(finished: &mut Finished, extensions: &Extensions) {
    let Some(rejection) = extensions.get::<Rejection>() else {
        return;
    };
    finished.refused = true;
    finished.trail.with(|facts| {
        if facts.identity.is_none() {
            facts.identity = rejection.identity().cloned();
        }
        facts.rejection = Some(rejection.clone());
    });
}

fn grpc_status(headers: &HeaderMap) -> Option<u32> {
    headers.get(GRPC_STATUS)?.to_str().ok()?.parse().ok()
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers
        .get(header::CONTENT_LENGTH)?
        .to_str()
        .ok()?
        .parse()
        .ok()
}

impl fmt::Debug for Open {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Open")
            .field("record", &self.slot.as_ref().map(|(_, finished)| finished))
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i6_paths_are_bounded_and_visible() {
        assert_eq!(PathText::of("/a/b").show(), "/a/b");
        let long = PathText::of(&format!("/{}", "é".repeat(5_000)));
        assert!(long.show().len() < 1_040 && long.show().ends_with('…'));
        assert_eq!(PathText::of("/\u{202e}x").show(), "/\\u{202e}x");
        assert!(!PathText::of("/a/b").bytes.spilled());
    }
}
