//! Jobs of three tenants through one queue and one worker.

#[tokio::test(flavor = "current_thread")]
async fn one_worker_serves_each_tenant_in_its_own_name_and_nobody_in_the_systems() {
    let directory = tempfile::tempdir().unwrap();
    let report = tenant_example_jobs::run(&directory.path().join("queue.sqlite"))
        .await
        .unwrap();

    // Six wanted, four a minute allowed; a neighbour is not touched; a suspended tenant seals nothing.
    let counted = |name: &str, count| (name.to_owned(), count);
    assert_eq!(
        report.submitted,
        [
            counted("acme", 4),
            counted("globex", 1),
            counted("initech", 1)
        ]
    );
    let refused: Vec<_> = report
        .refused
        .iter()
        .map(|(who, why)| (&**who, &**why))
        .collect();
    assert_eq!(refused[..2], [("acme", "rate_limited:endpoint"); 2]);
    assert_eq!(refused[2].0, "initech");
    assert_eq!(refused.len(), 3);

    // Each job once, in its tenant's name; the suspended tenant's when it was resumed.
    let mut done = report.done.clone();
    assert_eq!(
        done.pop().unwrap(),
        ("initech".to_owned(), "2026-01".to_owned())
    );
    done.sort();
    let months = ["2026-01", "2026-02", "2026-03", "2026-04"]
        .map(|month| ("acme".to_owned(), month.to_owned()));
    assert_eq!(done[..4], months);
    assert_eq!(done[4..], [("globex".to_owned(), "2026-01".to_owned())]);
    assert!(report.postponed > 0);

    // The one worker took all of them, and began each time without a tenant.
    assert!(report.taken >= 9, "{report:?}");
    assert_eq!(report.left_over, 0);

    // Missing, altered, and sealed by somebody else: nobody's jobs, least of all the system's.
    let mut dead: Vec<_> = report
        .dead
        .iter()
        .map(|(why, whose)| (&**why, whose.as_deref()))
        .collect();
    dead.sort_unstable();
    assert_eq!(dead.len(), 3);
    assert!(dead.contains(&("job_missing", None)));
    assert!(
        dead.contains(&("job_altered", Some("globex"))),
        "the payload is another: {dead:?}"
    );
    assert!(
        dead.contains(&("job_altered", None)),
        "a key of the same name: {dead:?}"
    );

    // A result is its own tenant's.
    assert_eq!(
        report.read[0],
        (
            "acme".to_owned(),
            Ok("acme's report for 2026-01".to_owned())
        )
    );
    assert_eq!(report.read[1], ("globex".to_owned(), Err(404)));
    assert_eq!(
        report.kept,
        [
            counted("acme", 4),
            counted("globex", 1),
            counted("initech", 1)
        ]
        .map(|(name, count)| (name, count as i64))
    );
}
