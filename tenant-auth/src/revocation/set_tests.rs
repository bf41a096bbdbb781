#![allow(
    clippy::arithmetic_side_effects,
    clippy::type_complexity,
    clippy::indexing_slicing,
    reason = "tests"
)]

use proptest::prelude::*;
use tenant_context::{Claims, CredentialId, Parent, Principal, PrincipalId};

use super::*;

const LIFE: Duration = Duration::from_secs(3600);
const START: UnixTime = UnixTime::from_secs(1_767_225_600);

fn bounds(capacity: usize, each_capacity: usize) -> Bounds {
    Bounds {
        longest_life: LIFE,
        capacity,
        each_capacity,
    }
}

fn after(secs: u64) -> UnixTime {
    START.saturating_add(Duration::from_secs(secs))
}

fn tenant(n: u8) -> TenantId {
    TenantId::parse(format!("tenant-{n}")).unwrap()
}

fn name(n: u8) -> PrincipalId {
    PrincipalId::parse(format!("principal-{n}")).unwrap()
}

fn jti(n: u32) -> CredentialId {
    id(&format!("jti-{n}"))
}

fn id(text: &str) -> CredentialId {
    CredentialId::parse(text).unwrap()
}

/// A token of principal 0, for which 1 acts.
fn token(of: u8, n: u32, issued_at: UnixTime) -> Claims {
    let expires_at = issued_at.saturating_add(LIFE);
    let mut claims = Claims::new(tenant(of), Principal::human(name(0)), expires_at);
    claims.actors = vec![Principal::agent(name(1))];
    claims.credential = Some(jti(n));
    claims.session = Some(id("session"));
    claims.issuer = Some("https://id/acme/v2".into());
    claims.key_id = Some("kid".into());
    claims.issued_at = Some(issued_at);
    claims
}

/// What actor 2 was given by the holder of `parent`, an hour later, by an issuer of its own.
fn derived(parent: &Claims) -> Claims {
    let mut claims = parent.clone();
    claims.actors.insert(0, Principal::agent(name(2)));
    claims.credential = Some(id("derived"));
    claims.issuer = Some("internal".into());
    claims.key_id = Some("internal-kid".into());
    claims.issued_at = Some(after(3600));
    claims.expires_at = after(7200);
    claims.api_key = None;
    let credential = parent.credential.clone().unwrap();
    let mut link = Parent::new(credential, parent.expires_at, Vec::new());
    link.issuer.clone_from(&parent.issuer);
    link.key_id.clone_from(&parent.key_id);
    link.issued_at = parent.issued_at;
    link.api_key.clone_from(&parent.api_key);
    claims.parents.insert(0, link);
    claims
}

fn api_key(of: u8, n: u32) -> Claims {
    let mut claims = Claims::new(tenant(of), Principal::service(name(0)), UnixTime::MAX);
    claims.credential = Some(id(&format!("key-{n}")));
    claims
}

fn revoked(set: &Set, claims: &Claims) -> bool {
    set.is_revoked(&Subject::from(claims))
}

fn revoked_token(of: u8, n: u32) -> Target {
    Target::Token {
        tenant: tenant(of),
        credential: jti(n),
    }
}

fn revoked_key(of: u8, n: u32) -> Target {
    Target::ApiKey {
        tenant: tenant(of),
        id: id(&format!("key-{n}")),
    }
}

fn signing_key(issuer: &str, kid: &str) -> Target {
    Target::SigningKey {
        issuer: issuer.into(),
        kid: kid.into(),
    }
}

fn with(target: &Target) -> Set {
    let mut set = Set::default();
    set.insert(target, after(0), &bounds(100, 100));
    set
}

