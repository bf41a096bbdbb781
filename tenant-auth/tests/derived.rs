//! What was derived from a credential ends with it: delegated tokens, service tokens and jobs, at any distance.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::panic,
    unreachable_pub,
    dead_code,
    reason = "tests"
)]

mod common;
mod lineage;

use std::time::Duration;

use futures_util::FutureExt;
use lineage::{
    ADA, Deciding, Derived, ISSUER, Kind, Presented, TEMPLATE, World, acme, id, principal,
};
use proptest::prelude::*;
use tenant_auth::{CredentialId, Issuer, Operation, Revocation, TenantContext, TenantId, UnixTime};
use tenant_context::{Clock, EndReason};
use tenant_testkit::ManualClock;

const SOON: UnixTime = UnixTime::from_secs(ManualClock::START.as_secs() + 1);

/// Every way to derive once, twice, and three times.
fn paths() -> Vec<Vec<Kind>> {
    let further = |path: &Vec<Kind>| {
        Kind::ALL.map(|kind| path.iter().copied().chain([kind]).collect::<Vec<_>>())
    };
    let one: Vec<_> = Kind::ALL.map(|kind| vec![kind]).into();
    let two: Vec<_> = one.iter().flat_map(further).collect();
    let three: Vec<_> = two.iter().flat_map(further).collect();
    [one, two, three].concat()
}

type Root = fn(&World) -> TenantContext;

/// A root, a minute later what was derived along the path, then the revocation.
fn ends_with(root: Root, path: &[Kind], revoke: impl FnOnce(&World, &TenantContext)) {
    let world = World::new();
    let root = root(&world);
    world.clock.advance(Duration::from_secs(60));
    let mut last = root.clone();
    let mut derived: Option<Derived> = None;
    for kind in path {
        let next = world.derive(*kind, &last);
        last = world.present(&next).unwrap();
        derived = Some(next);
    }
    let derived = derived.unwrap();
    world.present(&derived).expect("it stands, and is cached");
    let mut ended = last.ended();
    assert_eq!((&mut ended).now_or_never(), None);
    revoke(&world, &root);
    let refused = world.present(&derived).expect_err("it was derived");
    assert_eq!(refused, "revoked", "{path:?}");
    assert_eq!(last.check().unwrap_err().reason(), "revoked", "{path:?}");
    assert_eq!(ended.now_or_never(), Some(EndReason::Revoked), "{path:?}");
}

#[test]
fn i5_a_revocation_of_a_token_reaches_all_that_was_derived_from_it() {
    let credential = |root: &TenantContext| root.credential().unwrap().clone();
    for path in paths() {
        let all: [fn(&TenantContext) -> Revocation; 6] = [
            |root| Revocation::token(acme(), root.credential().unwrap().clone()),
            |_| Revocation::session(acme(), id("session-1")),
            |_| Revocation::subject(acme(), principal(ADA), SOON),
            |_| Revocation::tenant(acme(), SOON),
            |_| Revocation::issuer(ISSUER, SOON),
            |_| Revocation::signing_key(ISSUER, "main"),
        ];
        for revocation in all {
            ends_with(World::token, &path, |world, root| {
                // Of another name it does nothing.
                world.revoke(Revocation::token(acme(), id("another")));
                world.revoke(Revocation::api_key(acme(), credential(root)));
                world.revoke(Revocation::session(acme(), id("session-2")));
                world.revoke(Revocation::issuer(ISSUER, ManualClock::START));
                world.revoke(Revocation::signing_key(ISSUER, "other"));
                root.check().unwrap();
                world.revoke(revocation(root));
            });
        }
    }
}

#[test]
fn i5_a_revocation_by_a_templates_name_reaches_all_its_issuers_and_what_was_derived() {
    let of_acme = TEMPLATE.replace("{tenant}", "acme");
    for name in [TEMPLATE, &of_acme] {
        for revocation in [
            Revocation::issuer(name, SOON),
            Revocation::signing_key(name, "templates"),
        ] {
            for path in paths() {
                ends_with(World::of_template, &path, |world, root| {
                    for other in [
                        "https://tpl.example.com/{tenant}/v3",
                        "https://tpl.example.com/globex/v2",
                    ] {
                        world.revoke(Revocation::issuer(other, UnixTime::MAX));
                        world.revoke(Revocation::signing_key(other, "templates"));
                    }
                    root.check().unwrap();
                    world.revoke(revocation.clone());
                    assert_eq!(
                        root.check().unwrap_err().reason(),
                        "revoked",
                        "{revocation:?}"
                    );
                });
            }
        }
    }
}

