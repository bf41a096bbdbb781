//! Two processes on loopback: `orders` calls `billing`, and `billing` refuses each forgery.

use std::process::Command;

#[test]
fn a_service_acts_for_a_tenant_in_another_process_and_each_forgery_is_refused() {
    let output = Command::new(env!("CARGO_BIN_EXE_services"))
        .output()
        .unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{printed}\n{errors}");

    let (mut ids, mut ways) = (Vec::new(), Vec::new());
    for line in printed
        .lines()
        .filter(|line| line.contains("billing charges"))
    {
        assert!(
            line.contains("charges acme for ada, asked by orders"),
            "{line}"
        );
        ways.push(line.trim().split(':').next().unwrap().to_owned());
        ids.push(line.rsplit(' ').next().unwrap().to_owned());
    }
    assert_eq!(ways, ["HTTP", "gRPC"]);
    assert!(
        !ids[0].is_empty() && ids[0] == ids[1],
        "one request's id: {ids:?}"
    );

    let answers = |presented: &str| {
        let mut lines = printed.lines().map(str::trim);
        let line = lines.find(|line| line.starts_with(presented)).unwrap();
        let words: Vec<_> = line.split_whitespace().rev().take(2).collect();
        (words[1].to_owned(), words[0].to_owned())
    };
    let pair = |http: &str, grpc: &str| (http.to_owned(), grpc.to_owned());
    assert_eq!(answers("orders' token, as it was minted"), pair("200", "0"));
    for forgery in [
        "nothing",
        "the user's own token, passed on",
        "a token for another service",
        "a token of another key of the same name",
        "globex's claims under acme's signature",
        "a token without a signature",
        "a token that has expired",
        "a tenant that does not exist",
    ] {
        assert_eq!(answers(forgery), pair("401", "16"), "{forgery}");
    }
    for forgery in [
        "a tenant that is suspended",
        "a token for another operation",
        "acme's token, and globex in metadata",
    ] {
        assert_eq!(answers(forgery), pair("403", "7"), "{forgery}");
    }
}
