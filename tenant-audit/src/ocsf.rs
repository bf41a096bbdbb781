//! Records as events of the Open Cybersecurity Schema Framework: class API Activity, with the profiles
//! `record_integrity`, `trace` and `ai_operation`.

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use tenant_context::UnixTime;

use crate::{ChainId, chain::record_of, record::INTENT, stamp};

/// The first one that has `record_integrity` and `ai_agent`.
const VERSION: &str = "1.9.0";
const CLASS: u64 = 6003;
const SHA_256: u64 = 3;

/// Renders one chain's lines, in their order.
pub(crate) struct Events {
    chain: String,
    /// The event before, as its successor names it.
    previous: Option<Value>,
}

fn text<'a>(record: &'a Value, name: &str) -> Option<&'a str> {
    record.get(name)?.as_str()
}

const fn millis(at: UnixTime) -> u64 {
    at.as_nanos() / 1_000_000
}

/// Of canonical bytes (RFC 8785), or of bytes as they are.
fn fingerprint(digest: &str, canonical: bool) -> Value {
    let (serialization, id) = if canonical { ("JCS", 2) } else { ("Flat", 1) };
    json!({
        "algorithm": "SHA-256", "algorithm_id": SHA_256,
        "encoding": "Hex", "encoding_id": 1,
        "serialization": serialization, "serialization_id": id,
        "value": digest,
    })
}

impl Events {
    pub(crate) fn of(chain: &ChainId) -> Self {
        Self {
            chain: chain.stem(),
            previous: None,
        }
    }

    /// A line's event; `None` if the line holds no record that can be read.
    ///
    /// The fingerprint is of the event's canonical bytes (RFC 8785) without the fingerprint itself, as the profile
    /// `record_integrity` asks; `raw_data` are the bytes of the record, whose digest the chain commits to.
    pub(crate) fn event(&mut self, line: &[u8]) -> Option<Value> {
        let raw = record_of(line)?;
        let record: Value = serde_json::from_str(raw).ok()?;
        let mut event = self.render(line, raw, &record)?;
        let canonical = serde_json_canonicalizer::to_vec(&event).ok()?;
        let fingerprint = fingerprint(&hex::encode(Sha256::digest(canonical)), true);
        self.previous = Some(json!({
            "uid": event.pointer("/metadata/uid"),
            "type_uid": event.get("type_uid"),
            "fingerprint": fingerprint,
        }));
        let attestation = event.pointer_mut("/attestation_list/0")?.as_object_mut()?;
        attestation.insert("fingerprint".to_owned(), fingerprint);
        Some(event)
    }

    fn render(&self, line: &[u8], raw: &str, record: &Value) -> Option<Value> {
        let event_id = text(record, "event_id")?;
        let start = millis(stamp::parse(text(record, "timestamp")?)?);
        let action = text(record, "action")?;
        let outcome = text(record, "outcome")?;
        let activity = activity(record, action);
        let (status, status_id) = match outcome {
            "success" => ("Success", 1),
            INTENT => ("Unknown", 0),
            _ => ("Failure", 2),
        };
        // An intent is an event of its own, and its record shares its outcome's id.
        let id = match outcome {
            INTENT => format!("{event_id}:intent"),
            _ => event_id.to_owned(),
        };
        let severity = if outcome == "blocked" { 2 } else { 1 };
        let line: Value = serde_json::from_slice(line).ok()?;
        let mut attestation = json!({"uid": id, "chain_uid": self.chain});
        if let (Some(previous), Some(attestation)) = (&self.previous, attestation.as_object_mut()) {
            attestation.insert("prev_event".to_owned(), previous.clone());
        }
        let mut event = json!({
            "activity_id": activity,
            "category_uid": 6,
            "class_uid": CLASS,
            "type_uid": CLASS.saturating_mul(100).saturating_add(activity),
            "time": start,
            "start_time": start,
            "severity_id": severity,
            "status": status,
            "status_id": status_id,
            "metadata": {
                "version": VERSION,
                "uid": id,
                "original_event_uid": event_id,
                "profiles": ["record_integrity", "trace", "ai_operation"],
                "product": {"name": "tenant-audit", "vendor_name": "tenant"},
            },
            "actor": actor(record),
            "api": {"operation": action},
            "src_endpoint": endpoint(record),
            "attestation_list": [attestation],
            "raw_data": raw,
            "raw_data_hash": fingerprint(&hex::encode(Sha256::digest(raw)), false),
            "unmapped": unmapped(record, outcome, json!({
                "seq": line.get("seq"), "prev": line.get("prev"), "hash": line.get("hash"),
            })),
        });
        let members = event.as_object_mut()?;
        if let (Some(tenant), Some(metadata)) = (
            text(record, "tenant_id"),
            members.get_mut("metadata").and_then(Value::as_object_mut),
        ) {
            metadata.insert("tenant_uid".to_owned(), tenant.into());
        }
        more(members, record, start);
        Some(event)
    }
}

