//! A row of the report: a piece of work that is prepared, timed and settled in batches.

use std::{fmt, hint::black_box};

use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use crate::{
    drive::{self, Tally},
    request::{RequestBody, Requests},
};

/// What a row does.
pub trait Work {
    /// Prepares so many operations. Not timed.
    fn prepare(&mut self, operations: usize);

    /// Does what was prepared. Timed.
    fn run(&mut self);

    /// Waits until nothing that was caused runs any more in the background. Not timed.
    fn settle(&mut self) {}

    /// A figure of the row's own in place of nanoseconds: a rate, a count. The row says so.
    fn figure(&self) -> Option<f64> {
        None
    }

    /// What the operations met so far.
    fn tally(&self) -> Tally {
        Tally::default()
    }

    /// The most operations of one batch.
    fn largest_batch(&self) -> usize;

    /// Of a row that measures memory: the bytes to report.
    fn bytes(&self) -> Option<f64> {
        None
    }
}

/// Runs what was prepared, in a frame of its own: what a profiler is told to watch.
#[inline(never)]
pub fn watched(work: &mut dyn Work) {
    work.run();
    black_box(work);
}

/// A row: its stable name, what it is, and its work.
#[non_exhaustive]
pub struct Row {
    /// The stable name.
    pub name: &'static str,
    /// What is done, in a line.
    pub about: &'static str,
    /// The row that stands for what is inside of this one.
    pub inner: Option<&'static str>,
    /// The work.
    pub work: Box<dyn Work>,
}

impl fmt::Debug for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Row")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// Requests to a service, from `poll_ready` to the end of the response's body.
pub struct Calls<S, P = fn(&mut Request<RequestBody>)> {
    service: S,
    requests: Requests,
    dress: P,
    prepared: Vec<Request<RequestBody>>,
    tally: Tally,
    settle: Option<Box<dyn FnMut(usize)>>,
    unsettled: usize,
    largest_batch: usize,
}

impl<S, P> fmt::Debug for Calls<S, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Calls")
            .field("tally", &self.tally)
            .finish_non_exhaustive()
    }
}

impl<S> Calls<S> {
    /// Requests as they come from a connection, without an extension map.
    pub fn new(service: S, requests: Requests) -> Self {
        Self::dressed(service, requests, |_| ())
    }
}

impl<S, P: FnMut(&mut Request<RequestBody>)> Calls<S, P> {
    /// Requests to which an outer layer has added something.
    pub fn dressed(service: S, requests: Requests, dress: P) -> Self {
        Self {
            service,
            requests,
            dress,
            prepared: Vec::new(),
            tally: Tally::default(),
            settle: None,
            unsettled: 0,
            largest_batch: BATCH,
        }
    }

    /// Waits with `settle` after each batch; it is told how many requests were made.
    #[must_use]
    pub fn settling(mut self, settle: impl FnMut(usize) + 'static) -> Self {
        self.settle = Some(Box::new(settle));
        self
    }
}

impl<S, P> Calls<S, P> {
    /// Each request comes to a service at rest: nothing runs, also not in the background.
    #[must_use]
    pub const fn one_by_one(mut self) -> Self {
        self.largest_batch = 1;
        self
    }
}

/// As many as stay in the second-level cache: a server's requests are fresh from the socket.
const BATCH: usize = 64;

impl<S, P, R> Work for Calls<S, P>
where
    S: Service<Request<RequestBody>, Response = Response<R>>,
    P: FnMut(&mut Request<RequestBody>),
    R: Body,
{
    fn prepare(&mut self, operations: usize) {
        self.prepared.clear();
        for _ in 0..operations {
            let mut request = self.requests.make();
            (self.dress)(&mut request);
            self.prepared.push(request);
        }
    }

    fn run(&mut self) {
        self.unsettled = self.unsettled.wrapping_add(self.prepared.len());
        for request in self.prepared.drain(..) {
            drive::answer(&mut self.service, request, &mut self.tally);
        }
    }

    fn settle(&mut self) {
        if let Some(settle) = &mut self.settle {
            settle(std::mem::take(&mut self.unsettled));
        }
    }

    fn tally(&self) -> Tally {
        self.tally
    }

    fn largest_batch(&self) -> usize {
        self.largest_batch
    }
}

/// A function, called in a loop. It says whether it did what it should.
pub struct Operation<F> {
    bytes: Option<f64>,
    call: F,
    prepared: usize,
    tally: Tally,
}

impl<F> fmt::Debug for Operation<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Operation")
            .field("tally", &self.tally)
            .finish_non_exhaustive()
    }
}

impl<F: FnMut() -> bool> Operation<F> {
    /// The loop.
    pub fn new(call: F) -> Self {
        Self {
            bytes: None,
            call,
            prepared: 0,
            tally: Tally::default(),
        }
    }

    /// Reports these bytes, instead of those that the calls allocate.
    #[must_use]
    pub const fn with_bytes(mut self, bytes: f64) -> Self {
        self.bytes = Some(bytes);
        self
    }
}

impl<F: FnMut() -> bool> Work for Operation<F> {
    fn prepare(&mut self, operations: usize) {
        self.prepared = operations;
    }

    fn run(&mut self) {
        let mut failed = 0_u64;
        for _ in 0..self.prepared {
            failed = failed.wrapping_add(u64::from(!black_box((self.call)())));
        }
        self.tally.refused = self.tally.refused.saturating_add(failed);
    }

    fn tally(&self) -> Tally {
        self.tally
    }

    fn bytes(&self) -> Option<f64> {
        self.bytes
    }

    fn largest_batch(&self) -> usize {
        1024
    }
}
