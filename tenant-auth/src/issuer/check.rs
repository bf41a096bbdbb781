//! What makes an issuer unsafe or useless, found when it is added.

use std::{collections::HashSet, time::Duration};

use super::{Algorithms, Issuer, PLACE};
use crate::{Algorithm, VerifyingKey};

/// Claims with a meaning of their own: neither the tenant nor the kind is read from them.
const RESERVED: [&str; 17] = [
    "act",
    "aud",
    "cnf",
    "exp",
    "iat",
    "iss",
    "jti",
    "may_act",
    "nbf",
    "resource_prefix",
    "roles",
    "scope",
    "scopes",
    "scp",
    "sid",
    "sub",
    "tenant_chain",
];

impl Issuer {
    /// What is wrong with it, in a sentence that says what to do.
    pub(super) fn fault(&self) -> Option<String> {
        if self.name.is_empty() {
            return Some("the name is empty; use the exact `iss` of its tokens".into());
        }
        if self.audiences.iter().any(|audience| audience.is_empty()) {
            return Some(
                "an audience is empty; name this service as the issuer does in `aud`".into(),
            );
        }
        self.name_fault()
            .or_else(|| self.claim_fault())
            .or_else(|| self.rule_fault())
            .or_else(|| self.key_fault())
    }

    fn name_fault(&self) -> Option<String> {
        self.template.as_ref()?;
        if self.name.matches(PLACE).count() != 1 || self.name.starts_with(PLACE) {
            return Some(
                "a template has one `{tenant}`, and not at its beginning; write `https://id.example.com/{tenant}`"
                    .into(),
            );
        }
        if self.fixed_tenant.is_some() {
            return Some("the tenant is fixed and part of the name too; choose one".into());
        }
        None
    }

    fn claim_fault(&self) -> Option<String> {
        let path = self.tenant_claim.as_deref();
        if path.is_some_and(|path| !(1..=8).contains(&path.len())) {
            return Some("a path to the tenant has 1 to 8 names".into());
        }
        let names = path.into_iter().flatten().map(AsRef::as_ref);
        if names
            .chain(self.kept.iter().map(AsRef::as_ref))
            .any(str::is_empty)
        {
            return Some("a claim without a name; name it as it stands in the token".into());
        }
        let tenant = path.and_then(|path| path.first()).map(AsRef::as_ref);
        let kind = self.kinds.claim_name();
        for claim in [tenant, kind].into_iter().flatten() {
            if claim.is_empty() || RESERVED.contains(&claim) {
                return Some(format!(
                    "the claim {claim:?} has a meaning of its own; choose another for the tenant and the kind"
                ));
            }
        }
        if tenant.is_some() && tenant == kind {
            return Some("the tenant and the kind are read from one claim; choose two".into());
        }
        if self.kept.len() > Self::MAX_KEPT_CLAIMS {
            return Some(format!(
                "{} claims are kept; keep at most {}",
                self.kept.len(),
                Self::MAX_KEPT_CLAIMS
            ));
        }
        let mut kept = self.kept.iter().map(AsRef::as_ref);
        let read = kept.find(|name| RESERVED.contains(name) || *name == "org_id");
        read.map(|name| {
            format!("the claim {name:?} is read already; the identity has a method for it")
        })
    }

    fn rule_fault(&self) -> Option<String> {
        if self.tenants.as_ref().is_some_and(HashSet::is_empty) {
            return Some(
                "`tenants` is empty, which refuses every token; name the tenants it may speak for"
                    .into(),
            );
        }
        if self.algorithms.is_empty() {
            return Some(
                "`algorithms` is empty, which refuses every token; name those of its keys".into(),
            );
        }
        if self.typ.as_deref() == Some("") {
            return Some("`typ` is empty; use `at+jwt`, or leave it out".into());
        }
        if self.leeway > Self::MAX_LEEWAY {
            return Some(format!(
                "a leeway of {:?} keeps expired tokens alive; use at most {:?}",
                self.leeway,
                Self::MAX_LEEWAY
            ));
        }
        if self.max_age == Some(Duration::ZERO) {
            return Some("`max_age` is 0, which refuses every token".into());
        }
        None
    }

    fn key_fault(&self) -> Option<String> {
        if let Some(source) = &self.source {
            return if self.template.is_some() && source.is_discovered() {
                Some("a template has no metadata of its own; say where its keys are with `KeyRefresher::url`".into())
            } else if self.algorithms != Algorithms::ALL
                && self.algorithms.contains(Algorithm::Hs256)
            {
                Some("`algorithms` lists HS256, and no secret is taken from a set that is published; list what the issuer publishes".into())
            } else if self.keys.is_empty() && self.published.is_empty() && self.skipped == 0 {
                source.fault(&self.name)
            } else {
                Some("it has keys of its own and a source of keys; choose one".into())
            };
        }
        let listed = |key: &&VerifyingKey| self.algorithms.contains(key.algorithm());
        let keys = || self.keys.iter().chain(self.published.iter().filter(listed));
        if keys().next().is_none() {
            let left_out = self.skipped.saturating_add(self.published.len());
            return Some(if left_out > 0 {
                format!(
                    "none of the {left_out} keys of its set can be used; `KeySet::skipped` says why, or `algorithms` does not list theirs"
                )
            } else {
                "it has no key; add `.key(..)`, `.key_set(..)` or `.keys(..)`".into()
            });
        }
        for (index, key) in keys().enumerate() {
            let kid = key.name().map_or("without a kid", AsRef::as_ref);
            if let Err(error) = key.check() {
                return Some(format!("key {kid:?}: {error}"));
            }
            if !listed(&key) {
                return Some(format!(
                    "key {kid:?} is for {}, which `algorithms` does not list; list it, or leave the key out",
                    key.algorithm()
                ));
            }
            let same = |other: &VerifyingKey| {
                other.name() == key.name() && other.algorithm() == key.algorithm()
            };
            if keys().skip(index.saturating_add(1)).any(same) {
                return Some(format!(
                    "two {} keys are named {kid:?}; give each a `.kid(..)` of its own",
                    key.algorithm()
                ));
            }
        }
        None
    }
}