/// What names a token, with the change that makes it another's, and whether it asks for the time.
fn kinds() -> Vec<(Target, fn(&mut Claims), bool)> {
    let before = after(60);
    let issuer = |name: &str| Target::Issuer {
        issuer: name.into(),
        before,
    };
    let other_issuer = |claims: &mut Claims| claims.issuer = Some("https://id/acme/v3".into());
    let other_key = |claims: &mut Claims| claims.key_id = Some("other".into());
    vec![
        (
            revoked_token(1, 1),
            |claims| claims.credential = Some(jti(2)),
            false,
        ),
        (
            Target::Session {
                tenant: tenant(1),
                session: id("session"),
            },
            |claims| claims.session = Some(id("other")),
            false,
        ),
        (
            Target::Subject {
                tenant: tenant(1),
                subject: name(1),
                before,
            },
            |claims| claims.actors = vec![Principal::agent(name(3))],
            true,
        ),
        (
            Target::Tenant {
                tenant: tenant(1),
                before,
            },
            |claims| claims.tenant = tenant(2),
            true,
        ),
        (issuer("https://id/acme/v2"), other_issuer, true),
        (issuer("https://id/{tenant}/v2"), other_issuer, true),
        (signing_key("https://id/acme/v2", "kid"), other_key, false),
        (
            signing_key("https://id/acme/v2", "kid"),
            other_issuer,
            false,
        ),
        (
            signing_key("https://id/{tenant}/v2", "kid"),
            other_key,
            false,
        ),
        (
            signing_key("https://id/{tenant}/v2", "kid"),
            |claims| claims.issuer = Some("https://id/no tenant/v2".into()),
            false,
        ),
    ]
}

#[test]
fn i5_each_kind_revokes_what_it_names_and_nothing_else() {
    for (target, change, by_time) in kinds() {
        let set = with(&target);
        let mut one = token(1, 1, after(59));
        assert!(revoked(&set, &one), "{target:?}");
        assert_eq!(
            revoked(&set, &token(1, 1, after(60))),
            !by_time,
            "{target:?}"
        );
        change(&mut one);
        assert!(!revoked(&set, &one), "{target:?}");
    }
    let set = with(&revoked_key(1, 1));
    assert!(revoked(&set, &api_key(1, 1)));
    assert!(!revoked(&set, &api_key(1, 2)) && !revoked(&set, &api_key(2, 1)));
    let mut of_the_same_id = token(1, 1, after(0));
    of_the_same_id.credential = Some(id("key-1"));
    assert!(!revoked(&set, &of_the_same_id), "a token of the same id");
}

#[test]
fn i5_each_kind_revokes_what_was_derived_at_any_distance() {
    for (target, change, by_time) in kinds() {
        let set = with(&target);
        let derive = |parent: &Claims| derived(&derived(parent));
        let mut one = token(1, 1, after(59));
        assert!(revoked(&set, &derive(&one)), "{target:?}");
        let later = derive(&token(1, 1, after(60)));
        assert_eq!(revoked(&set, &later), !by_time, "{target:?}");
        change(&mut one);
        assert!(!revoked(&set, &derive(&one)), "{target:?}");
    }
    let set = with(&revoked_key(1, 1));
    assert!(revoked(&set, &derived(&derived(&api_key(1, 1)))));
    assert!(!revoked(&set, &derived(&api_key(1, 2))));
    let mut beside = token(1, 1, after(0));
    beside.api_key = Some(id("key-1"));
    assert!(revoked(&set, &beside) && revoked(&set, &derived(&beside)));
    // A link that does not say what it is may be either.
    let mut silent = derived(&token(1, 1, after(0)));
    silent.parents[0].issuer = None;
    assert!(revoked(&with(&revoked_token(1, 1)), &silent));
}

#[test]
fn i5_an_actor_that_was_revoked_by_mistake_can_be_hired_again() {
    let mistake = Target::Subject {
        tenant: tenant(1),
        subject: name(2),
        before: after(3600),
    };
    let set = with(&mistake);
    let hired_again = derived(&token(1, 1, after(0)));
    assert!(!revoked(&set, &hired_again), "its parent did not name it");
    assert!(!revoked(&set, &derived(&hired_again.clone())));
    let mut before = hired_again;
    before.issued_at = Some(after(3599));
    assert!(revoked(&set, &before));
}