#[test]
fn i5_a_revocation_of_an_api_key_reaches_all_that_was_derived_from_it() {
    for root in [World::api_key as Root, World::token_and_key] {
        for path in paths() {
            ends_with(root, &path, |world, root| {
                let key = root.api_key().or_else(|| root.credential()).unwrap();
                world.revoke(Revocation::token(acme(), key.clone()));
                world.revoke(Revocation::api_key(acme(), id("another")));
                world.revoke(Revocation::api_key(
                    TenantId::parse("globex").unwrap(),
                    key.clone(),
                ));
                world.revoke(Revocation::api_key(acme(), key.clone()));
            });
        }
    }
}

#[test]
fn i5_a_key_that_its_store_revokes_ends_all_that_was_derived_from_it() {
    for root in [World::api_key as Root, World::token_and_key] {
        for path in paths() {
            ends_with(root, &path, |world, root| {
                let key = root.api_key().or_else(|| root.credential()).unwrap();
                world
                    .keys
                    .revoke(&acme(), key)
                    .now_or_never()
                    .unwrap()
                    .unwrap();
            });
        }
    }
}

#[test]
fn i5_an_issuer_that_is_removed_ends_what_was_derived_from_its_tokens() {
    for (root, name) in [
        (World::token as Root, ISSUER),
        (World::of_template, TEMPLATE),
    ] {
        for path in paths() {
            let world = World::new();
            let root = root(&world);
            let mut last = root.clone();
            let mut derived = None;
            for kind in &path {
                let next = world.derive(*kind, &last);
                last = world.present(&next).unwrap();
                derived = Some(next);
            }
            let derived = derived.unwrap();
            assert!(world.issuers.remove("https://other.example.com"));
            world.present(&derived).expect("another issuer");
            let issuer = world.issuer_of(name);
            assert!(world.issuers.remove(name));
            let refused = world.present(&derived).unwrap_err();
            assert_eq!(refused, "issuer", "{path:?}");
            // Trusted again, it is trusted with what it said.
            world.issuers.add(issuer).unwrap();
            world.present(&derived).unwrap();
        }
    }
}

#[test]
fn i6_more_removed_issuers_than_are_kept_leave_only_those_that_are_trusted() {
    let world = World::new();
    let root = world.token();
    let derived = world.derive(Kind::Delegated, &root);
    let elsewhere = world.delegated_elsewhere();
    for n in 0..10_001 {
        let name = format!("https://{n}.example.com");
        let key = tenant_auth::VerifyingKey::hs256([7; 32]);
        let issuer = Issuer::new(&*name).audience("api").key(key);
        world.issuers.add(issuer).unwrap();
        if n == 0 {
            world
                .present(&elsewhere)
                .expect("of an issuer that was never here");
        }
        assert!(world.issuers.remove(&name));
    }
    world
        .present(&derived)
        .expect("its parent's issuer is trusted");
    assert_eq!(world.present(&elsewhere).unwrap_err(), "issuer");
}

#[test]
fn i5_what_an_operator_came_with_ends_its_tokens_in_other_tenants_at_once() {
    let staff = TenantId::parse("staff").unwrap();
    let all: [fn(&TenantId, &CredentialId) -> Revocation; 4] = [
        |staff, login| Revocation::token(staff.clone(), login.clone()),
        |staff, _| Revocation::session(staff.clone(), id("shift-1")),
        |staff, _| Revocation::subject(staff.clone(), principal("olga"), SOON),
        |staff, _| Revocation::tenant(staff.clone(), SOON),
    ];
    for revocation in all {
        for further in [false, true] {
            let world = World::new();
            let olga = world.staff();
            world.clock.advance(Duration::from_secs(60));
            let operation = Operation::new(acme(), "ticket 4711").scopes(["invoices:read"]);
            let token = world.own.operate(&olga, operation).unwrap();
            let mut derived = Derived::Token(token.expose().to_owned());
            let mut visiting = world.present(&derived).unwrap();
            if further {
                let bot = principal("indexer");
                let delegation = tenant_auth::Delegation::to(tenant_auth::Principal::agent(bot));
                let token = world
                    .own
                    .delegate(&visiting, delegation.scopes(["invoices:read"]));
                derived = Derived::Token(token.unwrap().expose().to_owned());
                visiting = world.present(&derived).unwrap();
            }
            let at_home = world.token();
            let mut ended = visiting.ended();
            assert_eq!((&mut ended).now_or_never(), None);
            world.revoke(revocation(&staff, olga.credential().unwrap()));
            assert_eq!(ended.now_or_never(), Some(EndReason::Revoked));
            assert_eq!(visiting.check().unwrap_err().reason(), "revoked");
            assert_eq!(world.present(&derived).unwrap_err(), "revoked");
            at_home.check().expect("the tenant's own");
        }
    }
}

