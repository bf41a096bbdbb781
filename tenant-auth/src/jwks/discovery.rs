//! Where an issuer's keys are: `OpenID` Connect Discovery 1.0 §4 and RFC 8414 §3. Pure.

use http::Uri;

use crate::json::Tape;

/// The most bytes of a metadata document.
pub(crate) const MAX_METADATA_LEN: usize = 64 * 1024;

/// What may be fetched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Allowed {
    /// `http` to this machine itself.
    pub(crate) loopback: bool,
    /// Where the metadata may say that the keys are, beside the issuer's own host.
    pub(crate) hosts: Vec<Box<str>>,
}

/// A URL that may be fetched: `https`, or `http` to this machine if that is allowed.
pub(crate) fn check_url(url: &str, allowed: &Allowed) -> Result<Uri, String> {
    let wrong = |what: &str| Err(format!("the URL {url:?} {what}"));
    let Ok(uri) = url.parse::<Uri>() else {
        return wrong("cannot be parsed");
    };
    let Some(host) = uri.host().filter(|host| !host.is_empty()) else {
        return wrong("has no host; write it out, as `https://id.example.com/…`");
    };
    if uri
        .authority()
        .is_some_and(|authority| authority.as_str().contains('@'))
    {
        return wrong("has a user name");
    }
    match uri.scheme_str() {
        Some("http") if !is_loopback(host) => wrong("is not `https`"),
        Some("http") if !allowed.loopback => {
            wrong("is not `https`; for tests on this machine `allow_http_on_loopback` permits it")
        }
        Some("https" | "http") => Ok(uri),
        _ => wrong("is not `https`"),
    }
}

fn is_loopback(host: &str) -> bool {
    let address = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host);
    host == "localhost"
        || address
            .parse()
            .is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
}

/// The two places of an issuer's metadata: that of `OpenID` Connect, then that of RFC 8414.
pub(crate) fn metadata_urls(issuer: &str, allowed: &Allowed) -> Result<[String; 2], String> {
    let uri = check_url(issuer, allowed)?;
    if uri.query().is_some() || issuer.contains('#') {
        return Err(format!(
            "the issuer {issuer:?} has a query or a fragment, so it has no metadata"
        ));
    }
    let (scheme, authority) = (uri.scheme_str(), uri.authority());
    let (Some(scheme), Some(authority)) = (scheme, authority) else {
        return Err(format!("the issuer {issuer:?} is no URL"));
    };
    let path = uri.path().trim_end_matches('/');
    Ok([
        format!("{scheme}://{authority}{path}/.well-known/openid-configuration"),
        format!("{scheme}://{authority}/.well-known/oauth-authorization-server{path}"),
    ])
}

