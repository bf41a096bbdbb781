//! gRPC trailers-only answers with `google.rpc.Status` details.
//!
//! The five messages are written field by field with prost's encoder, which spares users the derive
//! macro and the generated code; the tests decode them with `tonic-types`.

use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use prost::encoding::{WireType, encode_key, encode_varint};

use crate::Rejection;

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const GRPC_STATUS_DETAILS: HeaderName = HeaderName::from_static("grpc-status-details-bin");

/// What `grpc-message` escapes (gRPC over HTTP/2, "Status-Message").
const MESSAGE: &AsciiSet = &CONTROLS.add(b'%');

/// `ErrorInfo.domain` of all answers.
pub(crate) const DOMAIN: &str = "tenant-context";

fn bytes_field(tag: u32, value: &[u8], out: &mut Vec<u8>) {
    encode_key(tag, WireType::LengthDelimited, out);
    encode_varint(u64::try_from(value.len()).unwrap_or(u64::MAX), out);
    out.extend_from_slice(value);
}

fn int_field(tag: u32, value: u64, out: &mut Vec<u8>) {
    if value != 0 {
        encode_key(tag, WireType::Varint, out);
        encode_varint(value, out);
    }
}

/// `google.protobuf.Any` in field 3 of `google.rpc.Status`.
fn detail(name: &str, message: &[u8], status: &mut Vec<u8>) {
    let mut any = Vec::with_capacity(message.len().saturating_add(64));
    bytes_field(
        1,
        format!("type.googleapis.com/google.rpc.{name}").as_bytes(),
        &mut any,
    );
    bytes_field(2, message, &mut any);
    bytes_field(3, &any, status);
}

/// `google.rpc.Status`.
pub(crate) fn status_details(rejection: &Rejection) -> Vec<u8> {
    let answer = rejection.answer();
    let mut status = Vec::with_capacity(192);
    int_field(1, answer.code.into(), &mut status);
    bytes_field(2, answer.detail.as_bytes(), &mut status);

    let mut info = Vec::with_capacity(64);
    bytes_field(1, answer.info.as_bytes(), &mut info);
    bytes_field(2, DOMAIN.as_bytes(), &mut info);
    if !rejection.required_scopes().is_empty() {
        let mut entry = Vec::new();
        bytes_field(1, b"required_scopes", &mut entry);
        bytes_field(
            2,
            rejection.required_scopes().join(" ").as_bytes(),
            &mut entry,
        );
        bytes_field(3, &entry, &mut info);
    }
    detail("ErrorInfo", &info, &mut status);

    if let Some(wait) = rejection.retry_after() {
        // A client that waits exactly this long is admitted: the duration is not rounded down.
        let mut delay = Vec::new();
        int_field(1, wait.as_secs(), &mut delay);
        int_field(2, wait.subsec_nanos().into(), &mut delay);
        let mut retry = Vec::new();
        bytes_field(1, &delay, &mut retry);
        detail("RetryInfo", &retry, &mut status);
    }
    if !rejection.violations().is_empty() {
        let mut failure = Vec::new();
        for violation in rejection.violations() {
            let mut message = Vec::new();
            bytes_field(1, violation.policy.as_bytes(), &mut message);
            bytes_field(2, violation.description.as_bytes(), &mut message);
            bytes_field(1, &message, &mut failure);
        }
        detail("QuotaFailure", &failure, &mut status);
    }
    status
}

#[cfg(feature = "tonic")]
pub(crate) fn code(rejection: &Rejection) -> u8 {
    rejection.answer().code
}

/// Writes the status into headers: of a trailers-only answer, or into trailers.
pub(crate) fn write_status(rejection: &Rejection, headers: &mut HeaderMap) {
    let answer = rejection.answer();
    headers.insert(GRPC_STATUS, u16::from(answer.code).into());
    if let Ok(message) =
        HeaderValue::try_from(utf8_percent_encode(answer.detail, MESSAGE).to_string())
    {
        headers.insert(GRPC_MESSAGE, message);
    }
    if let Ok(details) = HeaderValue::try_from(STANDARD_NO_PAD.encode(status_details(rejection))) {
        headers.insert(GRPC_STATUS_DETAILS, details);
    }
}

/// Headers of a trailers-only answer; the HTTP status stays 200.
pub(crate) fn trailers_only(rejection: &Rejection, headers: &mut HeaderMap) {
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/grpc"),
    );
    write_status(rejection, headers);
}
