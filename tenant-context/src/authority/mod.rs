//! What a verified caller may do: scopes, roles, resources, owners.

mod authorize;
mod pattern;
mod require;
mod roles;

pub use self::{
    authorize::Authorize,
    pattern::{scope_covers, scopes_overlap},
    require::prefix_covers,
    roles::{RoleGrants, RoleMapping, Roles},
};
