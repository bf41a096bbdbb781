//! One record: its fields, and its canonical bytes.

use std::{borrow::Cow, io::Write as _};

use http::Method;
use tenant_context::{Identity, ToolCall, TrailFacts};

use crate::{
    actions::Actions,
    actor::Actor,
    draft::{Draft, What},
    json::{self, Members, key},
    outcome::{Ended, decide},
    personal::{self, Keyring},
    request::Request,
    stamp::{self, Stamps},
    text,
};

/// The schema that records name. A field added later changes no old record's bytes.
pub(crate) const SCHEMA: &str = "tenant-audit/1";

/// The outcome of an intent: not known yet.
pub(crate) const INTENT: &str = "intent";

/// What encoding needs beside a draft: how actions are named, the keys of personal values, and what the
/// record before left to be used again.
#[derive(Debug, Default)]
pub(crate) struct Encoder {
    pub(crate) actions: Actions,
    pub(crate) keys: Option<Keyring>,
    pub(crate) stamps: Stamps,
    /// Of ends: requests begin in different seconds and are over in nearly the same one.
    pub(crate) ends: Stamps,
}

/// The last refusal's limit, where it was one.
const LIMIT: &str = "rate_limited:";

impl Encoder {
    /// Writes a record's canonical bytes to `out`: its members stand in the order of their names.
    pub(crate) fn encode(
        &mut self,
        draft: &Draft<'_>,
        out: &mut Vec<u8>,
    ) -> serde_json::Result<()> {
        let (facts, request, ended) = (draft.facts, draft.what.request(), draft.what.ended());
        let (outcome, reason) = match draft.what {
            What::Event { outcome, reason } => (outcome.as_str(), reason.map(Cow::Borrowed)),
            What::Intent(_) => (INTENT, None),
            What::Request(request) => {
                let (outcome, reason) = decide(&Ended::of(request, facts));
                (outcome.as_str(), reason)
            }
        };
        let path = request.map(|request| request.path.text());
        let more = facts.more.as_deref();
        let mut members = Members::begin(out);

        accesses(facts, &mut members);
        match (&facts.action, request) {
            (Some(action), _) => members.bounded(key!("action"), action),
            (None, Some(request)) => {
                let path = path.as_deref().unwrap_or_default();
                match self.actions.of(&request.method, path) {
                    Some(action) => members.bounded(key!("action"), action),
                    None => default_action(request, path, members.name(key!("action"))),
                }
            }
            (None, None) => members.bounded(key!("action"), ""),
        }
        draft.actor.name(&mut members);
        members.maybe_number(key!("bytes"), ended.map(|request| request.progress.bytes()));
        members.maybe(key!("cache"), facts.cache);
        if let Actor::Verified(identity) = draft.actor {
            members.maybe(
                key!("credential_id"),
                identity.credential().map(AsRef::as_ref),
            );
        }
        let dropped = Some(facts.details_dropped).filter(|dropped| *dropped > 0);
        members.maybe_number(key!("details_dropped"), dropped);
        if let Some(request) = ended {
            let micros = request.progress.duration().as_micros();
            let micros = u64::try_from(micros).unwrap_or(u64::MAX);
            members.number(key!("duration_us"), micros);
            let end = stamp::after(draft.at, micros);
            members.plain(key!("end_timestamp"), self.ends.of(end));
        }
        members.plain(key!("event_id"), draft.event_id.as_bytes());
        members.maybe_number(
            key!("grpc_status"),
            ended.and_then(|request| request.progress.grpc_status()),
        );
        if let Some(ip) = request.and_then(|request| request.client) {
            let out = members.name(key!("ip_address"));
            // Writing to a vector does not fail.
            drop(write!(out, "\"{ip}\""));
        }
        if ended.is_some() {
            let limit = reason
                .as_deref()
                .and_then(|reason| reason.strip_prefix(LIMIT));
            members.maybe(key!("limit"), limit);
        }
        if !facts.details.is_empty() {
            json::details(&facts.details, members.name(key!("metadata")))?;
        }
        members.maybe(
            key!("method"),
            request.map(|request| request.method.as_str()),
        );
        draft.actor.name_principal(&mut members);
        members.plain(key!("outcome"), outcome.as_bytes());
        if let Some(path) = &path {
            json::string(path, members.name(key!("path")));
        }
        if let Some(more) = more.filter(|more| !more.personal.is_empty()) {
            let keys = self.keys.as_mut();
            personal::write(&more.personal, draft, keys, members.name(key!("personal")));
        }
        if let Some(purpose) = draft.actor.identity().and_then(Identity::purpose) {
            members.bounded(key!("purpose"), purpose);
        }
        members.maybe(key!("reason"), reason.as_deref());
        if let Some(id) = &facts.request_id {
            // Its alphabet needs no escape.
            drop(write!(members.name(key!("request_id")), "\"{id}\""));
        }
        members.maybe(key!("resource_id"), facts.resource_id.as_deref());
        members.maybe(key!("resource_type"), facts.resource_type.as_deref());
        members.plain(key!("schema"), SCHEMA.as_bytes());
        if let Some(trace) = facts.trace() {
            members.plain(key!("span_id"), trace.span_id().as_bytes());
        }
        members.maybe_number(
            key!("status"),
            ended.and_then(|request| Some(request.progress.status()?.as_u16())),
        );
        members.maybe(key!("tenant_id"), draft.tenant);
        members.plain(key!("timestamp"), self.stamps.of(draft.at));
        if let Some(tool) = more.and_then(|more| more.tool.as_ref()) {
            tool_call(tool, members.name(key!("tool")));
        }
        if let Some(trace) = facts.trace() {
            members.plain(key!("trace_id"), trace.trace_id().as_bytes());
        }
        members.end();
        Ok(())
    }
}

