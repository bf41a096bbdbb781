//! A token's form (RFC 7515 §7.1): its three parts and its header.

use super::base64url;
use crate::{
    algorithm::Algorithm,
    crypto::MAX_SIGNATURE_LEN,
    json::{Json, Tape},
    reason::Reason,
};

/// The parts of a token, still encoded.
#[derive(Debug)]
pub(crate) struct Parts<'t> {
    header: &'t [u8],
    claims: &'t [u8],
    signature: &'t [u8],
    /// What the signature covers.
    pub(crate) signed: &'t [u8],
}

impl<'t> Parts<'t> {
    /// Exactly three parts. Five are an encrypted token (RFC 7516), which is refused as such.
    pub(crate) fn split(token: &'t [u8]) -> Result<Self, Reason> {
        let mut parts = Dots(Some(token));
        let (Some(header), Some(claims), Some(signature)) =
            (parts.next(), parts.next(), parts.next())
        else {
            return Err("malformed");
        };
        match parts.count() {
            0 => {}
            2 => return Err("encrypted"),
            _ => return Err("malformed"),
        }
        let length = header.len().saturating_add(claims.len()).saturating_add(1);
        Ok(Self {
            header,
            claims,
            signature,
            signed: token.get(..length).unwrap_or_default(),
        })
    }

    /// How much room all of it needs, decoded.
    pub(crate) fn decoded_len(&self) -> usize {
        [self.header, self.claims, self.signature]
            .into_iter()
            .map(|part| base64url::decoded_len(part.len()))
            .fold(0, usize::saturating_add)
    }

    /// Header and claims, decoded one after the other into `room`, and what is left of it for the signature.
    pub(crate) fn decode<'b>(
        &self,
        room: &'b mut [u8],
    ) -> Result<(&'b [u8], &'b [u8], &'b mut [u8]), Reason> {
        let (header, rest) = base64url::decode(self.header, room).ok_or("malformed")?;
        let (claims, rest) = base64url::decode(self.claims, rest).ok_or("malformed")?;
        Ok((header, claims, rest))
    }

    /// The signature, decoded into what was left.
    pub(crate) fn signature<'b>(&self, room: &'b mut [u8]) -> Result<&'b [u8], Reason> {
        let (signature, _) = base64url::decode(self.signature, room).ok_or("signature")?;
        if signature.len() > MAX_SIGNATURE_LEN {
            return Err("signature");
        }
        Ok(signature)
    }
}

/// The parts between dots.
struct Dots<'t>(Option<&'t [u8]>);

impl<'t> Iterator for Dots<'t> {
    type Item = &'t [u8];

    fn next(&mut self) -> Option<&'t [u8]> {
        let rest = self.0?;
        let Some(at) = memchr::memchr(b'.', rest) else {
            return self.0.take();
        };
        let (part, rest) = rest.split_at_checked(at)?;
        self.0 = rest.get(1..);
        Some(part)
    }
}

/// What a header says. `jku`, `x5u`, `jwk` and `x5c` are never looked at (RFC 8725 §3.10).
#[derive(Debug)]
pub(crate) struct Header<'t> {
    pub(crate) algorithm: Algorithm,
    pub(crate) kid: Option<&'t str>,
    pub(crate) typ: Option<&'t str>,
}

impl<'t> Header<'t> {
    /// Reads a header, by way of the tape.
    pub(crate) fn read<'a: 't>(json: &'a [u8], tape: &'t mut Tape<'a>) -> Result<Self, Reason> {
        tape.read(json)?;
        let (mut algorithm, mut kid, mut typ) = (None, None, None);
        for member in tape.root().members().into_iter().flatten() {
            let text = |value: Json<'t, 'a>| value.as_text().ok_or("header_type");
            match member.name() {
                "alg" => algorithm = Some(text(member)?),
                "kid" => kid = Some(text(member)?),
                "typ" => typ = Some(text(member)?),
                // Extensions that must be understood: there are none that we do (RFC 7515 §4.1.11).
                "crit" => return Err("crit"),
                _ => {}
            }
        }
        Ok(Self {
            algorithm: algorithm
                .and_then(Algorithm::from_name)
                .ok_or("algorithm")?,
            kid,
            typ,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_token_has_three_parts() {
        let parts = Parts::split(b"a.b.c").unwrap();
        assert_eq!((parts.signed, parts.signature), (&b"a.b"[..], &b"c"[..]));
        for (token, reason) in [
            ("", "malformed"),
            ("a", "malformed"),
            ("a.b", "malformed"),
            ("a.b.c.d", "malformed"),
            ("a.b.c.d.e", "encrypted"),
            ("a.b.c.d.e.f", "malformed"),
        ] {
            assert_eq!(
                Parts::split(token.as_bytes()).unwrap_err(),
                reason,
                "{token}"
            );
        }
    }

    #[test]
    fn a_header_says_its_algorithm_and_nothing_critical() {
        let parsed = |json: &str| {
            let mut tape = Tape::default();
            Header::read(json.as_bytes(), &mut tape).map(|header| header.algorithm)
        };
        assert_eq!(parsed(r#"{"alg":"ES256"}"#), Ok(Algorithm::Es256));
        for (json, reason) in [
            (r#"{"alg":"none"}"#, "algorithm"),
            (r#"{"alg":"None"}"#, "algorithm"),
            (r#"{"alg":"es256"}"#, "algorithm"),
            (r#"{"alg":""}"#, "algorithm"),
            ("{}", "algorithm"),
            (r#"{"alg":7}"#, "header_type"),
            (r#"{"alg":["ES256"]}"#, "header_type"),
            (r#"{"alg":null}"#, "header_type"),
            (r#"{"alg":"ES256","kid":7}"#, "header_type"),
            (r#"{"alg":"ES256","typ":{}}"#, "header_type"),
            (r#"{"alg":"ES256","crit":[]}"#, "crit"),
            (r#"{"alg":"ES256","crit":["exp"],"exp":1}"#, "crit"),
            (r#"{"alg":"ES256","alg":"ES256"}"#, "duplicate_member"),
            (r#"{"alg":"ES256","kid":"a","kid":"b"}"#, "duplicate_member"),
            (r#"["ES256"]"#, "malformed"),
        ] {
            assert_eq!(parsed(json), Err(reason), "{json}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(token in proptest::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(parts) = Parts::split(&token) {
                let mut buffer = vec![0; parts.decoded_len()];
                if let Ok((header, _, rest)) = parts.decode(&mut buffer) {
                    let _unread = Header::read(header, &mut Tape::default());
                    let _unread = parts.signature(rest);
                }
            }
        }

        #[test]
        fn parts_are_the_token(token in "[A-Za-z0-9_.-]{0,60}") {
            if let Ok(parts) = Parts::split(token.as_bytes()) {
                let joined = [parts.signed, parts.signature].join(&b'.');
                prop_assert_eq!(joined, token.as_bytes());
            }
        }
    }
}
