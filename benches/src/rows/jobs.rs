//! A job sealed, and opened.

use std::{
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use tenant_auth::{TokenMinter, jobs::Jobs};

use super::{Definition, Shared, layer, stack};
use crate::{
    Result,
    row::{Operation, Row},
};

/// Of a few scopes' worth, as a report's parameters are.
const PAYLOAD: [u8; 256] = [b'x'; 256];

fn jobs() -> Result<Jobs> {
    Ok(Jobs::builder(stack::tenants()?)
        .queue("reports")
        .sign_with(TokenMinter::eddsa_generate("2026-01")?)
        .on_dead_letter(|_| ())
        .build()?)
}

pub(super) fn seal(definition: &'static Definition, shared: &Arc<Shared>) -> Result<Row> {
    let (jobs, context) = (jobs()?, layer::context(shared)?);
    Ok(definition.row(Operation::new(move || jobs.seal(&context, PAYLOAD).is_ok())))
}

pub(super) fn open(definition: &'static Definition, shared: &Arc<Shared>) -> Result<Row> {
    let jobs = jobs()?;
    let envelope = jobs.seal(&layer::context(shared)?, PAYLOAD)?;
    // A job that is dropped before it is done may be opened again.
    Ok(definition.row(Operation::new(move || {
        let mut opening = pin!(jobs.open(Some(&envelope)));
        let mut cx = Context::from_waker(Waker::noop());
        matches!(opening.as_mut().poll(&mut cx), Poll::Ready(Ok(_)))
    })))
}
