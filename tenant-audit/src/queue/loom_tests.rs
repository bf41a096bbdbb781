//! Models of what is ours between requests and worker: places and who waits for one, the worker's sleep, its end, and the end of all.
//! What tells waiters (tokio's `Notify`) is real and no part of them.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use futures_util::future::{BoxFuture, FutureExt, pending};
use loom::{sync::Notify, thread};
use tenant_context::{Monotonic, SystemClock, TenantId, Timer, Trail, TrailCell};

use super::{Bounds, Door, Doze, Entrance, Entry, Intake, Load, Occurred, Queue};
use crate::{
    AuditHandle, Durability, WhenFull,
    durable::Wait,
    request::{Request, Taken},
};

/// Two switches a run beside those of waiting: all schedules are too many.
fn model(run: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(2);
    builder.check(run);
}

struct Wakes(Notify);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.notify();
    }
}

/// Who is never woken is found by loom, as a deadlock.
fn block_on<F: Future>(future: F) -> F::Output {
    let wakes = Arc::new(Wakes(Notify::new()));
    let waker = Waker::from(Arc::clone(&wakes));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => wakes.0.wait(),
        }
    }
}

/// Time does not go by.
#[derive(Debug)]
struct Never;

impl Timer for Never {
    fn sleep(&self, _: Duration) -> BoxFuture<'static, ()> {
        pending().boxed()
    }
}

fn queue(in_flight: usize, waiting: usize) -> (Arc<Door>, Intake) {
    let queue = Arc::new(Queue::new(Bounds { in_flight, waiting }));
    let door = Door {
        queue: Arc::clone(&queue),
        when_full: WhenFull::default(),
        clock: Arc::new(SystemClock::new()),
        timer: Some(Arc::new(Never)),
        policy: crate::durability::Policy::default(),
        sync_deadline: Duration::MAX,
        continue_unsynced: false,
        trace: false,
    };
    (Arc::new(door), Intake::new(queue))
}

fn event() -> Entry {
    Entry::Event(Box::new(Occurred::nothing()))
}

/// What the worker does, with a sink that takes everything: how many records it got until nobody was left.
fn work(mut intake: Intake, doze: Doze) -> usize {
    let (mut load, mut got) = (Load::default(), 0);
    loop {
        let more = block_on(poll_fn(|cx| {
            intake
                .take(&mut load, doze, cx.waker())
                .map_or(Poll::Pending, Poll::Ready)
        }));
        if !more {
            return got;
        }
        let count = load.entries.len();
        for entry in load.entries.drain(..) {
            entry.settle(true);
        }
        intake.taken(count, 0, &mut Vec::new());
        for flush in load.flushes.drain(..) {
            drop(flush.send(Ok(())));
        }
        intake.written();
        got += count;
    }
}

#[test]
fn a_place_is_one_requests_and_who_waits_for_it_gets_it() {
    model(|| {
        let (door, intake) = queue(1, 1);
        let request = |door: Arc<Door>| {
            let place = block_on(door.place()).unwrap();
            assert_eq!(door.queue.left().in_flight, 1);
            place.fill(event());
        };
        let other = {
            let door = Arc::clone(&door);
            thread::spawn(move || request(door))
        };
        let worker = thread::spawn(move || work(intake, Doze::Asleep));
        request(door);
        other.join().unwrap();
        assert_eq!(worker.join().unwrap(), 2);
    });
}

#[test]
fn who_waits_for_a_request_to_end_needs_no_worker_for_it() {
    model(|| {
        let (door, _busy) = queue(1, 4);
        let request = |door: Arc<Door>| block_on(door.place()).unwrap().fill(event());
        let other = {
            let door = Arc::clone(&door);
            thread::spawn(move || request(door))
        };
        request(Arc::clone(&door));
        other.join().unwrap();
        assert_eq!(door.queue.left().unwritten, 2);
    });
}

