//! The `Forwarded` header (RFC 7239 §4), read from the right.
//!
//! A hop appends at the right. So an element is found by its right end alone, and what stands to its
//! left (a quotation mark that a client left open, say) can neither hide nor change it.

use std::borrow::Cow;

use super::node::Node;

/// The most bytes of an element.
const MAX_ELEMENT: usize = 2048;

/// The nodes of a line's `for` parameters, from right to left. An element without one is hidden.
pub(super) fn nodes_from_right(line: &[u8]) -> impl Iterator<Item = Node> {
    let mut rest = Some(line);
    std::iter::from_fn(move || {
        loop {
            let (before, element) = split_last(rest?);
            rest = before;
            let element = element.trim_ascii();
            // Empty elements of a list count for nothing (RFC 9110 §5.6.1.2).
            if !element.is_empty() {
                return Some(node(element).unwrap_or(Node::Garbage));
            }
        }
    })
}

/// The part behind the last comma that is not within quotes, and what stands before the comma.
fn split_last(line: &[u8]) -> (Option<&[u8]>, &[u8]) {
    let mut quoted = false;
    for (at, byte) in line.iter().enumerate().rev().take(MAX_ELEMENT) {
        let before = line.get(..at).unwrap_or_default();
        match byte {
            b'"' if quoted => {
                let escapes = before.iter().rev().take_while(|b| **b == b'\\').count();
                quoted = escapes % 2 == 1;
            }
            b'"' => quoted = true,
            b',' if !quoted => {
                let after = before.len().saturating_add(1);
                return (Some(before), line.get(after..).unwrap_or_default());
            }
            _ => {}
        }
    }
    (None, line)
}

/// `[ forwarded-pair ] *( ";" [ forwarded-pair ] )`, with white space allowed around the semicolons.
fn node(element: &[u8]) -> Option<Node> {
    if element.len() > MAX_ELEMENT {
        return None;
    }
    let mut node = None;
    let mut rest = element;
    loop {
        rest = rest.trim_ascii_start();
        let (name, after) = token(rest);
        if !name.is_empty() {
            let (value, after) = value(after.strip_prefix(b"=")?)?;
            // A parameter stands once (RFC 7239 §4).
            if name.eq_ignore_ascii_case(b"for") && node.replace(Node::parse(&value)).is_some() {
                return None;
            }
            rest = after;
        }
        rest = rest.trim_ascii_start();
        match rest.split_first() {
            None => return Some(node.unwrap_or(Node::Hidden)),
            Some((b';', after)) => rest = after,
            Some(_) => return None,
        }
    }
}

/// A token (RFC 9110 §5.6.2), possibly empty, and what follows.
fn token(text: &[u8]) -> (&[u8], &[u8]) {
    let is_token = |b: &u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(b);
    let end = text.iter().position(|b| !is_token(b)).unwrap_or(text.len());
    text.split_at(end)
}