/// The URL of the keys, from metadata that must be this issuer's own, byte for byte.
pub(crate) fn keys_url(metadata: &[u8], issuer: &str, allowed: &Allowed) -> Result<String, String> {
    let mut tape = Tape::default();
    tape.read(metadata)
        .map_err(|reason| format!("the metadata is no JSON object ({reason})"))?;
    let text = |name: &str| tape.root().get(name).and_then(|value| value.as_text());
    match text("issuer") {
        Some(named) if named == issuer => {}
        Some(named) => {
            return Err(format!("the metadata is that of another issuer, {named:?}"));
        }
        None => return Err("the metadata names no `issuer`".to_owned()),
    }
    let url = text("jwks_uri").ok_or("the metadata names no `jwks_uri`")?;
    let keys = check_url(url, allowed)?;
    let host = |uri: &Uri| uri.host().map(str::to_ascii_lowercase);
    let at_home = issuer
        .parse()
        .is_ok_and(|issuer: Uri| host(&issuer) == host(&keys));
    let mut hosts = allowed.hosts.iter().map(AsRef::as_ref);
    let allowed = keys
        .host()
        .is_some_and(|host| hosts.any(|known: &str| known.eq_ignore_ascii_case(host)));
    if at_home || allowed {
        Ok(url.to_owned())
    } else {
        Err(format!(
            "the keys are on another host, at {url:?}; if that is right, allow it with `key_host`"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ISSUER: &str = "https://id.example.com/realms/acme";

    fn loopback() -> Allowed {
        Allowed {
            loopback: true,
            ..Allowed::default()
        }
    }

    #[test]
    fn only_https_or_loopback_if_it_is_allowed_by_name() {
        let strict = Allowed::default();
        for url in [
            "https://id.example.com",
            "https://id.example.com:8443/a?b",
            "https://[2001:db8::1]/",
        ] {
            assert!(check_url(url, &strict).is_ok(), "{url}");
        }
        for url in [
            "http://localhost/",
            "http://127.0.0.1:80/",
            "http://127.9.9.9/",
            "http://[::1]:8080/a",
        ] {
            assert!(check_url(url, &strict).is_err(), "{url}");
            assert!(check_url(url, &loopback()).is_ok(), "{url}");
        }
        for url in [
            "http://id.example.com/",
            "http://localhost.example.com/",
            "http://127.0.0.1.example.com/",
            "http://0.0.0.0/",
            "http://10.0.0.1/",
            "http://[::]/",
            "http://2130706433/",
            "ftp://localhost/",
            "file:///etc/passwd",
            "/keys",
            "localhost",
            "",
            "https://",
            "https://user@id.example.com/",
            "http://id.example.com@localhost/",
            "http://localhost@evil.example/",
        ] {
            assert!(check_url(url, &loopback()).is_err(), "{url}");
        }
    }

    #[test]
    fn metadata_stands_in_two_places() {
        let urls = |issuer| metadata_urls(issuer, &Allowed::default()).unwrap();
        assert_eq!(
            urls("https://id.example.com"),
            [
                "https://id.example.com/.well-known/openid-configuration",
                "https://id.example.com/.well-known/oauth-authorization-server"
            ]
        );
        for issuer in [ISSUER.to_owned(), format!("{ISSUER}/")] {
            assert_eq!(
                metadata_urls(&issuer, &Allowed::default()).unwrap(),
                [
                    "https://id.example.com/realms/acme/.well-known/openid-configuration",
                    "https://id.example.com/.well-known/oauth-authorization-server/realms/acme"
                ]
            );
        }
        for issuer in [
            "https://id.example.com?a",
            "https://id.example.com#a",
            "id.example.com",
            "http://id.example.com",
        ] {
            assert!(
                metadata_urls(issuer, &Allowed::default()).is_err(),
                "{issuer}"
            );
        }
    }

    #[test]
    fn metadata_of_another_issuer_is_refused() {
        let read = |json: &str| keys_url(json.as_bytes(), ISSUER, &Allowed::default());
        let good = format!(r#"{{"issuer":"{ISSUER}","jwks_uri":"https://id.example.com/k"}}"#);
        assert_eq!(read(&good).unwrap(), "https://id.example.com/k");
        for (json, why) in [
            (good.replace("acme\"", "acme/\""), "another issuer"),
            (
                good.replace(
                    "https://id.example.com/realms",
                    "HTTPS://id.example.com/realms",
                ),
                "another issuer",
            ),
            (good.replace("acme\"", "globex\""), "another issuer"),
            (
                r#"{"jwks_uri":"https://id.example.com/k"}"#.to_owned(),
                "no `issuer`",
            ),
            (
                r#"{"issuer":["https://id.example.com/realms/acme"]}"#.to_owned(),
                "no `issuer`",
            ),
            (format!(r#"{{"issuer":"{ISSUER}"}}"#), "no `jwks_uri`"),
            (good.replace('{', r#"{"issuer":"x","#), "duplicate_member"),
            (
                good.replace("https://id.example.com/k", "http://id.example.com/k"),
                "not `https`",
            ),
            (
                good.replace("https://id.example.com/k", "https://evil.example/k"),
                "another host",
            ),
            (
                good.replace(
                    "https://id.example.com/k",
                    "https://id.example.com.evil.example/k",
                ),
                "another host",
            ),
            ("[]".to_owned(), "no JSON object"),
        ] {
            let error = read(&json).unwrap_err();
            assert!(error.contains(why), "{json}: {error}");
        }
        let allowed = Allowed {
            hosts: vec!["Keys.example.com".into()],
            loopback: false,
        };
        let elsewhere = good.replace("https://id.example.com/k", "https://keys.example.com/k");
        assert!(keys_url(elsewhere.as_bytes(), ISSUER, &allowed).is_ok());
    }
}