#[test]
fn who_waits_behind_another_is_told_of_what_that_one_leaves() {
    model(|| {
        let (door, intake) = queue(4, 1);
        block_on(door.place()).unwrap().fill(event());
        // It waits for a while, and gives up.
        let other = {
            let door = Arc::clone(&door);
            thread::spawn(move || drop(door.place().boxed().now_or_never()))
        };
        // The worker makes room, once.
        let worker = thread::spawn(move || {
            let (mut intake, mut load) = (intake, Load::default());
            let taken = intake.take(&mut load, Doze::Awake, Waker::noop());
            assert!(taken.is_some());
            intake.taken(load.entries.drain(..).count(), 0, &mut Vec::new());
            intake
        });
        let _place = block_on(door.place()).unwrap();
        other.join().unwrap();
        let _alive = worker.join().unwrap();
    });
}

#[test]
fn a_worker_that_sleeps_is_woken_for_what_comes_and_for_the_end() {
    for doze in [Doze::Asleep, Doze::Lingers] {
        model(move || {
            let (door, intake) = queue(4, 4);
            let worker = thread::spawn(move || work(intake, doze));
            let place = block_on(door.place()).unwrap();
            drop(door);
            // A worker that lingers looks by itself for what nobody waits for; the end wakes it.
            place.fill(event());
            assert_eq!(worker.join().unwrap(), 1);
        });
    }
}

#[test]
fn who_waits_for_a_record_is_told_also_by_a_worker_that_ends() {
    for dies in [false, true] {
        model(move || {
            let (door, intake) = queue(4, 4);
            let request = http::Request::get("/").body(()).unwrap();
            let taken = Taken {
                durability: Durability::Synced,
                ..Taken::default()
            };
            let record = Request::of(&request, Monotonic::default(), taken);
            let cell = Arc::new(TrailCell::new(record));
            let place = block_on(door.place()).unwrap();
            let worker = thread::spawn(move || {
                if dies {
                    drop(intake);
                } else {
                    work(intake, Doze::Lingers);
                }
            });
            cell.record().sync.want();
            let trail = Trail::on(&cell);
            place.fill(Entry::Request(cell));
            let told = block_on(Wait::new(trail, Arc::clone(&door)));
            assert_eq!(told.is_err(), dies);
            drop(door);
            worker.join().unwrap();
        });
    }
}

#[test]
fn closing_lets_in_nobody_more_and_leaves_nothing_that_was_let_in() {
    model(|| {
        let (door, intake) = queue(4, 4);
        let request = {
            let door = Arc::clone(&door);
            thread::spawn(move || match door.enter() {
                Entrance::Open(place) => {
                    place.fill(event());
                    1
                }
                Entrance::Wait(_) | Entrance::Closed(_) => 0,
            })
        };
        let worker = thread::spawn(move || work(intake, Doze::Asleep));
        let closed = block_on(AuditHandle::new(door).close(Duration::MAX));
        assert!(closed.is_clean(), "{closed:?}");
        assert_eq!(worker.join().unwrap(), request.join().unwrap());
    });
}

#[test]
fn a_tenants_share_is_never_exceeded_and_comes_back_whole() {
    model(|| {
        let (door, mut intake) = queue(4, 4);
        let places: Vec<_> = (0..2).map(|_| block_on(door.place()).unwrap()).collect();
        let tenant = TenantId::parse("acme").unwrap();
        // Two of four are free, so one tenant may hold one.
        let charge = |door: &Door, tenant: &TenantId| usize::from(door.queue.charge(Some(tenant)));
        let other = {
            let (door, tenant) = (Arc::clone(&door), tenant.clone());
            thread::spawn(move || charge(&door, &tenant))
        };
        let granted = charge(&door, &tenant);
        assert_eq!(granted + other.join().unwrap(), 1);
        intake.taken(0, 0, &mut vec![Some(tenant.clone())]);
        assert_eq!(charge(&door, &tenant), 1);
        drop(places);
    });
}
