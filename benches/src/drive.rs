//! Drives a service without a runtime.

use std::{
    future::Future,
    hint::black_box,
    pin::pin,
    task::{Context, Poll, Waker},
};

use http::{Request, Response, StatusCode};
use http_body::Body;
use tower_service::Service;

/// What a row's requests met besides an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Tally {
    /// Requests that were answered with another status than 200, or whose service or body failed.
    pub refused: u64,
    /// The last such status.
    pub status: Option<StatusCode>,
    /// How often something was not ready at once.
    pub pended: u64,
}

impl Tally {
    fn refuse(&mut self, status: Option<StatusCode>) {
        self.refused = self.refused.saturating_add(1);
        self.status = status.or(self.status);
    }

    fn wait(&mut self) {
        self.pended = self.pended.saturating_add(1);
        std::thread::yield_now();
    }
}

/// One request's whole way: ready, call, the answer, and its body to the end.
#[inline]
pub fn answer<S, B, R>(service: &mut S, request: Request<B>, tally: &mut Tally)
where
    S: Service<Request<B>, Response = Response<R>>,
    R: Body,
{
    let mut cx = Context::from_waker(Waker::noop());
    loop {
        match service.poll_ready(&mut cx) {
            Poll::Ready(Ok(())) => break,
            Poll::Ready(Err(_)) => return tally.refuse(None),
            Poll::Pending => tally.wait(),
        }
    }
    let mut future = pin!(service.call(request));
    let answer = loop {
        match future.as_mut().poll(&mut cx) {
            Poll::Ready(answer) => break answer,
            Poll::Pending => tally.wait(),
        }
    };
    let Ok(response) = answer else {
        return tally.refuse(None);
    };
    if response.status() != StatusCode::OK {
        tally.refuse(Some(response.status()));
    }
    let (head, body) = response.into_parts();
    black_box(head);
    let mut body = pin!(body);
    // As hyper reads a body: nobody asks for another frame of one that says that it has ended.
    while !body.is_end_stream() {
        match body.as_mut().poll_frame(&mut cx) {
            Poll::Ready(None) => return,
            Poll::Ready(Some(Ok(frame))) => drop(black_box(frame)),
            Poll::Ready(Some(Err(_))) => return tally.refuse(None),
            Poll::Pending => tally.wait(),
        }
    }
}
