//! Records as events of the Open Cybersecurity Schema Framework: class API Activity, with the profiles
//! `record_integrity`, `trace` and `ai_operation`.

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::{ChainId, chain::record_of, record::INTENT, stamp};

const VERSION: &str = "1.6.0";
const CLASS: u64 = 6003;
const SHA_256: u64 = 3;

/// Renders one chain's lines, in their order.
pub(crate) struct Events {
    chain: String,
    /// The event before: its id and its fingerprint.
    previous: Option<(String, String)>,
}

fn text<'a>(record: &'a Value, name: &str) -> Option<&'a str> {
    record.get(name)?.as_str()
}

fn fingerprint(digest: &str) -> Value {
    json!({"algorithm": "SHA-256", "algorithm_id": SHA_256, "value": digest})
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
    /// `record_integrity` asks; `raw_data` are the bytes that the record's own hash commits to.
    pub(crate) fn event(&mut self, line: &[u8]) -> Option<Value> {
        let raw = record_of(line)?;
        let record: Value = serde_json::from_str(raw).ok()?;
        let mut event = self.render(line, raw, &record)?;
        let canonical = serde_json_canonicalizer::to_vec(&event).ok()?;
        let digest = hex::encode(Sha256::digest(canonical));
        if let Some(attestation) = event.get_mut("attestation").and_then(Value::as_object_mut) {
            attestation.insert("fingerprint".to_owned(), fingerprint(&digest));
        }
        self.previous = Some((text(&record, "event_id")?.to_owned(), digest));
        Some(event)
    }

    fn render(&self, line: &[u8], raw: &str, record: &Value) -> Option<Value> {
        let id = text(record, "event_id")?;
        let at = stamp::parse(text(record, "timestamp")?)?;
        let millis = at.as_nanos() / 1_000_000;
        let action = text(record, "action")?;
        let outcome = text(record, "outcome")?;
        let activity = activity(record, action);
        let (status, status_id) = match outcome {
            "success" => ("Success", 1),
            INTENT => ("Unknown", 0),
            _ => ("Failure", 2),
        };
        let severity = if outcome == "blocked" { 2 } else { 1 };
        let line: Value = serde_json::from_slice(line).ok()?;
        let mut attestation = json!({"uid": id, "chain_uid": self.chain});
        if let (Some((uid, digest)), Some(attestation)) =
            (&self.previous, attestation.as_object_mut())
        {
            let previous = json!({"uid": uid, "fingerprint": fingerprint(digest)});
            attestation.insert("prev_event".to_owned(), previous);
        }
        let mut event = json!({
            "activity_id": activity,
            "category_uid": 6,
            "class_uid": CLASS,
            "type_uid": CLASS.saturating_mul(100).saturating_add(activity),
            "time": millis,
            "start_time": millis,
            "severity_id": severity,
            "status": status,
            "status_id": status_id,
            "metadata": {
                "version": VERSION,
                "uid": id,
                "profiles": ["record_integrity", "trace", "ai_operation"],
                "product": {"name": "tenant-audit", "vendor_name": "tenant"},
            },
            "actor": actor(record),
            "api": {"operation": action},
            "src_endpoint": endpoint(record),
            "attestation": attestation,
            "raw_data": raw,
            "raw_data_hash": fingerprint(&hex::encode(Sha256::digest(raw))),
            "unmapped": {
                "outcome": outcome,
                "chain": {"seq": line.get("seq"), "prev": line.get("prev"), "hash": line.get("hash")},
            },
        });
        let members = event.as_object_mut()?;
        more(members, record, millis);
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

fn actor(record: &Value) -> Value {
    let id = text(record, "actor_id").unwrap_or("anonymous");
    let user = match text(record, "on_behalf_of") {
        Some(principal) => json!({"uid": principal}),
        None => json!({"uid": id}),
    };
    let mut actor = json!({"user": user, "app_uid": id});
    if let (Some(credential), Some(members)) =
        (text(record, "credential_id"), actor.as_object_mut())
    {
        members.insert("session".to_owned(), json!({"credential_uid": credential}));
    }
    actor
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
    if let Some(tenant) = text(record, "tenant_id") {
        put("tenant_uid", tenant.into());
    }
    if let Some(micros) = record.get("duration_us").and_then(Value::as_u64) {
        let millis = micros / 1_000;
        put("duration", millis.into());
        put("end_time", start.saturating_add(millis).into());
    }
    if let Some(reason) = text(record, "reason") {
        put("status_detail", reason.into());
    }
    if let Some(status) = record.get("status") {
        put("status_code", status.to_string().into());
        put(
            "http_response",
            json!({"code": status, "length": record.get("bytes")}),
        );
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
        resources.push(json!({"uid": id, "type": text(record, "resource_type")}));
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
    // The schema has no words for them.
    let unmapped: Map<String, Value> = ["operator_of", "purpose"]
        .into_iter()
        .filter_map(|name| Some((name.to_owned(), text(record, name)?.into())))
        .collect();
    if !unmapped.is_empty() {
        put("unmapped", unmapped.into());
    }
    if let Some(trace) = text(record, "trace_id") {
        put(
            "trace",
            json!({"uid": trace, "span": {"uid": text(record, "span_id")}}),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECORD: &str = r#"{"accesses":[{"action":"invoice.read","resource_id":"18","resource_type":"invoice"}],"action":"invoice.update","actor_id":"bot","actor_type":"agent","actors":[{"id":"bot","type":"agent"}],"bytes":7,"credential_id":"k1","duration_us":4200,"event_id":"e1","ip_address":"192.0.2.1","method":"POST","on_behalf_of":"ada","on_behalf_of_type":"human","outcome":"blocked","path":"/invoices/17","reason":"scope","request_id":"r1","resource_id":"17","resource_type":"invoice","schema":"tenant-audit/1","span_id":"00f067aa0ba902b7","status":403,"tenant_id":"acme","timestamp":"1970-01-01T00:00:01.000000Z","trace_id":"4bf92f3577b34da6a3ce929d0e0e4736"}"#;

    fn line(seq: u64) -> Vec<u8> {
        format!(r#"{{"seq":{seq},"prev":"p","hash":"h","record":{RECORD}}}"#).into_bytes()
    }

    #[test]
    fn an_event_has_what_the_class_requires_and_attests_its_own_bytes() {
        let chain = ChainId::of_tenant("acme".parse().unwrap());
        let mut events = Events::of(&chain);
        let first = events.event(&line(1)).unwrap();
        for required in [
            "activity_id",
            "category_uid",
            "class_uid",
            "metadata",
            "severity_id",
            "time",
            "type_uid",
            "actor",
            "api",
            "src_endpoint",
        ] {
            assert!(first.get(required).is_some(), "{required}");
        }
        assert_eq!(first["type_uid"], 600_303);
        assert_eq!(
            (&first["time"], &first["end_time"]),
            (&json!(1000), &json!(1004))
        );
        assert_eq!(first["actor"]["user"]["uid"], "ada");
        assert_eq!(first["ai_agent"]["uid"], "bot");
        assert_eq!(first["tenant_uid"], "acme");
        assert_eq!(first["resources"].as_array().unwrap().len(), 2);
        assert_eq!(first["raw_data"], RECORD);
        assert!(
            first["attestation"].get("prev_event").is_none(),
            "the first has none"
        );

        let second = events.event(&line(2)).unwrap();
        let before = &first["attestation"]["fingerprint"];
        assert_eq!(&second["attestation"]["prev_event"]["fingerprint"], before);
        let mut bare = second.clone();
        let removed = bare["attestation"]
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
