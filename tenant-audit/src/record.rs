//! One record: its fields, and its canonical bytes.

use std::borrow::Cow;

use http::Method;
use serde::Serialize;
use serde_json::{Map, Value, value::RawValue};
use tenant_context::{Identity, Principal, TrailFacts, UnixTime};
use time::OffsetDateTime;

use crate::{
    Outcome,
    outcome::{Ended, decide},
    request::Request,
    text,
};

/// The schema that records name. A field added later changes no old record's bytes.
pub(crate) const SCHEMA: &str = "tenant-audit/1";

/// The outcome of an intent: not known yet.
pub(crate) const INTENT: &str = "intent";

/// Who did it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Actor<'a> {
    Verified(&'a Identity),
    System(&'a str),
    Anonymous,
}

/// All that one record is made from.
#[derive(Debug)]
pub(crate) struct Draft<'a> {
    pub(crate) event_id: &'a str,
    pub(crate) tenant: Option<&'a str>,
    pub(crate) actor: Actor<'a>,
    pub(crate) at: UnixTime,
    pub(crate) facts: &'a TrailFacts,
    pub(crate) what: What<'a>,
}

/// What kind of thing is recorded.
#[derive(Debug)]
pub(crate) enum What<'a> {
    Request(&'a Request),
    /// The request's handler is about to run.
    Intent(&'a Request),
    Event {
        outcome: Outcome,
        reason: Option<&'a str>,
    },
}

#[derive(Serialize)]
struct ActorRef<'a> {
    id: &'a str,
    r#type: &'static str,
}

impl<'a> From<&'a Principal> for ActorRef<'a> {
    fn from(principal: &'a Principal) -> Self {
        Self {
            id: principal.id().as_str(),
            r#type: principal.kind().as_str(),
        }
    }
}

/// The fields in canonical order: with integers below 2^53 and canonical metadata the bytes are
/// those of RFC 8785 (`tests::records_are_canonical`).
#[derive(Serialize, Default)]
struct Record<'a> {
    action: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    actor_id: Option<Cow<'a, str>>,
    actor_type: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    actors: Vec<ActorRef<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    credential_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    details_dropped: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    duration_us: Option<u64>,
    event_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    grpc_status: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    on_behalf_of: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    on_behalf_of_type: Option<&'static str>,
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resource_id: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resource_type: Option<Cow<'a, str>>,
    schema: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant_id: Option<&'a str>,
    timestamp: String,
}

/// Writes a record's canonical bytes to `out`.
pub(crate) fn encode(draft: &Draft<'_>, out: &mut Vec<u8>) -> serde_json::Result<()> {
    let facts = draft.facts;
    let mut record = Record {
        event_id: draft.event_id,
        tenant_id: draft.tenant,
        schema: SCHEMA,
        timestamp: timestamp(draft.at),
        cache: facts.cache,
        details_dropped: Some(facts.details_dropped).filter(|dropped| *dropped > 0),
        metadata: metadata(facts)?,
        resource_type: facts.resource_type.as_deref().map(text::bounded),
        resource_id: facts.resource_id.as_deref().map(text::bounded),
        ..Record::default()
    };
    match draft.actor {
        Actor::Verified(identity) => by(&mut record, identity),
        Actor::System(task) => {
            record.actor_type = "system";
            record.actor_id = Some(text::bounded(task));
        }
        Actor::Anonymous => record.actor_type = "anonymous",
    }
    let reason;
    match draft.what {
        What::Event { outcome, reason } => {
            record.action = facts
                .action
                .as_deref()
                .map(text::bounded)
                .unwrap_or_default();
            record.outcome = outcome.as_str();
            record.reason = reason.map(text::bounded);
        }
        What::Intent(request) => {
            head_fields(&mut record, facts, request);
            record.outcome = INTENT;
        }
        What::Request(request) => {
            reason = request_fields(&mut record, facts, request);
            record.reason = reason.as_deref().map(text::bounded);
            record.limit = reason
                .as_deref()
                .and_then(|reason| reason.strip_prefix("rate_limited:"))
                .map(text::bounded);
        }
    }
    serde_json::to_writer(out, &record)
}

