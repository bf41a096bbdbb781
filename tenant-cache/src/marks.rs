//! Invalidation by tag: what was begun before its tag was marked is dead.
//!
//! Tags fall into a fixed number of cells by their hash, and a cell keeps the number of its latest mark. Two tags in
//! one cell cost an entry that could have stayed; none ever stays that should have gone.

use std::sync::{
    OnceLock,
    atomic::{AtomicU64, Ordering},
};

/// The keyed hash of a tag's bytes.
pub(crate) type Tag = u64;

/// Two KiB, made when a partition's first tag is marked.
const CELLS: usize = 256;

#[derive(Debug, Default)]
pub(crate) struct Marks {
    count: AtomicU64,
    cells: OnceLock<Box<[AtomicU64]>>,
}

impl Marks {
    /// The count that what begins now keeps. Read before the data is.
    pub(crate) fn count(&self) -> u64 {
        self.count.load(Ordering::Acquire)
    }

    /// Kills what carries the tag and began before. When this returns, every later read sees it.
    pub(crate) fn mark(&self, tag: Tag) {
        let cells = self
            .cells
            .get_or_init(|| (0..CELLS).map(|_| AtomicU64::new(0)).collect());
        let number = self.count.fetch_add(1, Ordering::AcqRel).wrapping_add(1);
        if let Some(cell) = cells.get(place(tag)) {
            cell.fetch_max(number, Ordering::AcqRel);
        }
    }

    /// Whether one of the tags was marked since `begun`. Without tags it costs nothing.
    pub(crate) fn hit(&self, begun: u64, tags: &[Tag]) -> bool {
        if tags.is_empty() {
            return false;
        }
        let Some(cells) = self.cells.get() else {
            return false;
        };
        tags.iter().any(|tag| {
            cells
                .get(place(*tag))
                .is_some_and(|cell| cell.load(Ordering::Acquire) > begun)
        })
    }
}

fn place(tag: Tag) -> usize {
    usize::try_from(tag >> 32).unwrap_or(0) % CELLS
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;

    const fn tag(cell: u64) -> Tag {
        cell << 32
    }

    #[test]
    fn a_mark_kills_what_began_before_it_and_nothing_that_begins_after() {
        let marks = Marks::default();
        let before = marks.count();
        assert!(!marks.hit(before, &[tag(1)]));
        marks.mark(tag(1));
        assert!(marks.hit(before, &[tag(1)]));
        assert!(marks.hit(before, &[tag(9), tag(1)]));
        assert!(!marks.hit(before, &[tag(2)]));
        assert!(!marks.hit(before, &[]));
        let after = marks.count();
        assert!(!marks.hit(after, &[tag(1)]));
        marks.mark(tag(2));
        assert!(!marks.hit(after, &[tag(1)]));
        assert!(marks.hit(after, &[tag(2)]));
    }

    #[test]
    fn tags_that_share_a_cell_err_on_the_safe_side() {
        let marks = Marks::default();
        let other = tag(3).wrapping_add(tag(256));
        marks.mark(other);
        assert!(marks.hit(0, &[tag(3)]));
    }
}