/// Create, read, update, delete: by the last word of the action, else by the method; 99 is any other.
fn activity(record: &Value, action: &str) -> u64 {
    let verb = action.rsplit('.').next().unwrap_or_default();
    let by = |word: &str| match word {
        "create" | "post" | "POST" => Some(1),
        "read" | "list" | "get" | "head" | "GET" | "HEAD" => Some(2),
        "update" | "write" | "put" | "patch" | "PUT" | "PATCH" => Some(3),
        "delete" | "DELETE" => Some(4),
        _ => None,
    };
    by(verb)
        .or_else(|| by(text(record, "method")?))
        .unwrap_or(99)
}

/// The user is on whose behalf it was done; an agent or a service is the application that did it.
fn actor(record: &Value) -> Value {
    let id = text(record, "actor_id").unwrap_or("anonymous");
    let kind = text(record, "actor_type").unwrap_or_default();
    let (user, of) = match text(record, "on_behalf_of") {
        Some(principal) => (principal, text(record, "on_behalf_of_type")),
        None => (id, Some(kind)),
    };
    let of = of.unwrap_or_default();
    let type_id = match of {
        "human" => 1,
        "system" => 3,
        "service" => 4,
        "anonymous" => 0,
        _ => 99,
    };
    let mut actor = Map::new();
    actor.insert(
        "user".to_owned(),
        json!({"uid": user, "type": of, "type_id": type_id}),
    );
    if matches!(kind, "agent" | "service") {
        actor.insert("application".to_owned(), json!({"uid": id}));
    }
    if let Some(credential) = text(record, "credential_id") {
        actor.insert("session".to_owned(), json!({"credential_uid": credential}));
    }
    actor.into()
}

fn endpoint(record: &Value) -> Value {
    match text(record, "ip_address") {
        Some(ip) => json!({"ip": ip}),
        // One of its fields is required; a record without an address is of no connection, or of an unknown one.
        None => json!({"name": "unknown"}),
    }
}

/// What not every record has.
fn more(event: &mut Map<String, Value>, record: &Value, start: u64) {
    let mut put = |name: &str, value: Value| drop(event.insert(name.to_owned(), value));
    if let Some(end) = text(record, "end_timestamp").and_then(stamp::parse) {
        let end = millis(end);
        // From one to the other, as the schema has it: of less than a millisecond it may be one or none.
        put("duration", end.saturating_sub(start).into());
        put("end_time", end.into());
    }
    if let Some(reason) = text(record, "reason") {
        put("status_detail", reason.into());
    }
    if let Some(status) = record.get("status") {
        put("status_code", status.to_string().into());
        let mut response = json!({"code": status});
        if let (Some(bytes), Some(members)) = (record.get("bytes"), response.as_object_mut()) {
            members.insert("length".to_owned(), bytes.clone());
        }
        put("http_response", response);
    }
    if let (Some(method), Some(path)) = (text(record, "method"), text(record, "path")) {
        let mut request = json!({"http_method": method, "url": {"path": path}});
        if let (Some(id), Some(members)) = (text(record, "request_id"), request.as_object_mut()) {
            members.insert("uid".to_owned(), id.into());
        }
        put("http_request", request);
    }
    let mut resources = Vec::new();
    if let Some(id) = text(record, "resource_id") {
        let kind = text(record, "resource_type").unwrap_or_default();
        resources.push(json!({"uid": id, "type": kind}));
    }
    for access in record
        .get("accesses")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        resources.push(json!({
            "uid": text(access, "resource_id"), "type": text(access, "resource_type"),
            "labels": [text(access, "action")],
        }));
    }
    if !resources.is_empty() {
        put("resources", resources.into());
    }
    if text(record, "actor_type") == Some("agent")
        && let Some(id) = text(record, "actor_id")
    {
        put("ai_agent", json!({"uid": id, "name": id, "type_id": 0}));
    }
    if let Some(trace) = text(record, "trace_id") {
        put("trace", json!({"uid": trace}));
    }
}