/// A token or a quoted string (RFC 9110 §5.6.4), unescaped, and what follows.
fn value(text: &[u8]) -> Option<(Cow<'_, [u8]>, &[u8])> {
    let Some(quoted) = text.strip_prefix(b"\"") else {
        let (value, after) = token(text);
        return (!value.is_empty()).then_some((value.into(), after));
    };
    let mut unescaped = Vec::new();
    let mut bytes = quoted.iter().enumerate();
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'"' => return Some((unescaped.into(), quoted.get(at.saturating_add(1)..)?)),
            b'\\' => unescaped.push(*bytes.next()?.1),
            // `qdtext`: no control characters but the tab.
            b'\t' | b' '..=b'~' | 0x80.. => unescaped.push(*byte),
            _ => return None,
        }
    }
    None
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(line: &str) -> Vec<Node> {
        nodes_from_right(line.as_bytes()).collect()
    }

    fn address(text: &str) -> Node {
        Node::Address(text.parse().unwrap())
    }

    #[test]
    fn the_standards_examples() {
        for (line, nodes) in [
            (r#"for="_gazonk""#, vec![Node::Hidden]),
            (
                r#"For="[2001:db8:cafe::17]:4711""#,
                vec![address("2001:db8:cafe::17")],
            ),
            (
                "for=192.0.2.60;proto=http;by=203.0.113.43",
                vec![address("192.0.2.60")],
            ),
            (
                "for=192.0.2.43, for=198.51.100.17",
                vec![address("198.51.100.17"), address("192.0.2.43")],
            ),
            (
                r#"for=192.0.2.43,for="[2001:db8:cafe::17]",for=unknown"#,
                vec![
                    Node::Hidden,
                    address("2001:db8:cafe::17"),
                    address("192.0.2.43"),
                ],
            ),
            (
                "for=_hidden, for=_SEVKISEK",
                vec![Node::Hidden, Node::Hidden],
            ),
            ("proto=https;by=203.0.113.43", vec![Node::Hidden]),
            (
                r#"host="a\", for=6.6.6.6, \"b";for=192.0.2.1"#,
                vec![address("192.0.2.1")],
            ),
            (
                r#"for="192.0.2.1:80" ; proto=https ,, "#,
                vec![address("192.0.2.1")],
            ),
            (r#"for="\1\92.0.2.1""#, vec![address("192.0.2.1")]),
            ("", vec![]),
            (" , ,", vec![]),
            (";;for=192.0.2.1;", vec![address("192.0.2.1")]),
        ] {
            assert_eq!(read(line), nodes, "{line}");
        }
    }

    #[test]
    fn what_is_no_element_is_garbage() {
        for line in [
            "for",
            "for=",
            "for= 192.0.2.1",
            "for =192.0.2.1",
            "=192.0.2.1",
            "192.0.2.1",
            "for=192.0.2.1:80",
            "for=[::1]",
            r#"for="192.0.2.1"#,
            r#"for="192.0.2.1\""#,
            r#"for="192.0.2.1"x"#,
            r#"for=192.0.2.1"""#,
            "for=192.0.2.1 proto=http",
            "for=192.0.2.1;for=192.0.2.1",
            "for=192.0.2.1;FOR=192.0.2.1",
            "for=192.0.2.1;proto",
            "for=192.0.2.1;proto=\u{1}",
            "for=\"192.0.2.1\u{7f}\"",
            "for=ä",
            r#"for="""#,
        ] {
            assert_eq!(read(line).first(), Some(&Node::Garbage), "{line}");
        }
        let long = format!("for=192.0.2.1;x={}", "a".repeat(MAX_ELEMENT));
        assert_eq!(read(&long).first(), Some(&Node::Garbage));
    }

    #[test]
    fn an_open_quotation_mark_of_the_client_hides_nothing() {
        for client in [
            r#"for=6.6.6.6;by=""#,
            r#"for="6.6.6.6"#,
            r#"""#,
            r"\",
            r#"by="\"#,
            r#"by="\\"#,
            r#"for=6.6.6.6;by="a\""#,
            ",,,",
        ] {
            for hop in [
                "for=192.0.2.1",
                r#"for="192.0.2.1:80""#,
                r#"for=192.0.2.1;host="a, b""#,
            ] {
                let line = format!("{client}, {hop}");
                assert_eq!(read(&line).first(), Some(&address("192.0.2.1")), "{line}");
            }
        }
    }

    proptest! {
        #[test]
        fn any_bytes_end_and_what_a_hop_appends_is_read(
            client in proptest::collection::vec(any::<u8>(), 0..200),
            hops in proptest::collection::vec(any::<u32>(), 1..5),
            host in r"[ -~]{0,20}",
        ) {
            let mut line = client;
            for hop in &hops {
                let host = host.replace('\\', r"\\").replace('"', r#"\""#);
                let ip = std::net::Ipv4Addr::from_bits(*hop);
                line.extend(format!(r#", host="{host}";for="{ip}:80""#).bytes());
            }
            let read: Vec<Node> = nodes_from_right(&line).take(hops.len()).collect();
            let written: Vec<Node> = hops
                .iter()
                .rev()
                .map(|hop| Node::Address(std::net::Ipv4Addr::from_bits(*hop).into()))
                .collect();
            prop_assert_eq!(read, written);
            prop_assert!(nodes_from_right(&line).count() <= line.len());
        }
    }
}