#[test]
fn i5_what_an_operator_came_with_is_revoked_where_it_comes_from() {
    let (staff, before) = (tenant(9), after(60));
    let mut operator = token(1, 7, after(3000));
    operator.operator_of = Some(staff.clone());
    operator.session = Some(id("at-work"));
    operator.actors = vec![Principal::human(name(5))];
    let mut login = Parent::new(id("login"), after(9000), Vec::new());
    login.issuer = Some("sso".into());
    login.key_id = Some("sso-1".into());
    login.issued_at = Some(after(30));
    operator.parents = vec![login];
    let helper = derived(&operator);
    let (tenant, subject) = (staff.clone(), name(5));
    for target in [
        Target::Token {
            tenant: staff.clone(),
            credential: id("login"),
        },
        Target::Session {
            tenant: staff.clone(),
            session: id("at-work"),
        },
        Target::Subject {
            tenant,
            subject,
            before,
        },
        Target::Tenant {
            tenant: staff.clone(),
            before,
        },
        Target::Issuer {
            issuer: "sso".into(),
            before,
        },
        signing_key("sso", "sso-1"),
    ] {
        let set = with(&target);
        assert!(revoked(&set, &operator), "{target:?}");
        assert!(revoked(&set, &helper), "{target:?}");
    }
    // Names of the tenant that it is in say nothing where it comes from, and the other way round.
    for target in [
        Target::Subject {
            tenant: staff.clone(),
            subject: name(2),
            before: UnixTime::MAX,
        },
        Target::Tenant {
            tenant: self::tenant(1),
            before,
        },
    ] {
        let set = with(&target);
        assert!(!revoked(&set, &operator), "{target:?}");
        assert!(!revoked(&set, &helper), "{target:?}");
    }
}

#[test]
fn i6_entries_of_tokens_die_with_the_longest_life_and_those_of_keys_stay() {
    let bounds = bounds(1000, 1000);
    let mut set = Set::default();
    for n in 0..100 {
        set.insert(&revoked_token(1, n), after(0), &bounds);
        let session = Target::Session {
            tenant: tenant(1),
            session: jti(n),
        };
        set.insert(&session, after(0), &bounds);
    }
    set.insert(&signing_key("issuer", "leaked"), after(0), &bounds);
    set.insert(
        &signing_key("https://id/{tenant}", "leaked"),
        after(0),
        &bounds,
    );
    set.insert(&revoked_key(1, 1), after(0), &bounds);
    assert_eq!(set.len(), 203);
    // A token issued by a clock that is ahead, at the end of its life and leeway.
    let mut last = token(1, 7, after(300));
    last.expires_at = last.expires_at.saturating_add(Issuer::MAX_LEEWAY);
    set.insert(&revoked_token(1, 200), after(3600 + 599), &bounds);
    assert!(revoked(&set, &last), "not before its time");
    set.insert(&revoked_token(1, 201), after(3600 + 600 + 600), &bounds);
    assert_eq!(set.len(), 5);
    for issuer in ["issuer", "https://id/acme"] {
        let mut signed = token(1, 300, after(10_000));
        signed.issuer = Some(issuer.into());
        signed.key_id = Some("leaked".into());
        assert!(revoked(&set, &signed), "a key stays revoked");
    }
    assert!(revoked(&set, &api_key(1, 1)), "a key stays revoked");
}

#[test]
fn i6_at_its_bound_a_tenant_is_cut_and_nobody_else_is() {
    let bounds = bounds(1000, 10);
    let mut set = Set::default();
    set.insert(&revoked_token(2, 0), after(0), &bounds);
    for n in 0..1000 {
        set.insert(&revoked_token(1, n), after(0), &bounds);
        assert!(set.len() <= 13, "{}", set.len());
    }
    for n in 0..1000 {
        assert!(
            revoked(&set, &token(1, n, after(0))),
            "token {n} is forgotten"
        );
    }
    assert!(revoked(&set, &token(1, 5000, after(299))), "widened");
    assert!(
        !revoked(&set, &token(1, 5000, after(301))),
        "to the past only"
    );
    assert!(!revoked(&set, &token(2, 5000, after(0))));
    assert!(!set.is_full());
}

