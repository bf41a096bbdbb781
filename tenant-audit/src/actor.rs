//! Who did what is recorded, and on whose behalf.

use tenant_context::{Identity, Principal};

use crate::json::{self, Members, key};

/// Who did it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Actor<'a> {
    Verified(&'a Identity),
    System(&'a str),
    Anonymous,
}

impl<'a> Actor<'a> {
    pub(crate) fn identity(self) -> Option<&'a Identity> {
        match self {
            Self::Verified(identity) => Some(identity),
            Self::System(_) | Self::Anonymous => None,
        }
    }

    /// Writes who it was, with the whole chain of actors where there is one.
    pub(crate) fn name(self, members: &mut Members<'_>) {
        let (id, kind) = match self {
            Self::Verified(identity) => {
                let actor = identity.actor();
                (Some(actor.id().as_str()), actor.kind().as_str())
            }
            Self::System(task) => (Some(task), "system"),
            Self::Anonymous => (None, "anonymous"),
        };
        members.maybe(key!("actor_id"), id);
        members.bounded(key!("actor_type"), kind);
        if let Self::Verified(identity) = self
            && !identity.actors().is_empty()
        {
            json::list(
                identity.actors(),
                members.name(key!("actors")),
                |actor: &Principal, out| {
                    let mut members = Members::begin(out);
                    members.bounded(key!("id"), actor.id().as_str());
                    members.bounded(key!("type"), actor.kind().as_str());
                    members.end();
                },
            );
        }
    }

    /// Writes for whom somebody else acted, and whose staff that was.
    pub(crate) fn name_principal(self, members: &mut Members<'_>) {
        if let Self::Verified(identity) = self
            && !identity.actors().is_empty()
        {
            let principal = identity.principal();
            members.bounded(key!("on_behalf_of"), principal.id().as_str());
            members.bounded(key!("on_behalf_of_type"), principal.kind().as_str());
        }
        if let Some(staff) = self.identity().and_then(Identity::operator_of) {
            members.bounded(key!("operator_of"), staff.as_str());
        }
    }
}
