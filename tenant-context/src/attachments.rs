//! What layers keep with an identity, so that its next request needs no look-up.

use std::{
    any::{Any, TypeId},
    fmt,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

/// Names one instance of a layer, unique in the process: two limiters on one identity keep apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct InstanceId(u64);

impl InstanceId {
    /// The next unused instance id.
    #[allow(
        clippy::new_without_default,
        reason = "every call gives another id; a default would hide that"
    )]
    pub fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// A few typed, write-once slots.
///
/// A slot is found by the type of its value, the layer's [`InstanceId`], and the generation under
/// which the value was resolved: a value of another generation is not found, and is resolved anew. At most
/// [`Attachments::MAX`] values are kept; beyond that they are resolved for each request.
///
/// ```
/// use std::sync::Arc;
/// use tenant_context::{Attachments, InstanceId};
///
/// let (attachments, layer) = (Attachments::default(), InstanceId::new());
/// assert!(attachments.get::<u32>(layer, 0).is_none());
/// attachments.attach(layer, 0, Arc::new(7_u32));
/// assert_eq!(attachments.get::<u32>(layer, 0), Some(&7));
/// assert!(attachments.get::<u32>(layer, 1).is_none());      // resolved under an older generation
/// ```
#[derive(Default)]
pub struct Attachments {
    first: OnceLock<Box<Slot>>,
}

struct Slot {
    kind: TypeId,
    instance: InstanceId,
    generation: u64,
    value: Arc<dyn Any + Send + Sync>,
    next: OnceLock<Box<Slot>>,
}

impl Attachments {
    /// The most values that are kept.
    pub const MAX: usize = 8;

    fn slots(&self) -> impl Iterator<Item = &Slot> {
        std::iter::successors(self.first.get().map(Box::as_ref), |slot| {
            slot.next.get().map(Box::as_ref)
        })
    }

    /// The value that this layer attached under this generation. No lock, no reference count.
    pub fn get<T: Any + Send + Sync>(&self, instance: InstanceId, generation: u64) -> Option<&T> {
        self.slots()
            .find(|slot| {
                slot.instance == instance
                    && slot.generation == generation
                    && slot.kind == TypeId::of::<T>()
            })
            .and_then(|slot| slot.value.downcast_ref())
    }

    /// Keeps a value if there is room and none of its key, and says whether it did.
    pub fn attach<T: Any + Send + Sync>(
        &self,
        instance: InstanceId,
        generation: u64,
        value: Arc<T>,
    ) -> bool {
        let kind = TypeId::of::<T>();
        let mut slot = Box::new(Slot {
            kind,
            instance,
            generation,
            value,
            next: OnceLock::new(),
        });
        let mut place = &self.first;
        for _ in 0..Self::MAX {
            match place.set(slot) {
                Ok(()) => return true,
                Err(back) => slot = back,
            }
            let Some(taken) = place.get() else {
                return false;
            };
            if taken.instance == instance && taken.generation == generation && taken.kind == kind {
                return false;
            }
            place = &taken.next;
        }
        false
    }
}

impl fmt::Debug for Attachments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attachments")
            .field("len", &self.slots().count())
            .finish()
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;

    #[test]
    fn instances_types_and_generations_keep_apart() {
        let (slots, one, two) = (Attachments::default(), InstanceId::new(), InstanceId::new());
        assert!(slots.attach(one, 1, Arc::new(1_u32)));
        assert!(slots.attach(two, 1, Arc::new(2_u32)));
        assert!(slots.attach(one, 1, Arc::new("text")));
        assert!(slots.attach(one, 2, Arc::new(3_u32)));
        assert!(!slots.attach(one, 2, Arc::new(4_u32)), "write-once");
        assert_eq!(slots.get::<u32>(one, 1), Some(&1));
        assert_eq!(slots.get::<u32>(two, 1), Some(&2));
        assert_eq!(slots.get::<u32>(one, 2), Some(&3));
        assert_eq!(slots.get::<&str>(one, 1), Some(&"text"));
        assert_eq!(slots.get::<u64>(one, 1), None);
    }

    #[test]
    fn i6_the_number_of_slots_is_bounded() {
        let slots = Attachments::default();
        let kept = (0..100)
            .filter(|generation| slots.attach(InstanceId::new(), *generation, Arc::new(())))
            .count();
        assert_eq!(kept, Attachments::MAX);
    }

    #[test]
    fn racing_threads_agree_on_one_value() {
        let (slots, layer) = (Attachments::default(), InstanceId::new());
        std::thread::scope(|scope| {
            for n in 0..8_u32 {
                let slots = &slots;
                scope.spawn(move || slots.attach(layer, 0, Arc::new(n)));
            }
        });
        assert_eq!(slots.slots().count(), 1);
    }
}
