//! What passes through in both directions.

use std::pin::pin;

use http::{Request, header};
use http_body::Body;

use crate::contract::{
    Behaviour, Fault, Layered, Probe, ProbeBody, ProbeService,
    ledger::Received,
    rig::{Check, Kind, Read, Rig, ensure, is_the_handlers},
};

const FRAMES: [&str; 3] = ["one", "", "three"];

pub(in crate::contract) fn request_body<F, S>(probe: &Probe<F>) -> Check
where
    F: Fn(ProbeService) -> S,
    S: Layered,
{
    let bodies = || {
        [
            ProbeBody::default(),
            ProbeBody::new(FRAMES),
            ProbeBody::new(FRAMES).yielding().unsized_hint(),
            ProbeBody::new(FRAMES).trailers(),
            ProbeBody::new(FRAMES).failing(),
        ]
    };
    let expected = [
        received(0, false, false),
        received(3, false, false),
        received(3, false, false),
        received(3, true, false),
        received(1, false, true),
    ];
    for kind in probe.kinds().filter(|kind| kind.calls() == 1) {
        for (body, expected) in bodies().into_iter().zip(&expected) {
            let (rig, mut service) = Rig::new(probe, Behaviour::new());
            rig.ready(&mut service)?;
            let body = rig.handler.request_body(body);
            let request: Request<ProbeBody> = probe.request(kind).map(|_| body);
            rig.response(pin!(service.call(request)))?;
            let read = rig.ledger.received();
            ensure(read.first() == Some(expected), || {
                format!("the handler read {read:?} where {expected:?} was sent")
            })?;
            drop(service);
            rig.at_rest()?;
        }
    }
    Ok(())
}

fn received(frames: usize, trailers: bool, failed: bool) -> Received {
    Received {
        data: FRAMES.into_iter().take(frames).map(Into::into).collect(),
        trailers,
        failed,
    }
}

pub(in crate::contract) fn response_body<F, S>(probe: &Probe<F>) -> Check
where
    F: Fn(ProbeService) -> S,
    S: Layered,
{
    for kind in probe.kinds() {
        if kind.calls() == 0 {
            refusal(probe, kind)?;
            continue;
        }
        for behaviour in [
            Behaviour::new(),
            Behaviour::new().frames(FRAMES),
            Behaviour::new().frames(FRAMES).unsized_hint(),
            Behaviour::new().frames(FRAMES).trailers(),
        ] {
            let (rig, mut service) = Rig::new(probe, behaviour.clone());
            let read = exchange(&rig, &mut service, kind)?;
            ensure(read.error.is_none(), || {
                format!("the response's body failed: {:?}", read.error)
            })?;
            let sent = behaviour.sends();
            ensure((bytes(&read), read.trailers) == sent, || {
                format!("the client read {read:?} where {sent:?} was sent")
            })?;
            rig.at_rest()?;
        }
        error_passes(probe, kind)?;
        dropped_half_way(probe, kind)?;
    }
    Ok(())
}

fn refusal<F, S>(probe: &Probe<F>, kind: Kind) -> Check
where
    F: Fn(ProbeService) -> S,
    S: Layered,
{
    let (rig, mut service) = Rig::new(probe, Behaviour::new());
    rig.ready(&mut service)?;
    let response = rig.response(pin!(service.call(rig.request(kind))))?;
    let length = response.headers().get(header::CONTENT_LENGTH).cloned();
    let read = rig.read(response.into_body())?;
    let sent = bytes(&read).len();
    ensure(
        length.is_none_or(|length| length.as_bytes() == sent.to_string().as_bytes()),
        || format!("a refusal's `content-length` is not the {sent} bytes that were sent"),
    )
}

fn error_passes<F, S>(probe: &Probe<F>, kind: Kind) -> Check
where
    F: Fn(ProbeService) -> S,
    S: Layered,
{
    let (rig, mut service) = Rig::new(probe, Behaviour::new().frames(FRAMES));
    rig.handler.inject(Fault::ErrorInBody);
    match exchange(&rig, &mut service, kind)?.error {
        Some(error) => ensure(is_the_handlers(error), || {
            "the body's error does not name the handler's as its source".to_owned()
        })?,
        None => {
            return Err(
                "the handler's body failed half-way, but the client sees a complete response"
                    .to_owned(),
            );
        }
    }
    rig.at_rest()
}

fn dropped_half_way<F, S>(probe: &Probe<F>, kind: Kind) -> Check
where
    F: Fn(ProbeService) -> S,
    S: Layered,
{
    for frames in 0..FRAMES.len() {
        let behaviour = Behaviour::new().frames(FRAMES).trailers();
        let (rig, mut service) = Rig::new(probe, behaviour);
        rig.ready(&mut service)?;
        let response = rig.response(pin!(service.call(rig.request(kind))))?;
        let mut body = Box::pin(response.into_body());
        for _ in 0..frames {
            let _frame = rig
                .rest(&rig.polls, |cx| body.as_mut().poll_frame(cx))
                .map(drop);
        }
        drop(body);
        rig.at_rest()
            .map_err(|why| format!("a response's body dropped after {frames} frames: {why}"))?;
        rig.exchange(&mut service, kind)?;
    }
    Ok(())
}

fn exchange<F, S>(rig: &Rig<'_, F>, service: &mut S, kind: Kind) -> Result<Read, String>
where
    F: Fn(ProbeService) -> S,
    S: Layered,
{
    rig.ready(service)?;
    let response = rig.response(pin!(service.call(rig.request(kind))))?;
    rig.read(response.into_body())
}

fn bytes(read: &Read) -> Vec<u8> {
    read.data.concat()
}
