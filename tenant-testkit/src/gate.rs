//! Holds futures until the test lets them go.

use std::{
    collections::BTreeMap,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use parking_lot::Mutex;

/// A gate that futures wait at. Clones are the same gate.
///
/// ```
/// use futures_util::FutureExt;
/// use tenant_testkit::Gate;
///
/// let gate = Gate::closed();
/// let mut pass = gate.pass();
/// assert!((&mut pass).now_or_never().is_none());
/// assert_eq!(gate.waiting(), 1);
/// gate.release();                                  // who waits now may go; who comes later waits
/// assert!(pass.now_or_never().is_some());
/// assert!(gate.pass().now_or_never().is_none());
/// gate.open();
/// assert!(gate.pass().now_or_never().is_some());
/// ```
#[derive(Clone, Debug)]
pub struct Gate(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    open: bool,
    next: u64,
    waiting: BTreeMap<u64, Waker>,
}

impl Gate {
    /// A gate that holds.
    pub fn closed() -> Self {
        Self(Arc::new(Mutex::new(State {
            open: false,
            next: 0,
            waiting: BTreeMap::new(),
        })))
    }

    /// A gate that lets everybody through, until it is closed.
    pub fn opened() -> Self {
        let gate = Self::closed();
        gate.open();
        gate
    }

    /// Lets everybody through from now on.
    pub fn open(&self) {
        self.let_go(true);
    }

    /// Holds whoever comes from now on.
    pub fn close(&self) {
        self.0.lock().open = false;
    }

    /// Lets those through who wait now.
    pub fn release(&self) {
        let open = self.0.lock().open;
        self.let_go(open);
    }

    /// How many wait: futures that have been polled, and neither let through nor dropped.
    pub fn waiting(&self) -> usize {
        self.0.lock().waiting.len()
    }

    /// A future that ends when the gate lets it through.
    pub fn pass(&self) -> Pass {
        Pass {
            gate: self.clone(),
            place: None,
        }
    }

    fn let_go(&self, open: bool) {
        let waiting = {
            let mut state = self.0.lock();
            state.open = open;
            std::mem::take(&mut state.waiting)
        };
        // Outside the lock: a waker is anybody's code.
        for waker in waiting.into_values() {
            waker.wake();
        }
    }
}

/// The future of [`Gate::pass`].
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct Pass {
    gate: Gate,
    place: Option<u64>,
}

impl Future for Pass {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let mut state = this.gate.0.lock();
        match this.place {
            Some(place) => match state.waiting.get_mut(&place) {
                Some(waker) => {
                    waker.clone_from(cx.waker());
                    Poll::Pending
                }
                None => Poll::Ready(()),
            },
            None if state.open => Poll::Ready(()),
            None => {
                let place = state.next;
                state.next = place.wrapping_add(1);
                state.waiting.insert(place, cx.waker().clone());
                this.place = Some(place);
                Poll::Pending
            }
        }
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        if let Some(place) = self.place {
            let gone = self.gate.0.lock().waiting.remove(&place);
            drop(gone);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::polls::Polls;

    #[test]
    fn the_last_waker_is_woken_and_a_dropped_pass_waits_no_more() {
        let gate = Gate::closed();
        let (first, last) = (Polls::new(), Polls::new());
        let mut pass = Box::pin(gate.pass());
        assert!(first.poll(pass.as_mut()).is_pending());
        assert!(last.poll(pass.as_mut()).is_pending());
        let mut dropped = Box::pin(gate.pass());
        assert!(first.poll(dropped.as_mut()).is_pending());
        assert_eq!(gate.waiting(), 2);
        drop(dropped);
        assert_eq!(gate.waiting(), 1);
        gate.open();
        assert_eq!((first.woken(), last.woken()), (0, 1));
        gate.close();
        assert!(last.poll(pass.as_mut()).is_ready(), "it was let through");
        assert!(last.poll(Box::pin(gate.pass()).as_mut()).is_pending());
    }
}
