//! A request's record while it is open: a guard that queues it, whatever happens to the request.

use std::{fmt, sync::Arc};

use http::{Extensions, HeaderMap, HeaderName, Method, Response, StatusCode, header};
use http_body::Body;
use tenant_context::{Rejection, Trail, TrailCell};

use crate::{
    outcome::End,
    queue::{Cell, Entry, Place},
    request::{Arrival, Request},
};

/// The open record of one request. Dropping it queues it, so exactly one is written.
pub(crate) struct Open(Option<Slot>);

/// Taken once, when the record is queued.
struct Slot {
    cell: Cell,
    place: Place,
}

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");

impl Open {
    /// Opens the record of a request, and its trail.
    pub(crate) fn begin<B>(place: Place, request: &mut http::Request<B>, arrival: Arrival) -> Self {
        let cell = Arc::new(TrailCell::new(Request::of(request, arrival)));
        request.extensions_mut().insert(Trail::on(&cell));
        Self(Some(Slot { cell, place }))
    }

    fn request(&self) -> Option<&Request> {
        self.0.as_ref().map(|slot| slot.cell.record())
    }

    /// Foreign code runs between `running(true)` and `running(false)`: if it panics, the record says so. No
    /// closure: a request would be moved into it and out of it again.
    pub(crate) fn running(&self, on: bool) {
        if let Some(request) = self.request() {
            request.progress.running(on);
        }
    }

    /// Takes in the head of the answer.
    pub(crate) fn answer<B: Body>(&self, response: &Response<B>) {
        let Some(slot) = &self.0 else {
            return;
        };
        let (request, status) = (slot.cell.record(), response.status());
        request.progress.answered(status);
        note_rejection(&slot.cell, response.extensions());
        if request.grpc {
            request.progress.grpc(grpc_status(response.headers()));
            return;
        }
        let bodiless = request.method == Method::HEAD
            || status.is_informational()
            || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        request.progress.expect(if bodiless {
            Some(0)
        } else {
            content_length(response.headers()).or_else(|| response.body().size_hint().exact())
        });
    }

    /// Takes in a part of the body.
    pub(crate) fn data(&self, bytes: usize) {
        if let Some(request) = self.request() {
            request.progress.data(bytes);
        }
    }

    /// Takes in the trailers.
    pub(crate) fn trailers(&self, trailers: &HeaderMap) {
        if let Some(request) = self.request()
            && request.grpc
        {
            request.progress.grpc(grpc_status(trailers));
        }
    }

    /// Queues the record, unless it is queued.
    pub(crate) fn finish(&mut self, end: End) {
        let Some(Slot { cell, place }) = self.0.take() else {
            return;
        };
        let now = place.door().clock.monotonic();
        let request = cell.record();
        let duration = now.saturating_since(request.arrival.monotonic);
        request.progress.end(end, duration);
        place.fill(Entry::Request(cell));
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let Some(Request { progress, .. }) = self.request() else {
            return;
        };
        let end = if progress.is_running() {
            End::Panicked
        } else if !progress.is_answered() {
            End::Cancelled
        } else if progress.is_delivered() {
            End::Complete
        } else {
            End::BodyDropped
        };
        self.finish(end);
    }
}

fn note_rejection(cell: &TrailCell<Request>, extensions: &Extensions) {
    let Some(rejection) = extensions.get::<Rejection>() else {
        return;
    };
    cell.record().progress.refused();
    cell.with(|facts| {
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
            .field("request", &self.request())
            .finish_non_exhaustive()
    }
}
