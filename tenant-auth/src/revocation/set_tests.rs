#![allow(
    clippy::arithmetic_side_effects,
    clippy::type_complexity,
    reason = "tests"
)]

use proptest::prelude::*;

use super::*;

const LIFE: Duration = Duration::from_secs(3600);
const START: UnixTime = UnixTime::from_secs(1_767_225_600);

fn bounds(capacity: usize, tenant_capacity: usize) -> Bounds {
    Bounds {
        longest_life: LIFE,
        capacity,
        tenant_capacity,
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
    CredentialId::parse(format!("jti-{n}")).unwrap()
}

fn token(of: u8, n: u32, issued_at: UnixTime) -> Subject {
    Subject::Token {
        tenant: tenant(of),
        credentials: [jti(n)].into(),
        principals: [name(0), name(1)].into(),
        issuer: Some("issuer".into()),
        kid: Some("kid".into()),
        issued_at,
        expires_at: issued_at.saturating_add(LIFE),
    }
}

fn revoked_token(of: u8, n: u32) -> Target {
    Target::Token {
        tenant: tenant(of),
        credential: jti(n),
    }
}

type Change = fn(&mut Subject);

#[test]
fn each_kind_revokes_what_it_names_and_nothing_else() {
    let (now, bounds) = (after(0), bounds(100, 100));
    let before = after(60);
    let all: [(Target, Change); 5] = [
        (revoked_token(1, 1), |token| {
            set_token(token, |t| t.2 = [jti(2)].into());
        }),
        (
            Target::Subject {
                tenant: tenant(1),
                subject: name(1),
                before,
            },
            |token| set_token(token, |t| t.1 = [name(0), name(2)].into()),
        ),
        (
            Target::Tenant {
                tenant: tenant(1),
                before,
            },
            |token| set_token(token, |t| t.0 = tenant(2)),
        ),
        (
            Target::Issuer {
                issuer: "issuer".into(),
                before,
            },
            |token| set_token(token, |t| t.3 = Some("other".into())),
        ),
        (
            Target::SigningKey {
                issuer: "issuer".into(),
                kid: "kid".into(),
            },
            |token| set_token(token, |t| t.4 = Some("other".into())),
        ),
    ];
    for (target, change) in all {
        let mut set = Set::default();
        set.insert(&target, now, &bounds);
        let mut one = token(1, 1, after(59));
        assert!(set.is_revoked(&one));
        let by_time = matches!(
            target,
            Target::Subject { .. } | Target::Tenant { .. } | Target::Issuer { .. }
        );
        assert_eq!(set.is_revoked(&token(1, 1, before)), !by_time);
        change(&mut one);
        assert!(!set.is_revoked(&one));
    }
    let key = |of: u8, n: u32| Subject::ApiKey {
        tenant: tenant(of),
        id: jti(n),
    };
    let mut set = Set::default();
    let target = Target::ApiKey {
        tenant: tenant(1),
        id: jti(1),
    };
    set.insert(&target, now, &bounds);
    assert!(set.is_revoked(&key(1, 1)));
    assert!(!set.is_revoked(&key(1, 2)) && !set.is_revoked(&key(2, 1)));
    assert!(!set.is_revoked(&token(1, 1, now)), "a token of the same id");
}

type Parts<'a> = (
    &'a mut TenantId,
    &'a mut Box<[PrincipalId]>,
    &'a mut Box<[CredentialId]>,
    &'a mut Option<Arc<str>>,
    &'a mut Option<Arc<str>>,
);

struct Fields(
    TenantId,
    Box<[PrincipalId]>,
    Box<[CredentialId]>,
    Option<Arc<str>>,
    Option<Arc<str>>,
);

fn set_token(subject: &mut Subject, change: impl FnOnce(&mut Fields)) {
    let Subject::Token {
        tenant,
        credentials,
        principals,
        issuer,
        kid,
        ..
    } = subject
    else {
        panic!("a token");
    };
    let parts: Parts<'_> = (tenant, principals, credentials, issuer, kid);
    let mut fields = Fields(
        parts.0.clone(),
        parts.1.clone(),
        parts.2.clone(),
        parts.3.clone(),
        parts.4.clone(),
    );
    change(&mut fields);
    (*parts.0, *parts.1, *parts.2, *parts.3, *parts.4) =
        (fields.0, fields.1, fields.2, fields.3, fields.4);
}

#[test]
fn i6_entries_of_tokens_die_with_the_longest_life_and_those_of_keys_stay() {
    let bounds = bounds(1000, 1000);
    let mut set = Set::default();
    for n in 0..100 {
        set.insert(&revoked_token(1, n), after(0), &bounds);
    }
    let key = Target::SigningKey {
        issuer: "issuer".into(),
        kid: "leaked".into(),
    };
    set.insert(&key, after(0), &bounds);
    assert_eq!(set.len(), 101);
    // A token issued by a clock that is ahead, at the end of its life and leeway.
    let last = token(1, 7, after(300));
    set.insert(&revoked_token(1, 200), after(3600 + 599), &bounds);
    assert!(set.is_revoked(&last), "not before its time");
    set.insert(&revoked_token(1, 201), after(3600 + 600 + 600), &bounds);
    assert_eq!(set.len(), 3);
    let mut signed = token(1, 300, after(10_000));
    set_token(&mut signed, |t| t.4 = Some("leaked".into()));
    assert!(set.is_revoked(&signed), "a key stays revoked");
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
            set.is_revoked(&token(1, n, after(0))),
            "token {n} is forgotten"
        );
    }
    assert!(set.is_revoked(&token(1, 5000, after(299))), "widened");
    assert!(
        !set.is_revoked(&token(1, 5000, after(301))),
        "to the past only"
    );
    assert!(!set.is_revoked(&token(2, 5000, after(0))));
    assert!(!set.is_full());
}

