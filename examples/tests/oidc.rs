//! The example `oidc`: a provider whose keys are rotated under load.

#[path = "../examples/oidc.rs"]
#[allow(clippy::unwrap_used, unreachable_pub, reason = "an example")]
mod oidc;

#[tokio::test(flavor = "multi_thread")]
async fn a_key_rotation_under_load_refuses_no_valid_request() {
    let report = oidc::run().await.unwrap();
    assert_eq!(report.failed, Vec::<String>::new());
    assert_eq!(report.rotations, 6);
    assert!(report.answered >= 1500, "{report:?}");
    // The first set, and one fetch for each rotation.
    assert!(report.fetched <= 1 + 6 + 1, "{report:?}");
    assert_eq!(report.withdrawn.unwrap(), 401);
}