/// What the schema has no words for. Of the caller's span it would want begin and end.
fn unmapped(record: &Value, outcome: &str, chain: Value) -> Value {
    const NAMES: [&str; 6] = [
        "operator_of",
        "purpose",
        "limit",
        "cache",
        "span_id",
        "grpc_status",
    ];
    let named = NAMES.iter().filter_map(|name| {
        let value = record.get(*name)?.clone();
        Some(((*name).to_owned(), value))
    });
    let mut unmapped: Map<String, Value> = named.collect();
    unmapped.insert("outcome".to_owned(), outcome.into());
    unmapped.insert("chain".to_owned(), chain);
    unmapped.into()
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;

    const RECORD: &str = r#"{"accesses":[{"action":"invoice.read","resource_id":"18","resource_type":"invoice"}],"action":"invoice.update","actor_id":"bot","actor_type":"agent","actors":[{"id":"bot","type":"agent"}],"bytes":7,"credential_id":"k1","duration_us":4200,"end_timestamp":"1970-01-01T00:00:01.005100Z","event_id":"e1","ip_address":"192.0.2.1","method":"POST","on_behalf_of":"ada","on_behalf_of_type":"human","outcome":"blocked","path":"/invoices/17","purpose":"support","reason":"scope","request_id":"r1","resource_id":"17","resource_type":"invoice","schema":"tenant-audit/1","span_id":"00f067aa0ba902b7","status":403,"tenant_id":"acme","timestamp":"1970-01-01T00:00:01.000900Z","trace_id":"4bf92f3577b34da6a3ce929d0e0e4736"}"#;

    fn line(seq: u64) -> Vec<u8> {
        format!(r#"{{"seq":{seq},"prev":"p","hash":"h","record":{RECORD}}}"#).into_bytes()
    }

    fn attestation(event: &Value) -> &Value {
        &event["attestation_list"][0]
    }

    #[test]
    fn an_event_has_what_the_class_and_its_objects_require() {
        let event = Events::of(&ChainId::platform()).event(&line(1)).unwrap();
        // Version 1.9.0; of those that are required of objects, the objects that are there.
        for required in [
            "/activity_id",
            "/category_uid",
            "/class_uid",
            "/severity_id",
            "/time",
            "/type_uid",
            "/metadata/version",
            "/metadata/product/name",
            "/metadata/uid",
            "/metadata/tenant_uid",
            "/actor/user/uid",
            "/actor/application/uid",
            "/actor/session/credential_uid",
            "/api/operation",
            "/src_endpoint/ip",
            "/http_request/url/path",
            "/http_response/code",
            "/ai_agent/uid",
            "/trace/uid",
            "/attestation_list/0/chain_uid",
            "/attestation_list/0/fingerprint/algorithm_id",
            "/attestation_list/0/fingerprint/value",
            "/raw_data_hash/algorithm_id",
            "/raw_data_hash/value",
            "/unmapped/chain/hash",
            "/unmapped/purpose",
        ] {
            assert!(event.pointer(required).is_some(), "{required}");
        }
        // A span would have to say when it began and ended, and a null is no value.
        assert!(event.pointer("/trace/span").is_none());
        assert!(!event.to_string().contains("null"), "{event:#}");
        assert_eq!(event["type_uid"], 600_303);
        let [start, end, duration] =
            ["start_time", "end_time", "duration"].map(|name| &event[name]);
        assert_eq!(
            (start, end, duration),
            (&json!(1000), &json!(1005), &json!(5))
        );
        assert_eq!(event["time"], *start);
        assert_eq!(
            event["actor"]["user"],
            json!({"uid": "ada", "type": "human", "type_id": 1})
        );
        assert_eq!(event["ai_agent"]["uid"], "bot");
        assert_eq!(event["metadata"]["tenant_uid"], "acme");
        assert_eq!(event["resources"].as_array().unwrap().len(), 2);
        assert_eq!(event["raw_data"], RECORD);
    }

    #[test]
    fn an_event_of_a_record_with_the_least_has_no_nulls() {
        let line = br#"{"seq":1,"prev":"p","hash":"h","record":{"action":"run","actor_type":"anonymous","event_id":"e","outcome":"intent","schema":"tenant-audit/1","status":200,"timestamp":"1970-01-01T00:00:01.000000Z"}}"#;
        let event = Events::of(&ChainId::platform()).event(line).unwrap();
        assert!(!event.to_string().contains("null"), "{event:#}");
        assert_eq!(event["src_endpoint"], json!({"name": "unknown"}));
        assert_eq!(event["actor"]["user"]["uid"], "anonymous");
        // An intent and its outcome are two events.
        assert_eq!(event["metadata"]["uid"], "e:intent");
        assert_eq!(event["metadata"]["original_event_uid"], "e");
    }

    #[test]
    fn an_event_attests_its_own_bytes_and_names_the_one_before() {
        let chain = ChainId::of_tenant("acme".parse().unwrap());
        let mut events = Events::of(&chain);
        let first = events.event(&line(1)).unwrap();
        assert!(
            attestation(&first).get("prev_event").is_none(),
            "the first has none"
        );
        let second = events.event(&line(2)).unwrap();
        assert_eq!(
            attestation(&second)["prev_event"],
            json!({
                "uid": "e1", "type_uid": 600_303,
                "fingerprint": attestation(&first)["fingerprint"],
            })
        );
        let mut bare = second.clone();
        let removed = bare["attestation_list"][0]
            .as_object_mut()
            .unwrap()
            .remove("fingerprint");
        let digest = hex::encode(Sha256::digest(
            serde_json_canonicalizer::to_vec(&bare).unwrap(),
        ));
        assert_eq!(removed.unwrap()["value"], digest);
    }

    #[test]
    fn activities_are_named_by_action_and_else_by_method() {
        let of = |action: &str, method: &str| activity(&json!({"method": method}), action);
        assert_eq!(of("invoice.read", "POST"), 2);
        assert_eq!(of("http.delete", "DELETE"), 4);
        assert_eq!(of("invoice.approve", "PUT"), 3);
        assert_eq!(of("report.sent", ""), 99);
    }
}
