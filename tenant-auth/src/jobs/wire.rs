//! The bytes of an envelope: every field length-prefixed, read strictly, so that no two envelopes encode
//! alike and none has two encodings.

use std::sync::Arc;

use serde_json::{Map, Value};
use tenant_context::{
    Claims, CredentialId, Parent, Principal, PrincipalId, PrincipalKind, RoleGrants, TenantId,
    UnixTime,
};

/// What the signed bytes begin with, the version last. No token is signed over bytes that begin so: a
/// key may serve for both.
const LEAD: &[u8; 11] = b"tenant-job\x01";
const LEAD_WITHOUT_VERSION: usize = 10;

pub(super) const ID_LEN: usize = 16;
pub(super) const DIGEST_LEN: usize = 32;

/// What the signature covers.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Header {
    pub(super) kid: String,
    pub(super) queue: String,
    pub(super) id: [u8; ID_LEN],
    pub(super) sealed_at: UnixTime,
    /// On whose behalf. Its expiry is the envelope's own.
    pub(super) claims: Claims,
    pub(super) payload_digest: [u8; DIGEST_LEN],
}

/// Why bytes are no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// Of another version.
    Version,
    Form,
}

impl Header {
    pub(super) fn encode(&self) -> Vec<u8> {
        let claims = &self.claims;
        let mut writer = Writer(Vec::with_capacity(512));
        writer.raw(LEAD);
        writer.text(&self.kid);
        writer.text(&self.queue);
        writer.raw(&self.id);
        writer.time(self.sealed_at);
        writer.time(claims.expires_at);
        writer.text(claims.tenant.as_str());
        writer.principal(&claims.principal);
        writer.list(&claims.actors, Writer::principal);
        writer.list(&claims.scopes, |writer, text| writer.text(text));
        writer.raw(&[u8::from(claims.limited)]);
        writer.list(&claims.roles, |writer, text| writer.text(text));
        writer.option(claims.resource_prefix.as_deref());
        writer.option(claims.issuer.as_deref());
        writer.option(claims.org_id.as_deref());
        writer.id(claims.credential.as_ref());
        writer.option(claims.key_id.as_deref());
        writer.id(claims.api_key.as_ref());
        writer.id(claims.session.as_ref());
        writer.list(&claims.parents, |writer, parent| {
            writer.text(parent.credential.as_str());
            writer.option(parent.issuer.as_deref());
            writer.option(parent.key_id.as_deref());
            writer.moment(parent.issued_at);
            writer.id(parent.api_key.as_ref());
            writer.time(parent.expires_at);
            writer.list(&parent.scopes, |writer, text| writer.text(text));
            writer.roles(parent.roles.as_deref());
            writer.option(parent.resource_prefix.as_deref());
        });
        writer.option(claims.purpose.as_deref());
        writer.option(claims.operator_of.as_ref().map(AsRef::as_ref));
        writer.moment(claims.issued_at);
        if claims.custom.is_empty() {
            writer.option(None);
        } else {
            writer.option(Some(&Value::Object(claims.custom.clone()).to_string()));
        }
        writer.raw(&self.payload_digest);
        writer.0
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Fault> {
        match bytes.get(..LEAD.len()) {
            Some(lead) if lead == LEAD => {}
            Some(lead) if lead.get(..LEAD_WITHOUT_VERSION) == LEAD.get(..LEAD_WITHOUT_VERSION) => {
                return Err(Fault::Version);
            }
            _ => return Err(Fault::Form),
        }
        let mut reader = Reader(bytes.get(LEAD.len()..).unwrap_or_default());
        let header = Self::fields(&mut reader).ok_or(Fault::Form)?;
        if reader.0.is_empty() {
            Ok(header)
        } else {
            Err(Fault::Form)
        }
    }

    fn fields(reader: &mut Reader<'_>) -> Option<Self> {
        let kid = reader.text()?.to_owned();
        let queue = reader.text()?.to_owned();
        let id = *reader.array()?;
        let sealed_at = reader.time()?;
        let expires_at = reader.time()?;
        let tenant = TenantId::parse(reader.text()?).ok()?;
        let principal = reader.principal()?;
        let mut claims = Claims::new(tenant, principal, expires_at);
        claims.actors = reader.list(Claims::MAX_ACTORS, Reader::principal)?;
        let owned = |reader: &mut Reader<'_>| reader.text().map(str::to_owned);
        claims.scopes = reader.list(Claims::MAX_GRANTS, owned)?;
        claims.limited = match reader.raw(1)? {
            [0] => false,
            [1] => true,
            _ => return None,
        };
        claims.roles = reader.list(Claims::MAX_GRANTS, owned)?;
        claims.resource_prefix = reader.option().ok()?.map(str::to_owned);
        claims.issuer = reader.option().ok()?.map(Arc::from);
        claims.org_id = reader.option().ok()?.map(str::to_owned);
        claims.credential = reader.id().ok()?;
        claims.key_id = reader.option().ok()?.map(Arc::from);
        claims.api_key = reader.id().ok()?;
        claims.session = reader.id().ok()?;
        claims.parents = reader.list(Claims::MAX_ACTORS, Reader::parent)?;
        claims.purpose = reader.option().ok()?.map(str::to_owned);
        claims.operator_of = match reader.option().ok()? {
            Some(text) => Some(TenantId::parse(text).ok()?),
            None => None,
        };
        claims.issued_at = reader.moment().ok()?;
        claims.custom = match reader.option().ok()? {
            Some(text) => serde_json::from_str(text).ok()?,
            None => Map::new(),
        };
        Some(Self {
            kid,
            queue,
            id,
            sealed_at,
            claims,
            payload_digest: *reader.array()?,
        })
    }
}

struct Writer(Vec<u8>);

impl Writer {
    fn raw(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    fn count(&mut self, count: usize) {
        // A length beyond this does not fit into an envelope either: it is refused before it is signed.
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        self.raw(&count.to_be_bytes());
    }

    fn text(&mut self, text: &str) {
        self.count(text.len());
        self.raw(text.as_bytes());
    }

    fn time(&mut self, time: UnixTime) {
        self.raw(&time.as_nanos().to_be_bytes());
    }

    fn moment(&mut self, time: Option<UnixTime>) {
        self.raw(&[u8::from(time.is_some())]);
        if let Some(time) = time {
            self.time(time);
        }
    }

    fn id(&mut self, id: Option<&CredentialId>) {
        self.option(id.map(AsRef::as_ref));
    }

    fn principal(&mut self, principal: &Principal) {
        self.text(principal.kind().as_str());
        self.text(principal.id().as_str());
    }

    fn list<T>(&mut self, list: &[T], item: impl Fn(&mut Self, &T)) {
        self.count(list.len());
        for one in list {
            item(self, one);
        }
    }

    fn roles(&mut self, roles: Option<&[RoleGrants]>) {
        self.raw(&[u8::from(roles.is_some())]);
        if let Some(roles) = roles {
            self.list(roles, |writer, role| {
                let scopes: Vec<_> = role.scopes().collect();
                writer.list(&scopes, |writer, text| writer.text(text));
                let except: Vec<_> = role.exceptions().collect();
                writer.list(&except, |writer, text| writer.text(text));
            });
        }
    }

    fn option(&mut self, text: Option<&str>) {
        self.raw(&[u8::from(text.is_some())]);
        if let Some(text) = text {
            self.text(text);
        }
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn raw(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<&'a [u8; N]> {
        self.raw(N)?.first_chunk()
    }

    fn count(&mut self) -> Option<usize> {
        usize::try_from(u32::from_be_bytes(*self.array()?)).ok()
    }

    fn text(&mut self) -> Option<&'a str> {
        let length = self.count()?;
        std::str::from_utf8(self.raw(length)?).ok()
    }

    fn time(&mut self) -> Option<UnixTime> {
        Some(UnixTime::from_nanos(u64::from_be_bytes(*self.array()?)))
    }

    fn moment(&mut self) -> Result<Option<UnixTime>, Fault> {
        match self.raw(1) {
            Some([0]) => Ok(None),
            Some([1]) => self.time().map(Some).ok_or(Fault::Form),
            _ => Err(Fault::Form),
        }
    }

    fn id(&mut self) -> Result<Option<CredentialId>, Fault> {
        let id = |text| CredentialId::parse(text).map_err(|_| Fault::Form);
        self.option()?.map(id).transpose()
    }

    fn principal(&mut self) -> Option<Principal> {
        let kind = match self.text()? {
            "human" => PrincipalKind::Human,
            "agent" => PrincipalKind::Agent,
            "service" => PrincipalKind::Service,
            _ => return None,
        };
        Some(Principal::new(kind, PrincipalId::parse(self.text()?).ok()?))
    }

    fn parent(&mut self) -> Option<Parent> {
        let credential = CredentialId::parse(self.text()?).ok()?;
        let issuer = self.option().ok()?.map(Arc::from);
        let key_id = self.option().ok()?.map(Arc::from);
        let issued_at = self.moment().ok()?;
        let api_key = self.id().ok()?;
        let expires_at = self.time()?;
        let scopes = self.scopes()?;
        let mut parent = Parent::new(credential, expires_at, scopes);
        parent.issuer = issuer;
        parent.key_id = key_id;
        parent.issued_at = issued_at;
        parent.api_key = api_key;
        parent.roles = match self.raw(1)? {
            [0] => None,
            [1] => Some(self.list(Claims::MAX_GRANTS, Self::role)?),
            _ => return None,
        };
        parent.resource_prefix = self.option().ok()?.map(Into::into);
        Some(parent)
    }

    fn role(&mut self) -> Option<RoleGrants> {
        let scopes = self.scopes()?;
        Some(RoleGrants::new(scopes).except(self.scopes()?))
    }

    fn scopes(&mut self) -> Option<Vec<Box<str>>> {
        let scope = |reader: &mut Self| reader.text().map(Into::into);
        self.list(Claims::MAX_GRANTS, scope)
    }

    fn list<T>(&mut self, most: usize, item: impl Fn(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let count = self.count()?;
        if count > most {
            return None;
        }
        (0..count).map(|_| item(self)).collect()
    }

    fn option(&mut self) -> Result<Option<&'a str>, Fault> {
        match self.raw(1) {
            Some([0]) => Ok(None),
            Some([1]) => self.text().map(Some).ok_or(Fault::Form),
            _ => Err(Fault::Form),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::{collection::vec, option, prelude::*};

    fn principal() -> impl Strategy<Value = Principal> {
        (0..3_u8, "[!-~]{1,12}").prop_map(|(kind, id)| {
            let id = PrincipalId::parse(id).unwrap();
            match kind {
                0 => Principal::human(id),
                1 => Principal::agent(id),
                _ => Principal::service(id),
            }
        })
    }

    fn header() -> impl Strategy<Value = Header> {
        let who = (
            "[a-zA-Z0-9._-]{1,8}",
            principal(),
            vec(principal(), 0..4),
            vec(".{0,6}", 0..4),
            vec(".{0,6}", 0..4),
        );
        let more = (
            option::of(".{0,6}"),
            option::of(".{0,6}"),
            option::of(".{0,6}"),
            option::of("[!-~]{1,6}"),
            option::of(any::<u64>()),
            option::of((".{0,4}", any::<i32>())),
            any::<bool>(),
            vec("[!-~]{1,6}", 0..4),
            option::of(".{0,6}"),
            option::of("[a-zA-Z0-9._-]{1,8}"),
            (
                option::of(".{0,6}"),
                option::of("[!-~]{1,6}"),
                option::of("[!-~]{1,6}"),
            ),
        );
        let own = (
            ".{0,6}",
            ".{0,6}",
            any::<u128>(),
            any::<u64>(),
            any::<u64>(),
            any::<u8>(),
        );
        (who, more, own).prop_map(|(who, more, own)| {
            let expires_at = UnixTime::from_nanos(own.4);
            let mut claims = Claims::new(TenantId::parse(who.0).unwrap(), who.1, expires_at);
            (claims.actors, claims.scopes, claims.roles) = (who.2, who.3, who.4);
            claims.resource_prefix = more.0;
            claims.issuer = more.1.map(Arc::from);
            claims.org_id = more.2;
            claims.credential = more.3.map(|id| CredentialId::parse(id).unwrap());
            claims.issued_at = more.4.map(UnixTime::from_nanos);
            claims.limited = more.6;
            let (key_id, api_key, session) = more.10;
            let id = |text| CredentialId::parse(text).unwrap();
            claims.key_id = key_id.map(Arc::from);
            claims.api_key = api_key.map(id);
            claims.session = session.map(id);
            claims.parents = more
                .7
                .iter()
                .map(|id| {
                    let credential = CredentialId::parse(id).unwrap();
                    let mut parent = Parent::new(credential, expires_at, vec!["a:*".into()]);
                    parent.resource_prefix = Some("p/1".into());
                    let roles = claims.roles.iter().zip(&claims.scopes);
                    parent.roles = claims.limited.then(|| {
                        let role = |(one, two): (&String, &String)| {
                            RoleGrants::new([one.as_str()]).except([two.as_str()])
                        };
                        roles.map(role).collect()
                    });
                    parent.issuer.clone_from(&claims.issuer);
                    parent.key_id.clone_from(&claims.key_id);
                    parent.issued_at = claims.issued_at;
                    parent.api_key.clone_from(&claims.api_key);
                    parent
                })
                .collect();
            claims.purpose = more.8;
            claims.operator_of = more.9.map(|id| TenantId::parse(id).unwrap());
            claims.custom = more
                .5
                .into_iter()
                .map(|(name, value)| (name, value.into()))
                .collect();
            Header {
                kid: own.0,
                queue: own.1,
                id: own.2.to_be_bytes(),
                sealed_at: UnixTime::from_nanos(own.3),
                claims,
                payload_digest: [own.5; DIGEST_LEN],
            }
        })
    }

    proptest! {
        #[test]
        fn i11_a_header_is_read_as_it_was_written_and_in_no_other_way(header in header()) {
            let bytes = header.encode();
            prop_assert_eq!(Header::decode(&bytes), Ok(header));
            let mut longer = bytes.clone();
            longer.push(0);
            prop_assert_eq!(Header::decode(&longer), Err(Fault::Form));
            prop_assert!(Header::decode(bytes.split_last().unwrap().1).is_err());
        }

        #[test]
        fn i11_two_headers_never_encode_alike(one in header(), two in header()) {
            prop_assert_eq!(one.encode() == two.encode(), one == two);
        }

        #[test]
        fn no_bytes_panic(bytes in vec(any::<u8>(), 0..300)) {
            let mut led = LEAD.to_vec();
            led.extend(&bytes);
            drop(Header::decode(&led));
            drop(Header::decode(&bytes));
        }
    }

    #[test]
    fn another_version_is_named_as_such() {
        assert_eq!(
            Header::decode(b"tenant-job\x02and so on"),
            Err(Fault::Version)
        );
        assert_eq!(Header::decode(b"tenant-jo"), Err(Fault::Form));
    }
}