#[test]
fn i6_at_the_bound_of_all_the_tenant_with_the_most_is_cut_and_at_last_everything_is_refused() {
    let bounds = bounds(20, 1000);
    let mut set = Set::default();
    for n in 0..3 {
        set.insert(&revoked_token(2, n), after(0), &bounds);
    }
    for n in 0..100 {
        set.insert(&revoked_token(1, n), after(0), &bounds);
    }
    assert!(set.len() <= 20 && !set.is_full());
    assert!((0..100).all(|n| set.is_revoked(&token(1, n, after(0)))));
    assert!((0..3).all(|n| set.is_revoked(&token(2, n, after(0)))));
    assert!(
        !set.is_revoked(&token(2, 50, after(0))),
        "a smaller one is not"
    );

    for n in 0..100 {
        let key = Target::ApiKey {
            tenant: tenant(3),
            id: jti(n),
        };
        set.insert(&key, after(0), &bounds);
    }
    assert!(set.len() <= 20 && set.is_full());
    assert!(
        set.is_revoked(&token(9, 9, after(9))),
        "refuse, never forget"
    );
}

#[derive(Clone, Debug)]
enum Step {
    Forward(u64),
    Back(u64),
    Issue { of: u8, who: u8 },
    RevokeToken(prop::sample::Index),
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
        4 => index().prop_map(Step::RevokeToken),
        1 => (index(), -10..10_i64).prop_map(|(token, secs)| Step::RevokeSubject(token, secs)),
        1 => (0..3_u8).prop_map(Step::RevokeTenant),
        1 => Just(Step::RevokeIssuer),
    ]
}

/// What is revoked, if nothing were ever forgotten.
fn by_definition(revoked: &[Target], subject: &Subject) -> bool {
    let Subject::Token {
        tenant: of,
        credentials,
        principals,
        issued_at,
        ..
    } = subject
    else {
        panic!("a token");
    };
    revoked.iter().any(|target| match target {
        Target::Token {
            tenant,
            credential: id,
        } => tenant == of && credentials.contains(id),
        Target::Subject {
            tenant,
            subject,
            before,
        } => tenant == of && principals.contains(subject) && issued_at < before,
        Target::Tenant { tenant, before } => tenant == of && issued_at < before,
        Target::Issuer { before, .. } => issued_at < before,
        _ => false,
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
        let mut tokens: Vec<Subject> = Vec::new();
        let mut revoked: Vec<Target> = Vec::new();
        let mut stepped_back = false;
        for step in steps {
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
                    let n = u32::try_from(tokens.len()).unwrap();
                    let mut token = token(of, n, now);
                    set_token(&mut token, |t| t.1 = [name(who)].into());
                    set.note(now, now.saturating_add(LIFE));
                    tokens.push(token);
                    None
                }
                Step::RevokeToken(index) if !tokens.is_empty() => {
                    let Subject::Token { tenant, credentials, .. } = index.get(&tokens) else { panic!() };
                    Some(Target::Token { tenant: tenant.clone(), credential: credentials[0].clone() })
                }
                Step::RevokeSubject(index, secs) if !tokens.is_empty() => {
                    let Subject::Token { tenant, principals, .. } = index.get(&tokens) else { panic!() };
                    let before = if secs < 0 {
                        now.saturating_sub(Duration::from_secs(secs.unsigned_abs()))
                    } else {
                        now.saturating_add(Duration::from_secs(secs.unsigned_abs()))
                    };
                    Some(Target::Subject { tenant: tenant.clone(), subject: principals[0].clone(), before })
                }
                Step::RevokeToken(_) | Step::RevokeSubject(..) => None,
                Step::RevokeTenant(of) => Some(Target::Tenant { tenant: tenant(of), before: now }),
                Step::RevokeIssuer => Some(Target::Issuer { issuer: "issuer".into(), before: now }),
            };
            if let Some(target) = target {
                set.insert(&target, now, &bounds);
                revoked.push(target);
            }
            prop_assert!(set.len() <= capacity + 1);
            for token in &tokens {
                let Subject::Token { expires_at, .. } = token else { panic!() };
                if now >= *expires_at {
                    continue;
                }
                let expected = by_definition(&revoked, token);
                let found = set.is_revoked(token);
                if capacity == 1000 && !stepped_back {
                    prop_assert_eq!(found, expected, "{:?}", token);
                } else {
                    prop_assert!(found || !expected, "{:?} is accepted again", token);
                }
            }
        }
    }
}