fn by<'a>(record: &mut Record<'a>, identity: &'a Identity) {
    let actor = identity.actor();
    record.actor_type = actor.kind().as_str();
    record.actor_id = Some(actor.id().as_str().into());
    record.credential_id = identity.credential().map(AsRef::as_ref);
    if !identity.actors().is_empty() {
        record.actors = identity.actors().iter().map(ActorRef::from).collect();
        record.on_behalf_of = Some(identity.principal().id().as_str());
        record.on_behalf_of_type = Some(identity.principal().kind().as_str());
    }
}

fn request_fields<'a>(
    record: &mut Record<'a>,
    facts: &'a TrailFacts,
    request: &'a Request,
) -> Option<Cow<'static, str>> {
    let progress = &request.progress;
    let (outcome, reason) = decide(&Ended {
        end: progress.how(),
        status: progress.status(),
        grpc_status: progress.grpc_status(),
        rejection: facts.rejection.as_ref(),
        refused: progress.is_refused(),
        identity: facts
            .identity
            .as_ref()
            .and_then(|identity| identity.ended()),
    });
    head_fields(record, facts, request);
    record.outcome = outcome.as_str();
    record.bytes = Some(progress.bytes());
    record.duration_us = Some(u64::try_from(progress.duration().as_micros()).unwrap_or(u64::MAX));
    record.grpc_status = progress.grpc_status();
    record.status = progress.status().map(|status| status.as_u16());
    reason
}

fn head_fields<'a>(record: &mut Record<'a>, facts: &'a TrailFacts, request: &'a Request) {
    let path = request.path.show();
    record.action = match &facts.action {
        Some(action) => text::bounded(action),
        None => default_action(request.grpc, &request.method, &path).into(),
    };
    record.method = Some(text::bounded(request.method.as_str()));
    record.path = Some(path);
    record.request_id = facts
        .request_id
        .as_ref()
        .or(request.id.as_ref())
        .map(ToString::to_string);
}

/// `http.get`; over gRPC `package.Service/Method`.
fn default_action(grpc: bool, method: &Method, path: &str) -> String {
    if grpc {
        return text::bounded(path.strip_prefix('/').unwrap_or(path)).into_owned();
    }
    format!(
        "http.{}",
        text::bounded(&method.as_str().to_ascii_lowercase())
    )
}

fn metadata(facts: &TrailFacts) -> serde_json::Result<Option<Box<RawValue>>> {
    if facts.details.is_empty() {
        return Ok(None);
    }
    let details: Map<String, Value> = text::details(&facts.details);
    let canonical = serde_json_canonicalizer::to_string(&details)?;
    RawValue::from_string(canonical).map(Some)
}

const MICROS_PER_SEC: u64 = 1_000_000;

/// Microseconds since 1970.
pub(crate) const fn micros(at: UnixTime) -> u64 {
    at.as_nanos() / 1_000
}

