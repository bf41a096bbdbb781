//! A tenant's decision while another thread is busy: with another tenant's made-up agents, or with memory alone.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    thread::JoinHandle,
};

use super::{
    Definition, Shared,
    limits::{self, World},
};
use crate::{Result, drive::Tally, row::Row};

/// An operation, and a thread that is busy while it is measured and at no other time: it would cost the other rows a core.
struct During<F> {
    operation: F,
    prepared: usize,
    failed: u64,
    state: Arc<AtomicU8>,
    thread: Option<JoinHandle<()>>,
}

const RESTS: u8 = 0;
const IS_WANTED: u8 = 1;
const RUNS: u8 = 2;
const IS_STOPPED: u8 = 3;
const IS_OVER: u8 = 4;

impl<F: FnMut() -> bool> During<F> {
    fn new(operation: F, mut other: impl FnMut() + Send + 'static) -> Self {
        let state = Arc::new(AtomicU8::new(RESTS));
        let shared = Arc::clone(&state);
        let thread = std::thread::spawn(move || {
            let change = |from, to| {
                let (ok, err) = (Ordering::AcqRel, Ordering::Acquire);
                shared.compare_exchange(from, to, ok, err).is_ok()
            };
            loop {
                match shared.load(Ordering::Acquire) {
                    IS_OVER => return,
                    RUNS => other(),
                    RESTS => std::thread::park(),
                    _ => {
                        let _changed = change(IS_WANTED, RUNS) || change(IS_STOPPED, RESTS);
                    }
                }
            }
        });
        Self {
            operation,
            prepared: 0,
            failed: 0,
            state,
            thread: Some(thread),
        }
    }

    /// Says what the thread should do, and waits until it does.
    fn wait_for(&self, wanted: u8, then: u8) {
        if self.state.load(Ordering::Acquire) == then {
            return;
        }
        self.state.store(wanted, Ordering::Release);
        while self.state.load(Ordering::Acquire) != then {
            if let Some(thread) = &self.thread {
                thread.thread().unpark();
            }
            std::thread::yield_now();
        }
    }
}

impl<F: FnMut() -> bool> crate::row::Work for During<F> {
    fn prepare(&mut self, operations: usize) {
        self.prepared = operations;
        self.wait_for(IS_WANTED, RUNS);
    }

    fn run(&mut self) {
        for _ in 0..self.prepared {
            let done = std::hint::black_box((self.operation)());
            self.failed = self.failed.wrapping_add(u64::from(!done));
        }
    }

    fn settle(&mut self) {
        self.wait_for(IS_STOPPED, RESTS);
    }

    fn tally(&self) -> Tally {
        Tally {
            refused: self.failed,
            ..Tally::default()
        }
    }

    fn largest_batch(&self) -> usize {
        1024
    }
}

impl<F> Drop for During<F> {
    fn drop(&mut self) {
        self.state.store(IS_OVER, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ended = thread.join();
        }
    }
}

/// So many cells of 64 bytes: as much memory as a million agents' cells take, and more than the caches hold.
const LINES: usize = if cfg!(debug_assertions) {
    1_000
} else {
    1_000_000
};

pub(super) fn memory(definition: &'static Definition, _: &Arc<Shared>) -> Result<Row> {
    let decision = limits::neighbour(&World::for_a_flood()?)?;
    let mut lines = vec![[0_u64; 8]; LINES];
    let mut at = 0_usize;
    let other = move || {
        // A stride that visits all of them.
        at = at.wrapping_add(618_033).checked_rem(LINES).unwrap_or(0);
        if let Some([first, ..]) = lines.get_mut(at) {
            *first = first.wrapping_add(1);
        }
    };
    Ok(definition.row(During::new(decision, other)))
}

pub(super) fn agents(definition: &'static Definition, _: &Arc<Shared>) -> Result<Row> {
    let world = World::for_a_flood()?;
    let decision = limits::neighbour(&world)?;
    let limits = world.limits();
    let mut agent = 0_usize;
    let other = move || {
        agent = agent.wrapping_add(1).checked_rem(LINES).unwrap_or(0);
        if let Ok(context) = world.context(1, agent) {
            // Nobody may forget its cell for ten seconds.
            let _admitted = limits.check(&context, None, limits::SPENT);
        }
    };
    Ok(definition.row(During::new(decision, other)))
}
