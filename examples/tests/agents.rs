//! The example `agents`: what sub-agents try, what they get, and what the audit keeps of it.

#[path = "../examples/agents.rs"]
#[allow(clippy::unwrap_used, unreachable_pub, reason = "an example")]
mod agents;

#[tokio::test(flavor = "multi_thread")]
async fn each_attempt_to_grow_is_refused_and_recorded_with_the_whole_chain() {
    let report = agents::run().await.unwrap();
    let expected = [
        ("ada", 200, "", "ada"),
        ("orchestrator", 200, "", "ada > orchestrator"),
        ("orchestrator", 200, "", "ada > orchestrator"),
        ("reader", 200, "", "ada > orchestrator > reader"),
        ("writer", 200, "", "ada > orchestrator > writer"),
        ("reader", 403, "scope", "ada > orchestrator > reader"),
        (
            "reader",
            403,
            "delegation_wider",
            "ada > orchestrator > reader",
        ),
        (
            "reader",
            403,
            "delegation_wider",
            "ada > orchestrator > reader",
        ),
        ("reader", 404, "cross_tenant", "ada > orchestrator > reader"),
        (
            "reader",
            403,
            "tenant_mismatch",
            "ada > orchestrator > reader",
        ),
        (
            "reader",
            403,
            "cross_tenant_chain",
            "ada > orchestrator > reader",
        ),
        (
            "reader",
            403,
            "delegation_outlives",
            "ada > orchestrator > reader",
        ),
        ("reader", 200, "", "ada > orchestrator > reader"),
        (
            "helper",
            403,
            "delegation_depth",
            "ada > orchestrator > reader > helper",
        ),
        ("helper", 200, "", "ada > orchestrator > reader > helper"),
        ("ada", 200, "", "ada"),
        ("reader", 401, "revoked", "ada > orchestrator > reader"),
        (
            "helper",
            401,
            "revoked",
            "ada > orchestrator > reader > helper",
        ),
        ("writer", 401, "revoked", "ada > orchestrator > writer"),
    ];
    assert_eq!(
        report.records.len(),
        report.steps.len(),
        "one record for each"
    );
    let seen: Vec<_> = report
        .steps
        .iter()
        .zip(&report.records)
        .map(|(step, record)| {
            let reason = record["reason"].as_str().unwrap_or_default();
            assert_eq!(record["status"], step.status);
            assert_eq!(
                record["tenant_id"], "acme",
                "never in another tenant's chain"
            );
            (
                step.who,
                step.status,
                reason,
                agents::chain(record).join(" > "),
            )
        })
        .collect();
    let seen: Vec<_> = seen
        .iter()
        .map(|(who, status, reason, chain)| (*who, *status, *reason, &**chain))
        .collect();
    assert_eq!(seen, expected);
    for step in &report.steps {
        assert!(
            step.status == 200 || !step.body.contains("7.00"),
            "{step:?}"
        );
    }
}
