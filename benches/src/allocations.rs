//! Counts the allocations of one thread.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

/// How often, and how much, a thread allocated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Allocations {
    /// Allocations; growing one in place or elsewhere counts again.
    pub count: u64,
    /// Bytes asked for.
    pub bytes: u64,
}

thread_local! {
    static COUNTING: Cell<bool> = const { Cell::new(false) };
    static LIVE: Cell<i64> = const { Cell::new(0) };
    static SEEN: Cell<Allocations> = const { Cell::new(Allocations { count: 0, bytes: 0 }) };
}

/// The allocations of this thread while `f` runs. Other threads are not counted, and nothing is
/// counted at other times: an allocation then costs one more look at a thread-local flag.
pub fn count(f: impl FnOnce()) -> Allocations {
    SEEN.set(Allocations::default());
    COUNTING.set(true);
    f();
    COUNTING.set(false);
    SEEN.get()
}

/// The bytes that this thread allocated while `f` ran and has not freed by its end.
pub fn live(f: impl FnOnce()) -> i64 {
    LIVE.set(0);
    let _counted = count(f);
    LIVE.get()
}

#[inline]
fn keep(bytes: usize, freed: usize) {
    if COUNTING.get() {
        let signed = |bytes: usize| i64::try_from(bytes).unwrap_or(i64::MAX);
        let kept = signed(bytes).wrapping_sub(signed(freed));
        LIVE.set(LIVE.get().wrapping_add(kept));
    }
}

#[inline]
fn note(bytes: usize) {
    if COUNTING.get() {
        let seen = SEEN.get();
        SEEN.set(Allocations {
            count: seen.count.wrapping_add(1),
            bytes: seen
                .bytes
                .wrapping_add(u64::try_from(bytes).unwrap_or(u64::MAX)),
        });
    }
}

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[allow(
    unsafe_code,
    reason = "an allocator cannot be written without; every call goes to the system's allocator as it came"
)]
// SAFETY: `System` keeps the contract of `GlobalAlloc`, and is given exactly what the caller gave.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        keep(layout.size(), 0);
        // SAFETY: the caller's promise, unchanged.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        keep(layout.size(), 0);
        // SAFETY: the caller's promise, unchanged.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        note(new_size);
        keep(new_size, layout.size());
        // SAFETY: the caller's promise, unchanged.
        unsafe { System.realloc(ptr, layout, new_size) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        keep(0, layout.size());
        // SAFETY: the caller's promise, unchanged.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[cfg(test)]
mod tests {
    use std::hint::black_box;

    use super::*;

    #[test]
    fn only_this_thread_is_counted_and_only_meanwhile() {
        let before = black_box(vec![1_u8; 100]);
        let seen = count(|| {
            drop(black_box(Box::new(7_u64)));
            let other = std::thread::scope(|scope| {
                scope
                    .spawn(|| drop(black_box(vec![0_u8; 1_000_000])))
                    .join()
            });
            assert!(other.is_ok());
        });
        drop(before);
        assert!(seen.count >= 1);
        assert!(seen.bytes >= 8);
        assert!(
            seen.bytes < 1_000_000,
            "the other thread's megabyte was counted"
        );
        assert_eq!(count(|| ()), Allocations::default());
    }

    #[test]
    fn what_is_freed_again_is_not_live() {
        let mut kept = None;
        let bytes = live(|| {
            drop(black_box(vec![0_u8; 1_000]));
            let mut grown = Vec::with_capacity(10);
            grown.extend_from_slice(&[0_u8; 10]);
            grown.reserve_exact(90);
            kept = Some(black_box(grown));
        });
        assert_eq!(bytes, 100);
    }

    #[test]
    fn growth_is_an_allocation() {
        let seen = count(|| {
            let mut grown = Vec::with_capacity(4);
            grown.extend_from_slice(&[0_u8; 4]);
            grown.reserve_exact(12);
            black_box(grown);
        });
        assert_eq!(
            seen,
            Allocations {
                count: 2,
                bytes: 20
            }
        );
    }
}