#[test]
fn i5_an_operators_api_key_that_its_store_revokes_ends_its_tokens_in_other_tenants() {
    for further in [false, true] {
        let world = World::new();
        let olga = world.staff_with_a_key();
        let operation = Operation::new(acme(), "ticket 4711").scopes(["invoices:read"]);
        let token = world.own.operate(&olga, operation).unwrap();
        let mut derived = Derived::Token(token.expose().to_owned());
        let mut visiting = world.present(&derived).unwrap();
        if further {
            derived = world.derive(Kind::Job, &visiting);
            visiting = world.present(&derived).unwrap();
        }
        let staff = TenantId::parse("staff").unwrap();
        let key = olga.credential().unwrap();
        let revoked = world.keys.revoke(&staff, key).now_or_never().unwrap();
        revoked.unwrap();
        assert_eq!(visiting.check().unwrap_err().reason(), "revoked");
        assert_eq!(world.present(&derived).unwrap_err(), "revoked");
    }
}

/// A job has a life of its own; what is derived from it has no other.
#[test]
fn i3_nothing_that_was_derived_from_a_job_seals_one_that_lives_longer() {
    let world = World::new();
    let job = world.derive(Kind::Job, &world.token());
    let job = world.present(&job).unwrap();
    let end = job.expires_at();
    for path in paths() {
        let mut last = job.clone();
        for kind in path.iter().chain([&Kind::Job]) {
            let next = world.derive(*kind, &last);
            last = world.present(&next).unwrap();
            assert!(last.expires_at() <= end, "{path:?}");
        }
        world.clock.advance(Duration::from_secs(1));
    }
}

#[derive(Clone, Debug)]
enum Step {
    Root(usize),
    Derive(usize, Kind),
    /// A request or a job begins; its tenant's look-up may have to wait.
    Begin(usize),
    Release,
    Hold,
    /// Something that this credential is named by.
    Revoke(usize, Names),
    Forward(u64),
}

#[derive(Clone, Copy, Debug)]
enum Names {
    Itself,
    Beside,
    Session,
    Actor,
    Tenant,
    Issuer,
    Template,
    SigningKey,
}

fn step() -> impl Strategy<Value = Step> {
    let kind = prop::sample::select(&Kind::ALL[..]);
    let names = prop_oneof![
        8 => Just(Names::Itself),
        3 => Just(Names::Beside),
        1 => Just(Names::Session),
        1 => Just(Names::Actor),
        1 => Just(Names::Tenant),
        1 => Just(Names::Issuer),
        1 => Just(Names::Template),
        1 => Just(Names::SigningKey),
    ];
    let any = || 0..100_usize;
    prop_oneof![
        3 => (0..4_usize).prop_map(Step::Root),
        6 => (any(), kind).prop_map(|(of, kind)| Step::Derive(of, kind)),
        8 => any().prop_map(Step::Begin),
        3 => Just(Step::Release),
        3 => Just(Step::Hold),
        3 => (any(), names).prop_map(|(of, names)| Step::Revoke(of, names)),
        3 => (0..30_u64).prop_map(Step::Forward),
    ]
}

/// A credential of the model: what it says itself, and which one it was derived from.
struct Known {
    presented: Presented,
    held: TenantContext,
    parent: Option<usize>,
}

fn is_named(revocation: &Revocation, known: &Known) -> bool {
    let context = &known.held;
    let token = context.issuer().is_some();
    let mut actors = context.actors().iter().map(tenant_auth::Principal::id);
    let principal = context.principal().id();
    // A job says what its parent says.
    let own = |credential: &CredentialId| context.credential() == Some(credential);
    let before = |before: UnixTime| token && context.issued_at().unwrap() < before;
    let shown = serde_json::to_value(revocation).unwrap();
    let text = |name: &str| shown[name].as_str().unwrap_or_default();
    let time = || before(UnixTime::from_nanos(shown["before"].as_u64().unwrap()));
    let issuer = || {
        let issuer = context.issuer().unwrap_or_default();
        text("issuer") == issuer
            || (text("issuer") == TEMPLATE && issuer == TEMPLATE.replace("{tenant}", "acme"))
    };
    match text("revoked") {
        "token" => token && own(&id(text("credential"))),
        "api_key" => {
            let key = id(text("id"));
            (!token && own(&key)) || context.api_key() == Some(&key)
        }
        "session" => context.session() == Some(&id(text("session"))),
        "subject" => {
            let subject = tenant_auth::PrincipalId::parse(text("subject")).unwrap();
            (*principal == subject || actors.any(|actor| *actor == subject)) && time()
        }
        "tenant" => time(),
        "issuer" => issuer() && time(),
        "signing_key" => issuer() && context.key_id() == Some(text("kid")),
        other => panic!("{other}"),
    }
}

