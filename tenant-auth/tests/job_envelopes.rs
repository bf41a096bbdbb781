//! Properties of job envelopes: no change, no other tenant and no later time opens one.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    reason = "tests"
)]

use std::time::Duration;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use futures_util::FutureExt;
use proptest::prelude::*;
use tenant_auth::{
    TenantId, TokenMinter,
    jobs::{DeadReason, JobEnvelope, Jobs, OpenError},
};
use tenant_testkit::{ManualClock, claims, context_with, tenants};

fn jobs(clock: &ManualClock) -> Jobs {
    Jobs::builder(tenants(&["acme", "globex"], clock))
        .queue("reports")
        .sign_with(TokenMinter::hs256("2026-01", [7; 32]).unwrap())
        .on_dead_letter(|_| {})
        .build()
        .unwrap()
}

fn seal(
    jobs: &Jobs,
    clock: &ManualClock,
    tenant: &str,
    scopes: &[String],
    payload: &[u8],
) -> JobEnvelope {
    let who = claims(tenant, "ada").scopes(scopes.to_vec());
    let tenant = context_with(&tenants(&["acme", "globex"], clock), who);
    jobs.seal(&tenant, payload).unwrap()
}

fn dead(jobs: &Jobs, envelope: &JobEnvelope) -> Option<DeadReason> {
    match jobs.open(Some(envelope)).now_or_never().unwrap() {
        Err(OpenError::Dead(reason)) => Some(reason),
        _ => None,
    }
}

/// Whose clock is ahead by more than a minute seals nothing that is opened: its jobs would live longer than they may.
#[test]
fn an_envelope_that_was_sealed_in_the_future_is_refused() {
    for (ahead, expected) in [(60, None), (61, Some(DeadReason::SealedInFuture))] {
        let (sealing, opening) = (ManualClock::new(), ManualClock::new());
        sealing.advance(Duration::from_secs(ahead));
        let envelope = seal(&jobs(&sealing), &sealing, "acme", &[], b"x");
        assert_eq!(dead(&jobs(&opening), &envelope), expected, "{ahead} s");
    }
}

fn parts(envelope: &JobEnvelope) -> Vec<Vec<u8>> {
    let parts = envelope.as_str().split('.').skip(1);
    parts
        .map(|part| URL_SAFE_NO_PAD.decode(part).unwrap())
        .collect()
}

fn joined(parts: &[Vec<u8>]) -> JobEnvelope {
    let mut text = "tj1".to_owned();
    for part in parts {
        text.push('.');
        text.push_str(&URL_SAFE_NO_PAD.encode(part));
    }
    JobEnvelope::new(text)
}

#[test]
fn no_bit_of_an_envelope_can_be_changed() {
    let clock = ManualClock::new();
    let jobs = jobs(&clock);
    let sealed = seal(&jobs, &clock, "acme", &["a:read".to_owned()], b"payload");
    // Of what is decoded, in each part; and of the text.
    for part in 0..3 {
        for bit in 0..parts(&sealed)[part].len() * 8 {
            let mut changed = parts(&sealed);
            changed[part][bit / 8] ^= 1 << (bit % 8);
            assert!(
                dead(&jobs, &joined(&changed)).is_some(),
                "part {part}, bit {bit}"
            );
        }
    }
    for bit in 0..sealed.as_str().len() * 8 {
        let mut changed = sealed.as_str().as_bytes().to_vec();
        changed[bit / 8] ^= 1 << (bit % 8);
        if let Ok(text) = String::from_utf8(changed) {
            assert!(
                dead(&jobs, &JobEnvelope::new(text)).is_some(),
                "bit {bit} of the text"
            );
        }
    }
    assert_eq!(dead(&jobs, &sealed), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_bit_flip_is_refused(
        scopes in proptest::collection::vec("[a-z:]{1,8}", 0..4),
        payload in proptest::collection::vec(any::<u8>(), 0..64),
        part in 0..3_usize,
        bit in any::<proptest::sample::Index>(),
    ) {
        let clock = ManualClock::new();
        let jobs = jobs(&clock);
        let sealed = seal(&jobs, &clock, "acme", &scopes, &payload);
        let mut changed = parts(&sealed);
        if changed[part].is_empty() {
            changed[part].push(0);
        } else {
            let bit = bit.index(changed[part].len() * 8);
            changed[part][bit / 8] ^= 1 << (bit % 8);
        }
        prop_assert!(dead(&jobs, &joined(&changed)).is_some());
    }

    #[test]
    fn parts_of_two_envelopes_make_no_third(take in proptest::collection::vec(any::<bool>(), 3)) {
        let clock = ManualClock::new();
        let jobs = jobs(&clock);
        let acme = seal(&jobs, &clock, "acme", &[], b"acme's");
        let globex = seal(&jobs, &clock, "globex", &[], b"globex'");
        let (a, g) = (parts(&acme), parts(&globex));
        let mixed: Vec<_> = (0..3).map(|at| if take[at] { a[at].clone() } else { g[at].clone() }).collect();
        let whole = take.iter().all(|one| *one) || take.iter().all(|one| !*one);
        prop_assert_eq!(dead(&jobs, &joined(&mixed)).is_none(), whole);
    }

    #[test]
    fn no_envelope_opens_for_another_tenant(other in "[A-Za-z0-9._-]{1,64}", globex in any::<bool>()) {
        let clock = ManualClock::new();
        let jobs = jobs(&clock);
        let owner = if globex { "globex" } else { "acme" };
        let sealed = seal(&jobs, &clock, owner, &[], b"");
        let opened = jobs.open_for(&TenantId::parse(&other).unwrap(), Some(&sealed)).now_or_never().unwrap();
        match opened {
            Ok(job) => prop_assert!(other == owner && job.context().tenant_id().as_str() == owner),
            Err(error) => {
                prop_assert!(other != owner);
                prop_assert!(matches!(error, OpenError::Dead(DeadReason::Foreign)));
            }
        }
        // Its tenant's name in the signed bytes, replaced by one as long.
        let mut changed = parts(&sealed);
        let name = owner.as_bytes();
        let at = changed[0].windows(name.len()).position(|window| window == name).unwrap();
        changed[0][at..at + name.len()].copy_from_slice(&b"globes"[..name.len()]);
        prop_assert!(dead(&jobs, &joined(&changed)).is_some());
    }

    #[test]
    fn no_envelope_opens_after_its_end(ttl in 1..86_400_u64, past in 0..200_000_u64) {
        let clock = ManualClock::new();
        let jobs = jobs(&clock);
        let tenants = tenants(&["acme"], &clock);
        let tenant = context_with(&tenants, claims("acme", "ada"));
        let sealed = jobs.prepare(&tenant).ttl(Duration::from_secs(ttl)).seal(b"").unwrap();
        clock.advance(Duration::from_secs(past));
        let expected = (past >= ttl).then_some(DeadReason::Expired);
        prop_assert_eq!(dead(&jobs, &sealed), expected);
    }

    #[test]
    fn no_text_panics(text in ".{0,200}") {
        let jobs = jobs(&ManualClock::new());
        let led = JobEnvelope::new(format!("tj1.{text}"));
        prop_assert!(dead(&jobs, &led).is_some());
        prop_assert!(dead(&jobs, &JobEnvelope::new(text)).is_some());
    }
}