/// Whoever revoked to a later time, for an issuer whose clock is ahead, meant it: the cut reaches as far.
#[test]
fn i6_what_is_cut_is_cut_as_far_as_what_it_stands_for() {
    let bounds = bounds(1000, 10);
    let mut set = Set::default();
    let subject = Target::Subject {
        tenant: tenant(1),
        subject: name(0),
        before: after(1000),
    };
    set.insert(&subject, after(0), &bounds);
    for n in 0..20 {
        set.insert(&revoked_token(1, n), after(0), &bounds);
    }
    assert!(set.len() < 20, "it was widened");
    assert!(revoked(&set, &token(1, 5000, after(999))));
    assert!(!revoked(&set, &token(1, 5000, after(1001))));
}

#[test]
fn i6_a_tenant_that_revokes_its_api_keys_without_end_pays_for_it_alone() {
    let bounds = bounds(1000, 10);
    let mut set = Set::default();
    set.insert(&revoked_key(2, 0), after(0), &bounds);
    for n in 0..10_000 {
        set.insert(&revoked_key(1, n), after(0), &bounds);
        assert!(set.len() <= 13 && !set.is_full(), "{}", set.len());
    }
    assert!((0..10_000).all(|n| revoked(&set, &api_key(1, n))));
    assert!(
        revoked(&set, &api_key(1, 20_000)),
        "it does not say when it was issued"
    );
    let mut new = api_key(1, 20_000);
    new.issued_at = Some(after(301));
    assert!(!revoked(&set, &new), "to the past only");
    assert!(!revoked(&set, &token(1, 1, after(0))), "its tokens stay");
    assert!(revoked(&set, &api_key(2, 0)) && !revoked(&set, &api_key(2, 1)));
    // A hundred years later.
    set.insert(&revoked_token(3, 1), after(100 * 365 * 86_400), &bounds);
    assert!(revoked(&set, &api_key(1, 5)), "a key stays revoked");
}

#[test]
fn i6_an_issuer_whose_keys_are_revoked_without_end_is_refused_alone() {
    for name in ["https://id/acme/v2", "https://id/{tenant}/v2"] {
        let bounds = bounds(1000, 10);
        let mut set = Set::default();
        set.insert(&signing_key("other", "0"), after(0), &bounds);
        for n in 0..10_000 {
            set.insert(&signing_key(name, &n.to_string()), after(0), &bounds);
            assert!(set.len() <= 12 && !set.is_full(), "{}", set.len());
        }
        for at in [0, 100 * 365 * 86_400] {
            set.insert(&revoked_token(3, 1), after(at), &bounds);
            assert!(revoked(&set, &token(1, 1, after(at))), "{name}");
        }
        let mut elsewhere = token(1, 1, after(100 * 365 * 86_400));
        elsewhere.issuer = Some("other".into());
        assert!(!revoked(&set, &elsewhere));
        elsewhere.key_id = Some("0".into());
        assert!(revoked(&set, &elsewhere));
    }
}