/// RFC 3339, in UTC, with microseconds.
pub(crate) fn timestamp(at: UnixTime) -> String {
    // A `UnixTime` ends in the year 2554, a calendar date in the year 9999.
    let date = i64::try_from(at.as_secs())
        .ok()
        .and_then(|secs| OffsetDateTime::from_unix_timestamp(secs).ok())
        .unwrap_or(OffsetDateTime::UNIX_EPOCH);
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:06}Z",
        date.year(),
        u8::from(date.month()),
        date.day(),
        date.hour(),
        date.minute(),
        date.second(),
        micros(at) % MICROS_PER_SEC,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Durability,
        outcome::End,
        request::{Arrival, PathText, Progress},
    };
    use http::StatusCode;
    use proptest::prelude::*;
    use serde_json::json;
    use std::time::Duration;
    use tenant_context::{Monotonic, Rejection, Trail};
    use time::format_description::well_known::Rfc3339;

    fn finished(path: &str) -> Request {
        let progress = Progress::new();
        progress.answered(StatusCode::OK);
        progress.data(7);
        progress.end(End::Complete, Duration::from_micros(42));
        let arrival = Arrival {
            unix: UnixTime::from_secs(1),
            monotonic: Monotonic::default(),
        };
        let request = http::Request::get("/").body(()).unwrap();
        Request {
            path: PathText::of(path),
            progress,
            ..Request::of(&request, arrival, Durability::Deferred, false)
        }
    }

    fn encoded(facts: &TrailFacts, request: &Request) -> String {
        let mut out = Vec::new();
        let draft = Draft {
            event_id: "1",
            tenant: None,
            actor: Actor::Anonymous,
            at: request.arrival.unix,
            facts,
            what: What::Request(request),
        };
        encode(&draft, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn facts_of(trail: &Trail) -> TrailFacts {
        trail.with(std::mem::take).unwrap()
    }

    #[test]
    fn a_record_has_the_plain_names() {
        let trail = Trail::open();
        trail
            .action("invoice.read")
            .resource("invoice", 17)
            .detail("amount", 3);
        assert_eq!(
            encoded(&facts_of(&trail), &finished("/invoices/17")),
            r#"{"action":"invoice.read","actor_type":"anonymous","bytes":7,"duration_us":42,"event_id":"1","metadata":{"amount":3},"method":"GET","outcome":"success","path":"/invoices/17","resource_id":"17","resource_type":"invoice","schema":"tenant-audit/1","status":200,"timestamp":"1970-01-01T00:00:01.000000Z"}"#
        );
    }

    #[test]
    fn the_binding_limit_and_the_default_action_are_shown() {
        let trail = Trail::open();
        let _refused = trail.deny(Rejection::quota_exceeded("agent", None));
        let mut request = finished("/billing.v1.Invoices/Read");
        request.progress.answered(StatusCode::TOO_MANY_REQUESTS);
        let facts = facts_of(&trail);
        let http: Value = serde_json::from_str(&encoded(&facts, &request)).unwrap();
        assert_eq!(
            (
                &http["limit"],
                &http["reason"],
                &http["outcome"],
                &http["action"]
            ),
            (
                &json!("agent"),
                &json!("rate_limited:agent"),
                &json!("blocked"),
                &json!("http.get")
            )
        );
        request.grpc = true;
        let grpc: Value = serde_json::from_str(&encoded(&facts, &request)).unwrap();
        assert_eq!(grpc["action"], "billing.v1.Invoices/Read");
    }

    #[test]
    fn i6_an_oversize_request_is_cut_and_fails_nothing() {
        let trail = Trail::open();
        let huge = "\u{9b}".repeat(100_000);
        trail.action(huge.clone()).resource(huge.clone(), &huge);
        for n in 0..100 {
            trail.detail(format!("{n}{huge}"), huge.clone());
        }
        let line = encoded(
            &facts_of(&trail),
            &finished(&format!("/{}", "p".repeat(100_000))),
        );
        assert!(line.len() < 64 * 1024, "{}", line.len());
        assert!(line.contains("details_dropped"));
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 16, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::vec((any::<String>(), inner), 0..4)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn records_are_canonical_and_one_line(
            action in any::<String>(), path in any::<String>(), id in any::<String>(),
            details in proptest::collection::vec((any::<String>(), value()), 0..20),
            bytes in 0_usize..(1 << 52), status in 100_u16..600,
        ) {
            let trail = Trail::open();
            trail.action(action).resource("r", id);
            for (name, value) in details {
                trail.detail(name, value);
            }
            let request = finished(&path);
            request.progress.data(bytes);
            request.progress.answered(StatusCode::from_u16(status).unwrap());
            let line = encoded(&facts_of(&trail), &request);
            prop_assert_eq!(&serde_json_canonicalizer::pipe(&line).unwrap(), &line);
            prop_assert!(!line.contains(|c: char| c.is_control()));
        }

        #[test]
        fn timestamps_are_rfc_3339(nanos in any::<u64>()) {
            let shown = timestamp(UnixTime::from_nanos(nanos));
            let read = OffsetDateTime::parse(&shown, &Rfc3339).unwrap();
            prop_assert_eq!(read.unix_timestamp_nanos(), i128::from(nanos.saturating_sub(nanos % 1_000)));
            prop_assert_eq!(shown.len(), 27);
        }
    }
}
