//! The bodies of refusals.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project::pin_project;

/// The inner service's body, or none: what a rejecting layer answers with. It asks nothing of the
/// inner body, so a layer that refuses fits every service.
#[pin_project(project = RefusalBodyProj)]
#[derive(Debug)]
#[allow(
    clippy::exhaustive_enums,
    reason = "layers outside this crate match on it"
)]
pub enum RefusalBody<B> {
    /// The inner service's body.
    Inner(#[pin] B),
    /// No bytes.
    Empty,
}

impl<B: Body> Body for RefusalBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        match self.project() {
            RefusalBodyProj::Inner(body) => body.poll_frame(cx),
            RefusalBodyProj::Empty => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Inner(body) => body.is_end_stream(),
            Self::Empty => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Inner(body) => body.size_hint(),
            Self::Empty => SizeHint::with_exact(0),
        }
    }
}

/// The inner service's body, or a rendered refusal.
#[pin_project]
#[derive(Debug)]
pub struct RenderBody<B>(#[pin] RenderBodyState<B>);

#[pin_project(project = RenderBodyProj)]
#[derive(Debug)]
enum RenderBodyState<B> {
    Inner(#[pin] B),
    Rendered(Option<Bytes>),
}

impl<B> RenderBody<B> {
    pub(super) fn inner(body: B) -> Self {
        Self(RenderBodyState::Inner(body))
    }

    pub(super) fn rendered(bytes: Bytes) -> Self {
        Self(RenderBodyState::Rendered(
            Some(bytes).filter(|bytes| !bytes.is_empty()),
        ))
    }
}

impl<B: Body<Data = Bytes>> Body for RenderBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        match self.project().0.project() {
            RenderBodyProj::Inner(body) => body.poll_frame(cx),
            RenderBodyProj::Rendered(bytes) => {
                Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            RenderBodyState::Inner(body) => body.is_end_stream(),
            RenderBodyState::Rendered(bytes) => bytes.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            RenderBodyState::Inner(body) => body.size_hint(),
            RenderBodyState::Rendered(bytes) => SizeHint::with_exact(
                bytes
                    .as_ref()
                    .map_or(0, |bytes| u64::try_from(bytes.len()).unwrap_or(u64::MAX)),
            ),
        }
    }
}