impl<'a> Ended<'a> {
    fn of(request: &Request, facts: &'a TrailFacts) -> Self {
        let progress = &request.progress;
        Self {
            end: progress.how(),
            status: progress.status(),
            grpc_status: progress.grpc_status(),
            rejection: facts.rejection.as_ref(),
            refused: progress.is_refused(),
            identity: facts
                .identity
                .as_ref()
                .and_then(|identity| identity.ended()),
        }
    }
}

fn accesses(facts: &TrailFacts, members: &mut Members<'_>) {
    let Some(more) = facts.more.as_deref() else {
        return;
    };
    if !more.accesses.is_empty() {
        json::list(
            &more.accesses,
            members.name(key!("accesses")),
            |access, out| {
                let mut members = Members::begin(out);
                members.bounded(key!("action"), &access.action);
                members.bounded(key!("resource_id"), &access.resource_id);
                members.bounded(key!("resource_type"), &access.resource_type);
                members.end();
            },
        );
    }
    let dropped = Some(more.accesses_dropped).filter(|dropped| *dropped > 0);
    members.maybe_number(key!("accesses_dropped"), dropped);
}

fn tool_call(tool: &ToolCall, out: &mut Vec<u8>) {
    let mut members = Members::begin(out);
    members.maybe(key!("call_id"), tool.call_id.as_deref());
    members.bounded(key!("name"), &tool.name);
    members.end();
}

/// `http.get`; over gRPC `package.Service/Method`.
fn default_action(request: &Request, path: &str, out: &mut Vec<u8>) {
    if request.grpc {
        json::string(text::cut(path.strip_prefix('/').unwrap_or(path)), out);
        return;
    }
    let known = match request.method {
        Method::GET => "\"http.get\"",
        Method::POST => "\"http.post\"",
        Method::PUT => "\"http.put\"",
        Method::DELETE => "\"http.delete\"",
        _ => {
            let method = request.method.as_str().to_ascii_lowercase();
            return json::string(text::cut(&format!("http.{method}")), out);
        }
    };
    out.extend_from_slice(known.as_bytes());
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;
    use crate::{
        outcome::End,
        request::{PathText, Progress, Taken},
    };
    use http::StatusCode;
    use proptest::prelude::*;
    use serde_json::{Value, json};
    use std::time::Duration;
    use tenant_context::{Monotonic, Rejection, Trail, UnixTime};

    fn finished(path: &str) -> Request {
        let progress = Progress::new();
        progress.answered(StatusCode::OK);
        progress.data(7);
        progress.end(End::Complete, Duration::from_micros(42));
        let request = http::Request::get("/").body(()).unwrap();
        Request {
            path: PathText::of(path),
            progress,
            ..Request::of(&request, Monotonic::default(), Taken::default())
        }
    }

    fn encoded(facts: &TrailFacts, request: &Request) -> String {
        let mut out = Vec::new();
        let draft = Draft {
            event_id: "1",
            tenant: None,
            actor: Actor::Anonymous,
            at: UnixTime::from_secs(1),
            facts,
            what: What::Request(request),
        };
        Encoder::default().encode(&draft, &mut out).unwrap();
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
            r#"{"action":"invoice.read","actor_type":"anonymous","bytes":7,"duration_us":42,"end_timestamp":"1970-01-01T00:00:01.000042Z","event_id":"1","metadata":{"amount":3},"method":"GET","outcome":"success","path":"/invoices/17","resource_id":"17","resource_type":"invoice","schema":"tenant-audit/1","status":200,"timestamp":"1970-01-01T00:00:01.000000Z"}"#
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

    #[test]
    fn i6_the_longest_record_is_shorter_than_what_is_read() {
        let trail = Trail::open();
        // Each byte becomes six.
        let huge = "\u{1}".repeat(100_000);
        trail.action(huge.clone()).resource(huge.clone(), &huge);
        trail.tool_call(huge.clone(), Some(&huge));
        for n in 0..100 {
            let name = format!("{n}{huge}");
            trail.detail(name.clone(), "\u{1}".repeat(170));
            trail.personal(name, huge.clone());
            trail.access(huge.clone(), huge.clone(), &huge);
        }
        let record = encoded(&facts_of(&trail), &finished(&format!("/{huge}")));
        let length = u64::try_from(record.len()).unwrap();
        assert!(length > 300_000, "{length}");
        assert!(
            length < crate::sink::file::spill::MAX_RECORD / 2,
            "{length}"
        );
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
    }
}
