//! The quickstart as a newcomer runs it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    process::{Command, Output, Stdio},
    time::Duration,
};

fn quickstart(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quickstart"));
    command.args(args);
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn once(args: &[&str]) -> Output {
    let log = tempfile::tempdir().unwrap();
    let dir = log.path().to_str().unwrap();
    let output = quickstart(&["--once", "--audit-dir", dir])
        .args(args)
        .output();
    output.unwrap()
}

#[test]
fn every_row_of_the_tour_is_as_it_should_be() {
    let output = once(&[]);
    let table = text(&output.stdout);
    assert!(output.status.success(), "{table}{}", text(&output.stderr));
    assert!(table.contains("rows, all as they should be"), "{table}");
    assert!(!table.contains("!!"), "{table}");
    let rows = table.lines().filter(|line| line.starts_with("  ok"));
    let width = rows.map(|line| line.chars().count()).max();
    assert!(width <= Some(120), "the widest line has {width:?} columns");
}

#[test]
fn a_second_tour_adds_to_the_same_log() {
    let log = tempfile::tempdir().unwrap();
    let dir = log.path().to_str().unwrap();
    for _ in 0..2 {
        let output = quickstart(&["--once", "--audit-dir", dir])
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", text(&output.stdout));
    }
}

#[test]
fn a_port_in_use_says_so() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    for option in ["--port", "--grpc-port"] {
        let output = once(&[option, &port]);
        assert_eq!(output.status.code(), Some(2));
        let said = text(&output.stderr);
        assert!(said.contains(&format!("127.0.0.1:{port}")), "{said}");
        assert!(
            said.contains(&format!("choose another port with {option}")),
            "{said}"
        );
    }
}

#[test]
fn help_names_every_option() {
    let output = quickstart(&["--help"]).output().unwrap();
    assert!(output.status.success());
    let help = text(&output.stdout);
    for option in [
        "--once",
        "--port",
        "--grpc-port",
        "--audit-dir",
        "--verbose",
        "--help",
    ] {
        assert!(help.contains(option), "{option} is missing:\n{help}");
    }
}

/// One HTTP/1.1 request, as `curl` would send it.
fn get(address: &str, path: &str, token: Option<&str>) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    let credential = token.map(|token| format!("Authorization: Bearer {token}\r\n"));
    let credential = credential.unwrap_or_default();
    let head =
        format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{credential}\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[cfg(unix)]
#[test]
fn after_the_tour_it_serves_with_the_printed_tokens_until_ctrl_c() {
    let log = tempfile::tempdir().unwrap();
    let dir = log.path().to_str().unwrap();
    let mut child = quickstart(&["--port", "0", "--audit-dir", dir])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap())
        .lines()
        .map(Result::unwrap);
    let mut printed = |name: &str| {
        let value = lines.find_map(|line| line.strip_prefix(name).map(str::to_owned));
        value.unwrap_or_else(|| panic!("{name} was not printed"))
    };
    let address = printed("API=http://");
    let ada = printed("ADA=");
    assert!(get(&address, "/health", None).starts_with("HTTP/1.1 200"));
    assert!(get(&address, "/invoices", None).starts_with("HTTP/1.1 401"));
    let own = get(&address, "/invoices", Some(&ada));
    assert!(
        own.starts_with("HTTP/1.1 200") && own.contains("Ada's shop"),
        "{own}"
    );

    let pid = child.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-INT", &pid])
            .status()
            .unwrap()
            .success()
    );
    assert!(lines.any(|line| line.contains("Verify the log yourself")));
    assert!(child.wait().unwrap().success());
}
