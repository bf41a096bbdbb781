//! The worker: a suspension elsewhere reaches what is open already.

use super::*;
use tenant_context::{EndReason, Ended};

struct Open {
    house: House,
    worker: BoxFuture<'static, ()>,
    ended: Ended,
}

impl Open {
    fn new(answers: impl IntoIterator<Item = Answer<Option<TenantRecord>>>) -> Self {
        let clock = ManualClock::new();
        let registry = ScriptedRegistry::new(answers);
        let tenants = CachedRegistry::builder(registry.clone())
            .clock(clock.clone())
            .timer(clock.clone())
            .ttl(TTL)
            .max_stale(MAX_STALE)
            .retry_after(RETRY_AFTER)
            .build()
            .unwrap();
        let auth = TestAuth::new(tenants.clone()).accept("ada", claims("acme", "ada"));
        let ended = admit(&auth).unwrap().ended();
        let worker = tenants.worker().unwrap().boxed();
        let house = House {
            clock,
            registry,
            tenants,
        };
        Self {
            house,
            worker,
            ended,
        }
    }

    /// Whether the context has ended, after the worker has had its turn.
    fn poll(&mut self) -> Poll<EndReason> {
        let mut cx = Context::from_waker(Waker::noop());
        let before = self.ended.poll_unpin(&mut cx);
        assert_eq!(self.worker.poll_unpin(&mut cx), Poll::Pending);
        before
            .is_pending()
            .then_some(())
            .map_or(before, |()| self.ended.poll_unpin(&mut cx))
    }

    fn after(&mut self, duration: Duration) -> Poll<EndReason> {
        self.house.clock.advance(duration);
        self.poll()
    }
}

#[test]
fn i5_a_suspension_elsewhere_reaches_what_is_open() {
    let mut open = Open::new([
        Answer::found(acme(1)),
        Answer::found(acme(1)),
        Answer::found(suspended(2)),
    ]);
    assert_eq!(open.poll(), Poll::Pending);
    assert_eq!(open.after(TTL), Poll::Pending);
    assert_eq!(open.house.registry.calls(), 2, "it looked");
    assert_eq!(open.after(TTL), Poll::Ready(EndReason::Suspended));
}

#[test]
fn i5_what_is_open_ends_when_the_registry_is_silent_for_too_long() {
    let mut open = Open::new([Answer::found(acme(1)), Answer::Fail]);
    assert_eq!(open.poll(), Poll::Pending);
    let rounds = MAX_STALE.as_secs() / TTL.as_secs();
    for _ in 1..rounds {
        assert_eq!(open.after(TTL), Poll::Pending);
    }
    assert_eq!(open.after(TTL), Poll::Ready(EndReason::Closed));
    // The registry is back: so is the tenant.
    open.house.registry.set(Answer::found(acme(1)));
    open.house.clock.advance(RETRY_AFTER);
    assert_eq!(open.house.status(), TenantStatus::Active);
}

#[test]
fn a_tenant_whose_end_nobody_waits_for_is_not_looked_at() {
    let mut open = Open::new([Answer::found(acme(1))]);
    let mut cx = Context::from_waker(Waker::noop());
    for _ in 0..5 {
        assert_eq!(open.worker.poll_unpin(&mut cx), Poll::Pending);
        open.house.clock.advance(TTL);
    }
    assert_eq!(open.house.registry.calls(), 1);
}

#[test]
fn the_worker_ends_with_the_registry_and_needs_a_timer() {
    let Open {
        house,
        mut worker,
        ended,
    } = Open::new([Answer::found(acme(1))]);
    let mut cx = Context::from_waker(Waker::noop());
    assert_eq!(worker.poll_unpin(&mut cx), Poll::Pending);
    let House { clock, tenants, .. } = house;
    drop((tenants, ended));
    clock.advance(TTL);
    assert_eq!(worker.poll_unpin(&mut cx), Poll::Ready(()));

    let without = CachedRegistry::builder(MemoryRegistry::new())
        .build()
        .unwrap();
    let error = without.worker().unwrap_err().to_string();
    assert!(error.contains("add `.timer("), "{error}");
}
