//! What the probe's handler has given out and not got back.

use std::{fmt, sync::Arc, task::Waker};

use bytes::Bytes;
use parking_lot::Mutex;

/// The books of a [`ProbeService`](super::ProbeService) and all its clones. Clones are the same
/// books.
#[derive(Clone)]
pub struct Ledger(Arc<Mutex<Books>>);

#[derive(Debug)]
struct Books {
    capacity: usize,
    reserved: usize,
    running: usize,
    requests: usize,
    bodies: usize,
    calls: usize,
    received: Vec<Received>,
    waiting: Vec<Waker>,
    violations: Vec<String>,
}

/// A request's body, as the handler has read it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Received {
    pub(crate) data: Vec<Bytes>,
    pub(crate) trailers: bool,
    pub(crate) failed: bool,
}

/// What can be held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Holding {
    Reservation,
    Call,
    RequestBody,
    ResponseBody,
}

impl Ledger {
    pub(crate) fn new(capacity: usize) -> Self {
        Self(Arc::new(Mutex::new(Books {
            capacity,
            reserved: 0,
            running: 0,
            requests: 0,
            bodies: 0,
            calls: 0,
            received: Vec::new(),
            waiting: Vec::new(),
            violations: Vec::new(),
        })))
    }

    /// How many clones have been polled ready and not been called or dropped.
    pub fn reserved(&self) -> usize {
        self.0.lock().reserved
    }

    /// How many calls have neither completed nor been dropped.
    pub fn running(&self) -> usize {
        self.0.lock().running
    }

    /// How many bodies of requests that were made with
    /// [`ProbeService::request_body`](super::ProbeService::request_body) are alive.
    pub fn request_bodies(&self) -> usize {
        self.0.lock().requests
    }

    /// How many of the handler's response bodies are alive.
    pub fn response_bodies(&self) -> usize {
        self.0.lock().bodies
    }

    /// How many calls there were.
    pub fn calls(&self) -> usize {
        self.0.lock().calls
    }

    /// What the caller has done that the contract forbids.
    pub fn violations(&self) -> Vec<String> {
        self.0.lock().violations.clone()
    }

    pub(crate) fn received(&self) -> Vec<Received> {
        self.0.lock().received.clone()
    }

    pub(crate) fn read(&self, body: Received) {
        self.0.lock().received.push(body);
    }

    pub(crate) fn called(&self) {
        let mut books = self.0.lock();
        books.calls = books.calls.saturating_add(1);
    }

    pub(crate) fn violated(&self, what: impl Into<String>) {
        self.0.lock().violations.push(what.into());
    }

    /// A reservation, or a place in the queue for one.
    pub(crate) fn reserve(&self, waker: &Waker) -> Option<Held> {
        let mut books = self.0.lock();
        if books.reserved.saturating_add(books.running) < books.capacity {
            drop(books);
            return Some(self.hold(Holding::Reservation));
        }
        if !books.waiting.iter().any(|known| known.will_wake(waker)) {
            books.waiting.push(waker.clone());
        }
        None
    }

    pub(crate) fn hold(&self, what: Holding) -> Held {
        let mut books = self.0.lock();
        let count = books.count(what);
        *count = count.saturating_add(1);
        drop(books);
        Held {
            ledger: self.clone(),
            what,
        }
    }

    fn give_back(&self, what: Holding) {
        let waiting = {
            let mut books = self.0.lock();
            let count = books.count(what);
            *count = count.saturating_sub(1);
            std::mem::take(&mut books.waiting)
        };
        waiting.into_iter().for_each(Waker::wake);
    }
}

impl Books {
    fn count(&mut self, what: Holding) -> &mut usize {
        match what {
            Holding::Reservation => &mut self.reserved,
            Holding::Call => &mut self.running,
            Holding::RequestBody => &mut self.requests,
            Holding::ResponseBody => &mut self.bodies,
        }
    }
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let books = self.0.lock();
        f.debug_struct("Ledger")
            .field("reserved", &books.reserved)
            .field("running", &books.running)
            .field("request_bodies", &books.requests)
            .field("response_bodies", &books.bodies)
            .field("calls", &books.calls)
            .field("violations", &books.violations)
            .finish_non_exhaustive()
    }
}

/// Something the handler has given out; dropping it gives it back.
#[derive(Debug)]
pub(crate) struct Held {
    ledger: Ledger,
    what: Holding,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.ledger.give_back(self.what);
    }
}