#[test]
fn i6_at_the_bound_of_all_the_largest_group_is_cut_and_at_last_everything_is_refused() {
    let bounds = bounds(20, 1000);
    let mut set = Set::default();
    for n in 0..3 {
        set.insert(&revoked_token(2, n), after(0), &bounds);
    }
    for n in 0..100 {
        set.insert(&revoked_token(1, n), after(0), &bounds);
        set.insert(&revoked_key(3, n), after(0), &bounds);
        set.insert(&signing_key("issuer", &n.to_string()), after(0), &bounds);
        assert!(set.len() <= 20 && !set.is_full());
    }
    let mut signed = token(4, 0, after(9));
    signed.issuer = Some("issuer".into());
    for n in 0..100 {
        assert!(revoked(&set, &token(1, n, after(0))));
        assert!(revoked(&set, &api_key(3, n)));
        signed.key_id = Some(n.to_string().into());
        assert!(revoked(&set, &signed));
    }
    assert!((0..3).all(|n| revoked(&set, &token(2, n, after(0)))));
    assert!(
        !revoked(&set, &token(2, 50, after(0))),
        "a smaller one is not"
    );

    for n in 0..100 {
        set.insert(&signing_key(&format!("issuer-{n}"), "1"), after(0), &bounds);
    }
    assert!(set.len() <= 20 && set.is_full());
    assert!(
        revoked(&set, &token(9, 9, after(9))),
        "refuse, never forget"
    );
}

#[derive(Clone, Debug)]
enum Step {
    Forward(u64),
    Back(u64),
    Issue {
        of: u8,
        who: u8,
    },
    /// The holder of a token hires an agent.
    Derive(prop::sample::Index),
    RevokeToken(prop::sample::Index),
    RevokeSession(prop::sample::Index),
    RevokeSigningKey(bool),
    RevokeSubject(prop::sample::Index, i64),
    RevokeTenant(u8),
    RevokeIssuer,
}

fn step() -> impl Strategy<Value = Step> {
    let index = any::<prop::sample::Index>;
    prop_oneof![
        2 => (0..3000_u64).prop_map(Step::Forward),
        1 => (0..3000_u64).prop_map(Step::Back),
        6 => (0..3_u8, 0..3_u8).prop_map(|(of, who)| Step::Issue { of, who }),
        4 => index().prop_map(Step::Derive),
        4 => index().prop_map(Step::RevokeToken),
        1 => index().prop_map(Step::RevokeSession),
        1 => any::<bool>().prop_map(Step::RevokeSigningKey),
        1 => (index(), -10..10_i64).prop_map(|(token, secs)| Step::RevokeSubject(token, secs)),
        1 => (0..3_u8).prop_map(Step::RevokeTenant),
        1 => Just(Step::RevokeIssuer),
    ]
}

