//! Scopes and roles as layers.

mod future;
mod layer;
mod service;

pub use self::{
    future::RequireFuture,
    layer::{RequireRole, RequireScope},
    service::Require,
};
