//! What is revoked of one tenant, and of one issuer.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use tenant_context::{CredentialId, PrincipalId, UnixTime};

use super::subject::{Link, Subject};

/// All tokens issued before `before`; forgotten at `until`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cut {
    pub(super) before: UnixTime,
    pub(super) until: UnixTime,
}

#[derive(Debug, Default)]
pub(super) struct OfTenant {
    pub(super) all: Option<Cut>,
    pub(super) tokens: HashMap<CredentialId, UnixTime>,
    pub(super) sessions: HashMap<CredentialId, UnixTime>,
    pub(super) subjects: HashMap<PrincipalId, Cut>,
    pub(super) api_keys: HashSet<CredentialId>,
    /// API keys that were issued before. It stays, as they may have no end.
    keys_before: Option<UnixTime>,
}

#[derive(Debug, Default)]
pub(super) struct OfIssuer {
    pub(super) all: Option<Cut>,
    pub(super) keys: HashSet<Arc<str>>,
}

impl Cut {
    /// For good.
    const EVER: Self = Self {
        before: UnixTime::MAX,
        until: UnixTime::MAX,
    };

    /// Keeps the later of two cuts in each respect, and says whether there was none before.
    pub(super) fn widen(slot: &mut Option<Self>, cut: Self) -> bool {
        let new = slot.is_none();
        let known = slot.get_or_insert(cut);
        known.before = known.before.max(cut.before);
        known.until = known.until.max(cut.until);
        new
    }

    /// API keys are not cut: they are revoked by their ids.
    fn covers(&self, link: &Link<'_>) -> bool {
        link.issuer.is_some() && link.issued_at < self.before
    }

    fn stands(&self, now: UnixTime) -> bool {
        self.until > now
    }
}

impl OfTenant {
    /// The entries that a cut of the whole tenant could stand for.
    pub(super) fn narrow(&self) -> usize {
        self.tokens
            .len()
            .saturating_add(self.sessions.len())
            .saturating_add(self.subjects.len())
    }

    pub(super) fn len(&self) -> usize {
        let cuts =
            usize::from(self.all.is_some()).saturating_add(usize::from(self.keys_before.is_some()));
        self.narrow()
            .saturating_add(self.api_keys.len())
            .saturating_add(cuts)
    }

    /// One cut in place of all that concerns single tokens.
    pub(super) fn cut(&mut self, mut cut: Cut) {
        for subject in self.subjects.values() {
            cut.before = cut.before.max(subject.before);
            cut.until = cut.until.max(subject.until);
        }
        for until in self.tokens.values().chain(self.sessions.values()) {
            cut.until = cut.until.max(*until);
        }
        self.subjects = HashMap::new();
        self.tokens = HashMap::new();
        self.sessions = HashMap::new();
        Cut::widen(&mut self.all, cut);
    }

    /// One cut in place of all that concerns single API keys.
    pub(super) fn cut_api_keys(&mut self, before: UnixTime) {
        self.api_keys = HashSet::new();
        self.keys_before = self.keys_before.max(Some(before));
    }

    /// Forgets what has had its time, and says whether anything is left.
    pub(super) fn sweep(&mut self, now: UnixTime) -> bool {
        self.all = self.all.filter(|cut| cut.stands(now));
        self.tokens.retain(|_, until| *until > now);
        self.sessions.retain(|_, until| *until > now);
        self.subjects.retain(|_, cut| cut.stands(now));
        self.len() > 0
    }

    /// What is revoked in a credential's own tenant.
    pub(super) fn revokes(&self, subject: &Subject<'_>) -> bool {
        let cut = |link: Link<'_>| {
            self.all.is_some_and(|cut| cut.covers(&link))
                || subject.named_by(&link).any(|principal| {
                    let cut = self.subjects.get(principal);
                    cut.is_some_and(|cut| cut.covers(&link))
                })
        };
        self.ends_session(subject)
            || subject.links().any(|link| self.names(&link))
            || subject.at_home().any(cut)
    }

    /// What is revoked in the tenant that an operator comes from.
    pub(super) fn revokes_operator(&self, subject: &Subject<'_>) -> bool {
        let cuts = [
            self.all.as_ref(),
            subject.operator().and_then(|id| self.subjects.get(id)),
        ];
        let revoked = |link: Link<'_>| {
            let mut cuts = cuts.iter().flatten();
            self.names(&link) || cuts.any(|cut| cut.covers(&link))
        };
        self.ends_session(subject) || subject.abroad().is_some_and(revoked)
    }

    fn ends_session(&self, subject: &Subject<'_>) -> bool {
        let session = subject.session;
        session.is_some_and(|session| self.sessions.contains_key(session))
    }

    fn names(&self, link: &Link<'_>) -> bool {
        let mut keys = [
            (link.api_key, link.issued_at),
            (link.beside, UnixTime::default()),
        ]
        .into_iter()
        .filter_map(|(key, issued_at)| Some((key?, issued_at)));
        link.token.is_some_and(|id| self.tokens.contains_key(id))
            || keys.any(|(id, issued_at)| {
                self.api_keys.contains(id) || Some(issued_at) < self.keys_before
            })
    }
}

impl OfIssuer {
    pub(super) fn len(&self) -> usize {
        self.keys
            .len()
            .saturating_add(usize::from(self.all.is_some()))
    }

    /// All its tokens, whenever they are issued, in place of those of single keys.
    pub(super) fn ban(&mut self) {
        self.keys = HashSet::new();
        self.all = Some(Cut::EVER);
    }

    pub(super) fn is_banned(&self) -> bool {
        self.all.is_some_and(|cut| cut.until == UnixTime::MAX)
    }

    pub(super) fn sweep(&mut self, now: UnixTime) -> bool {
        self.all = self.all.filter(|cut| cut.stands(now));
        self.len() > 0
    }

    pub(super) fn revokes(&self, link: &Link<'_>) -> bool {
        self.all.is_some_and(|cut| cut.covers(link))
            || link.kid.is_some_and(|kid| self.keys.contains(kid))
    }
}