/// What is revoked, if nothing were ever forgotten: the tokens are a path from the root, each with its own
/// actors.
fn by_definition(revoked: &[Target], path: &[&Claims]) -> bool {
    revoked.iter().any(|target| {
        path.iter().any(|claims| {
            let issued_at = claims.issued_at.unwrap();
            let mut principals = std::iter::once(&claims.principal).chain(&claims.actors);
            match target {
                Target::Token { tenant, credential } => {
                    *tenant == claims.tenant && claims.credential.as_ref() == Some(credential)
                }
                Target::Session { tenant, session } => {
                    *tenant == claims.tenant && claims.session.as_ref() == Some(session)
                }
                Target::Subject {
                    tenant,
                    subject,
                    before,
                } => {
                    *tenant == claims.tenant
                        && principals.any(|principal| principal.id() == subject)
                        && issued_at < *before
                }
                Target::Tenant { tenant, before } => {
                    *tenant == claims.tenant && issued_at < *before
                }
                Target::Issuer { issuer, before } => {
                    claims.issuer.as_deref() == Some(&**issuer) && issued_at < *before
                }
                Target::SigningKey { issuer, kid } => {
                    claims.issuer.as_deref() == Some(&**issuer)
                        && claims.key_id.as_deref() == Some(&**kid)
                }
                Target::ApiKey { .. } => false,
            }
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn i5_nothing_that_was_revoked_is_accepted_again_wherever_the_clock_is_set_to(
        steps in prop::collection::vec(step(), 1..60),
        capacity in prop_oneof![Just(1000_usize), 2..12_usize],
    ) {
        let bounds = bounds(capacity, capacity / 2 + 1);
        let mut set = Set::default();
        let mut now = after(1_000_000);
        // Each with its parent's place.
        let mut tokens: Vec<(Claims, Option<usize>)> = Vec::new();
        let mut targets: Vec<Target> = Vec::new();
        let mut stepped_back = false;
        let cut = |now: UnixTime, secs: i64| {
            let by = Duration::from_secs(secs.unsigned_abs());
            if secs < 0 { now.saturating_sub(by) } else { now.saturating_add(by) }
        };
        for step in steps {
            let n = u32::try_from(tokens.len()).unwrap();
            let target = match step {
                Step::Forward(secs) => {
                    now = now.saturating_add(Duration::from_secs(secs));
                    None
                }
                Step::Back(secs) => {
                    now = now.saturating_sub(Duration::from_secs(secs));
                    stepped_back = true;
                    None
                }
                Step::Issue { of, who } => {
                    let mut token = token(of, n, now);
                    token.principal = Principal::human(name(who));
                    token.actors = Vec::new();
                    token.session = Some(id(&format!("session-{n}")));
                    tokens.push((token, None));
                    None
                }
                Step::Derive(index) if !tokens.is_empty() => {
                    let at = index.index(tokens.len());
                    let mut child = derived(&tokens[at].0);
                    child.credential = Some(jti(n));
                    child.issued_at = Some(now);
                    child.expires_at = now.saturating_add(LIFE).min(tokens[at].0.expires_at);
                    child.actors[0] = Principal::agent(name(u8::try_from(n % 3).unwrap()));
                    if child.parents.len() <= Claims::MAX_ACTORS {
                        tokens.push((child, Some(at)));
                    }
                    None
                }
                Step::RevokeToken(index) if !tokens.is_empty() => {
                    let (token, _) = index.get(&tokens);
                    let credential = token.credential.clone().unwrap();
                    Some(Target::Token { tenant: token.tenant.clone(), credential })
                }
                Step::RevokeSubject(index, secs) if !tokens.is_empty() => {
                    let (token, _) = index.get(&tokens);
                    let subject = token.actors.first().unwrap_or(&token.principal).id().clone();
                    Some(Target::Subject { tenant: token.tenant.clone(), subject, before: cut(now, secs) })
                }
                Step::RevokeSession(index) if !tokens.is_empty() => {
                    let (token, _) = index.get(&tokens);
                    let session = token.session.clone().unwrap();
                    Some(Target::Session { tenant: token.tenant.clone(), session })
                }
                Step::Derive(_) | Step::RevokeToken(_) | Step::RevokeSession(_) | Step::RevokeSubject(..) => None,
                Step::RevokeTenant(of) => Some(Target::Tenant { tenant: tenant(of), before: now }),
                Step::RevokeIssuer => Some(Target::Issuer { issuer: "https://id/acme/v2".into(), before: now }),
                Step::RevokeSigningKey(own) => Some(if own {
                    signing_key("internal", "internal-kid")
                } else {
                    signing_key("https://id/acme/v2", "kid")
                }),
            };
            if let Some((token, _)) = tokens.last() {
                let (issued_at, expires_at) = (token.issued_at.unwrap(), token.expires_at);
                set.note(&Seen { issued_at, expires_at, staff: None });
            }
            if let Some(target) = target {
                set.insert(&target, now, &bounds);
                targets.push(target);
            }
            prop_assert!(set.len() <= capacity + 1);
            for (token, parent) in &tokens {
                if now >= token.expires_at {
                    continue;
                }
                let mut path = vec![token];
                let mut next = *parent;
                while let Some(at) = next {
                    path.push(&tokens[at].0);
                    next = tokens[at].1;
                }
                let expected = by_definition(&targets, &path);
                let found = revoked(&set, token);
                if capacity == 1000 && !stepped_back {
                    prop_assert_eq!(found, expected, "{:?}", token);
                } else {
                    prop_assert!(found || !expected, "{:?} is accepted again", token);
                }
            }
        }
    }
}