fn is_revoked(revoked: &[Revocation], all: &[Known], of: usize) -> bool {
    let path = std::iter::successors(Some(of), |at| all[*at].parent);
    path.into_iter()
        .any(|at| revoked.iter().any(|one| is_named(one, &all[at])))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn i5_nothing_derived_from_what_was_revoked_is_admitted_afterwards(steps in prop::collection::vec(step(), 1..60)) {
        let (world, gate) = World::slow();
        let mut all: Vec<Known> = Vec::new();
        let mut revoked: Vec<Revocation> = Vec::new();
        let mut deciding: Vec<(usize, bool, Deciding)> = Vec::new();
        for step in steps {
            match step {
                Step::Root(kind) => {
                    gate.open();
                    let presented = world.root(kind);
                    // Its issuer or its key may be revoked.
                    if let Ok(held) = world.begin(&presented).now_or_never().unwrap() {
                        all.push(Known { presented, held, parent: None });
                    }
                }
                Step::Derive(of, kind) if !all.is_empty() => {
                    gate.open();
                    let of = of % all.len();
                    let from = &all[of].held;
                    if let Some(derived) = world.try_derive(kind, from) {
                        let presented = Presented::Derived(derived);
                        if let Ok(held) = world.begin(&presented).now_or_never().unwrap() {
                            all.push(Known { presented, held, parent: Some(of) });
                        }
                    }
                }
                Step::Begin(of) if !all.is_empty() => {
                    let of = of % all.len();
                    let before = is_revoked(&revoked, &all, of);
                    deciding.push((of, before, world.begin(&all[of].presented)));
                }
                Step::Release => gate.open(),
                Step::Hold => gate.close(),
                Step::Forward(secs) => world.clock.advance(Duration::from_secs(secs)),
                Step::Revoke(of, names) if !all.is_empty() => {
                    let context = &all[of % all.len()].held;
                    let now = world.clock.unix();
                    let issuer = context.issuer().unwrap_or("https://nobody.example.com");
                    let own = context.credential().unwrap().clone();
                    let revocation = match names {
                        Names::Itself if context.issuer().is_some() => Revocation::token(acme(), own),
                        Names::Itself => Revocation::api_key(acme(), own),
                        Names::Beside => Revocation::api_key(acme(), context.api_key().cloned().unwrap_or(own)),
                        Names::Session => Revocation::session(acme(), id("session-1")),
                        Names::Actor => Revocation::subject(acme(), context.actor().id().clone(), now),
                        Names::Tenant => Revocation::tenant(acme(), now),
                        Names::Issuer => Revocation::issuer(issuer, now),
                        Names::Template => Revocation::issuer(TEMPLATE, now),
                        Names::SigningKey => Revocation::signing_key(issuer, context.key_id().unwrap_or("none")),
                    };
                    world.revoke(revocation.clone());
                    revoked.push(revocation);
                    for (at, known) in all.iter().enumerate() {
                        let ended = known.held.check().err();
                        let by_revocation = ended.as_ref().is_some_and(|end| end.reason() == "revoked");
                        let expected = is_revoked(&revoked, &all, at);
                        prop_assert!(!expected || ended.is_some(), "{at} is still held");
                        prop_assert!(expected || !by_revocation, "{at} was not revoked");
                    }
                }
                Step::Derive(..) | Step::Begin(_) | Step::Revoke(..) => {}
            }
            let mut wrong = None;
            deciding.retain_mut(|(of, was_revoked, request)| match request.now_or_never() {
                None => true,
                Some(decision) => {
                    let expected = is_revoked(&revoked, &all, *of);
                    match decision {
                        Ok(_) if *was_revoked => wrong = Some(format!("{of} was admitted")),
                        Err(reason) if reason == "revoked" && !expected => wrong = Some(format!("{of} was refused")),
                        _ => {}
                    }
                    false
                }
            });
            prop_assert_eq!(wrong, None);
        }
    }
}
