//! Stores that fail, hang or lie on command.

use std::{collections::VecDeque, fmt, panic::resume_unwind, sync::Arc};

use parking_lot::Mutex;
use tenant_context::{BoxError, TenantId, TenantRecord, TenantRegistry};

use crate::Gate;

/// What a scripted store answers to one call.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Answer<T> {
    /// This value, true or not.
    Value(T),
    /// A [`StoreFailed`].
    Fail,
    /// Nothing until [`Script::release`]; then the next answer of the script.
    Hang,
    /// A panic, which prints nothing.
    Panic,
}

impl Answer<Option<TenantRecord>> {
    /// This record: of the tenant that was asked for or of another, current or older than one given
    /// before.
    pub const fn found(record: TenantRecord) -> Self {
        Self::Value(Some(record))
    }

    /// There is no such tenant.
    pub const fn missing() -> Self {
        Self::Value(None)
    }
}

/// A store whose answers are written down in advance: one for each call, the last one for all
/// further calls. Clones are the same store.
///
/// A fake of any asynchronous store is a few lines:
///
/// ```
/// use futures_util::FutureExt;
/// use tenant_testkit::stores::{Answer, Script, StoreFailed};
///
/// trait Prices {
///     async fn price(&self, item: &str) -> Result<u32, StoreFailed>;
/// }
///
/// impl Prices for Script<u32> {
///     async fn price(&self, item: &str) -> Result<u32, StoreFailed> {
///         self.answer(item).await
///     }
/// }
///
/// let prices = Script::new([Answer::Value(3), Answer::Fail]);
/// assert_eq!(prices.price("tea").now_or_never(), Some(Ok(3)));
/// assert_eq!(prices.price("tea").now_or_never(), Some(Err(StoreFailed)));
/// assert_eq!(prices.price("milk").now_or_never(), Some(Err(StoreFailed)));
/// assert_eq!(prices.asked(), ["tea", "tea", "milk"]);
/// ```
#[derive(Clone)]
pub struct Script<T>(Arc<Shared<T>>);

/// A [`TenantRegistry`] whose answers are written down in advance.
///
/// ```
/// use tenant_context::{CachedRegistry, TenantId, TenantRecord};
/// use tenant_testkit::stores::{Answer, ScriptedRegistry};
///
/// let acme = TenantRecord::new(TenantId::parse("acme")?);
/// let registry = ScriptedRegistry::new([
///     Answer::found(acme.clone().version(2)),
///     Answer::Hang,
///     Answer::found(acme.version(1)),                                     // goes back
///     Answer::found(TenantRecord::new(TenantId::parse("globex")?)),       // lies
/// ]);
/// let tenants = CachedRegistry::builder(registry.clone()).build()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub type ScriptedRegistry = Script<Option<TenantRecord>>;

struct Shared<T> {
    state: Mutex<State<T>>,
    hanging: Gate,
}

struct State<T> {
    answers: VecDeque<Answer<T>>,
    last: Answer<T>,
    asked: Vec<String>,
}

impl<T: Clone> Script<T> {
    /// A store with these answers. Without any it fails.
    pub fn new(answers: impl IntoIterator<Item = Answer<T>>) -> Self {
        Self(Arc::new(Shared {
            state: Mutex::new(State {
                answers: answers.into_iter().collect(),
                last: Answer::Fail,
                asked: Vec::new(),
            }),
            hanging: Gate::closed(),
        }))
    }

    /// Appends an answer.
    pub fn push(&self, answer: Answer<T>) {
        self.0.state.lock().answers.push_back(answer);
    }

    /// Drops the answers that were not given yet: from now on it is this one.
    pub fn set(&self, answer: Answer<T>) {
        let mut state = self.0.state.lock();
        state.answers.clear();
        state.answers.push_back(answer);
    }

    /// Lets the calls go on that hang now.
    pub fn release(&self) {
        self.0.hanging.release();
    }

    /// How many calls hang: a call that was dropped hangs no more.
    pub fn hanging(&self) -> usize {
        self.0.hanging.waiting()
    }

    /// How many calls there were.
    pub fn calls(&self) -> usize {
        self.0.state.lock().asked.len()
    }

    /// What was asked for, call by call.
    pub fn asked(&self) -> Vec<String> {
        self.0.state.lock().asked.clone()
    }

    /// One call, which asks for `what`: counts it and does as the script says.
    ///
    /// # Errors
    ///
    /// [`StoreFailed`] for [`Answer::Fail`].
    ///
    /// # Panics
    ///
    /// For [`Answer::Panic`].
    pub async fn answer(&self, what: impl fmt::Display) -> Result<T, StoreFailed> {
        let what = what.to_string();
        self.0.state.lock().asked.push(what);
        loop {
            match self.next() {
                Answer::Value(value) => return Ok(value),
                Answer::Fail => return Err(StoreFailed),
                Answer::Panic => resume_unwind(Box::new("the store panics, as its script says")),
                Answer::Hang => self.0.hanging.pass().await,
            }
        }
    }

    fn next(&self) -> Answer<T> {
        let mut state = self.0.state.lock();
        if let Some(answer) = state.answers.pop_front() {
            state.last = answer;
        }
        state.last.clone()
    }
}

impl TenantRegistry for ScriptedRegistry {
    async fn load(&self, id: &TenantId) -> Result<Option<TenantRecord>, BoxError> {
        Ok(self.answer(id).await?)
    }
}

impl<T> fmt::Debug for Script<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.0.state.lock();
        f.debug_struct("Script")
            .field("calls", &state.asked.len())
            .field("left", &state.answers.len())
            .finish_non_exhaustive()
    }
}

/// The error of [`Answer::Fail`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(
    clippy::exhaustive_structs,
    reason = "fakes return it, and tests compare with it"
)]
pub struct StoreFailed;

impl fmt::Display for StoreFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the store fails, as its script says")
    }
}

impl std::error::Error for StoreFailed {}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    #[test]
    fn answers_come_in_order_and_the_last_one_stays() {
        let store = Script::new([Answer::Value(1), Answer::Value(2)]);
        let ask = || store.answer("x").now_or_never();
        assert_eq!(
            [ask(), ask(), ask()],
            [Some(Ok(1)), Some(Ok(2)), Some(Ok(2))]
        );
        store.push(Answer::Fail);
        assert_eq!(ask(), Some(Err(StoreFailed)));
        store.push(Answer::Value(8));
        store.set(Answer::Value(9));
        assert_eq!(ask(), Some(Ok(9)));
        assert_eq!(store.calls(), 5);
    }

    #[test]
    fn a_hanging_call_goes_on_with_the_next_answer_and_a_dropped_one_hangs_no_more() {
        let store = Script::new([Answer::Hang, Answer::Value(1)]);
        let mut call = Box::pin(store.answer("x"));
        assert!(call.as_mut().now_or_never().is_none());
        assert_eq!(store.hanging(), 1);
        store.release();
        assert_eq!(call.now_or_never(), Some(Ok(1)));
        store.set(Answer::Hang);
        let mut dropped = Box::pin(store.answer("x"));
        assert!(dropped.as_mut().now_or_never().is_none());
        drop(dropped);
        assert_eq!(store.hanging(), 0);
    }

    #[test]
    #[should_panic(expected = "as its script says")]
    fn it_panics_on_command() {
        Script::<()>::new([Answer::Panic])
            .answer("x")
            .now_or_never();
    }
}
