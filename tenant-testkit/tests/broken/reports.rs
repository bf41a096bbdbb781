//! What a report says, of sound layers too.

use http::Request;
use tenant_testkit::contract::{Clause, Outcome, Probe, ProbeBody, ProbeService, Report};
use tower_service::Service;

use crate::{calling, caught, header, sound};

#[test]
fn a_sound_layer_and_no_layer_at_all_keep_every_clause() {
    let probe = Probe::new("sound").layer(calling(sound));
    let report = probe
        .refused(header("refuse"))
        .pending(header("wait"))
        .pending_refused(|| {
            let request = Request::builder().header("wait", "").header("refuse", "");
            request.body(ProbeBody::default()).unwrap()
        })
        .check();
    assert!(
        report
            .outcomes()
            .iter()
            .all(|(_, outcome)| *outcome == Outcome::Held),
        "{report}"
    );
    let report = Probe::new("none").layer(|handler| handler).check();
    assert_eq!(
        report.row(),
        "| none | ✓ | ✓ | – | – | ✓ | ✓ | ✓ | ✓ | ✓ | ✓ | ✓ | ✓ |"
    );
    assert_eq!(
        Report::header()
            .lines()
            .next()
            .unwrap()
            .matches('|')
            .count(),
        report.row().matches('|').count()
    );
}

#[test]
fn an_exception_is_shown_and_does_not_outlive_its_reason() {
    let calls_clone = calling(|inner: &mut ProbeService, request| inner.clone().call(request));
    let probe = Probe::new("meant").layer(calls_clone);
    let report = probe.except(Clause::RightClone, "so it is").run();
    assert_eq!(
        report.outcome(Clause::RightClone),
        Some(&Outcome::Excepted("so it is"))
    );
    let probe = Probe::new("sound").layer(calling(sound));
    let report = probe.except(Clause::RightClone, "so it was").run();
    caught(&report, Clause::RightClone, "remove the exception");
}

#[test]
#[should_panic(expected = "BROKEN    the handler is called once if admitted, else never")]
fn check_fails_the_test_with_the_list_of_clauses() {
    let twice = calling(|inner: &mut ProbeService, request| {
        drop(inner.call(Request::new(ProbeBody::default())));
        inner.call(request)
    });
    Probe::new("twice").layer(twice).check();
}

#[test]
fn requests_that_are_not_what_the_test_says() {
    let report = Probe::new("mislabelled")
        .layer(calling(sound))
        .admitted(header("refuse"))
        .refused(|| Request::new(ProbeBody::default()))
        .pending(|| Request::new(ProbeBody::default()))
        .run();
    caught(
        &report,
        Clause::ExactlyOnce,
        "the `admitted` request was answered with 403 Forbidden after 0 calls",
    );
    caught(&report, Clause::PendingKeeps, "there at once");
}
