//! A request's record while it is open: a guard that queues it, whatever happens to the request.

use std::{fmt, sync::Arc};

use http::{Extensions, HeaderMap, HeaderName, Method, Response, StatusCode, header};
use http_body::Body;
use tenant_context::{Monotonic, Protocol, Rejection, TraceParent, Trail, TrailCell};

use crate::{
    Durability,
    durability::Arrives,
    durable::Wait,
    outcome::End,
    queue::{Cell, Entry, Place},
    request::{Request, Taken},
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
    pub(crate) fn begin<B: Body>(
        place: Place,
        request: &mut http::Request<B>,
        arrival: Monotonic,
    ) -> Self {
        let door = place.door();
        let grpc = Protocol::of(request.headers()) == Protocol::Grpc;
        let arrives = Arrives {
            grpc,
            content: !request.body().is_end_stream(),
        };
        let taken = Taken {
            durability: door
                .policy
                .of(request.method(), request.uri().path(), arrives),
            pressed: place.is_pressed(),
            grpc,
        };
        let trace = door
            .trace
            .then(|| TraceParent::of(request.headers()))
            .flatten();
        // What a handler calls is told the same id, and the same trace.
        let id = request.extensions().get().cloned();
        let record = Request::of(request, arrival, taken);
        let cell = Arc::new(TrailCell::new(record).with_request_id(id).with_trace(trace));
        request.extensions_mut().insert(Trail::on(&cell));
        Self(Some(Slot { cell, place }))
    }

    /// Whether the answer waits for the record. A refusal before the handler did nothing that would have to be
    /// known, and whoever has no credential shall not make the disk work; a record without a place of
    /// its own may be lost, which its policy allows.
    pub(crate) fn is_synced(&self) -> bool {
        self.0.as_ref().is_some_and(|slot| {
            let request = slot.cell.record();
            request.durability == Durability::Synced
                && (request.progress.is_admitted() || !request.progress.is_refused())
                && slot.place.is_reserved()
        })
    }

    pub(crate) fn protocol(&self) -> Protocol {
        match self.request() {
            Some(request) if request.grpc => Protocol::Grpc,
            _ => Protocol::Http,
        }
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
        // The server says what it was: a client that calls its gRPC something else hides no failure.
        if request.grpc || Protocol::of(response.headers()) == Protocol::Grpc {
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
        if let Some(request) = self.request() {
            request.progress.grpc(grpc_status(trailers));
        }
    }

    /// Queues the record, unless it is queued.
    pub(crate) fn finish(&mut self, end: End) {
        if let Some(Slot { cell, place }) = self.take(end) {
            place.fill(Entry::Request(cell));
        }
    }

    /// [`finish`](Self::finish), and what waits for the record to be durable.
    pub(crate) fn finish_synced(&mut self, end: End) -> Option<Wait> {
        let Slot { cell, place } = self.take(end)?;
        let door = place.reserved();
        cell.record().sync.want();
        let trail = Trail::on(&cell);
        place.fill(Entry::Request(cell));
        door.map(|door| Wait::new(trail, door))
    }

    fn take(&mut self, end: End) -> Option<Slot> {
        let slot = self.0.take()?;
        let now = slot.place.door().clock.monotonic();
        let request = slot.cell.record();
        let duration = now.saturating_since(request.arrival);
        request.progress.end(end, duration);
        Some(slot)
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
