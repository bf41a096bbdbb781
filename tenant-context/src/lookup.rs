//! An answer that is usually there already.

use std::{fmt, future::Future, pin::Pin};

/// An answer, or the future of one: a hit costs no box, a miss one.
#[non_exhaustive]
pub enum Lookup<T> {
    /// The answer.
    Ready(T),
    /// The answer will come.
    Pending(Pin<Box<dyn Future<Output = T> + Send>>),
}

impl<T> Lookup<T> {
    /// A future of the answer.
    pub fn pending(future: impl Future<Output = T> + Send + 'static) -> Self {
        Self::Pending(Box::pin(future))
    }

    /// The answer, awaited if need be.
    pub async fn wait(self) -> T {
        match self {
            Self::Ready(value) => value,
            Self::Pending(future) => future.await,
        }
    }
}

impl<T: Send + 'static> Lookup<T> {
    /// The lookup with its answer mapped.
    pub fn map<U>(self, f: impl FnOnce(T) -> U + Send + 'static) -> Lookup<U> {
        match self {
            Self::Ready(value) => Lookup::Ready(f(value)),
            Self::Pending(future) => Lookup::pending(async move { f(future.await) }),
        }
    }
}

impl<T: fmt::Debug> fmt::Debug for Lookup<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ready(value) => f.debug_tuple("Ready").field(value).finish(),
            Self::Pending(_) => f.write_str("Pending"),
        }
    }
}
