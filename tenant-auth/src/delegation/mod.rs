//! Authority that travels on, and only shrinks.

mod delegate;
mod operate;
pub(crate) mod verify;

pub(crate) use self::delegate::{BUDGET, budgets, parents};
pub use self::{
    delegate::{Budget, Delegation},
    operate::{Operation, Operators},
};
