//! What is done with the response of a request that went to the handler.

use std::{sync::Arc, task::Context};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response, Uri, header};
use http_body::Body;
use tenant_context::Rejection;

use crate::{
    body::CacheBody, layer::Shared, marks::Tag, partition::Partition, policy, recording::Recording,
    status, target::Target,
};

pub(crate) enum Plan {
    /// It goes out as it is.
    Nothing,
    /// It says why the cache did not answer.
    Mark(Forward),
    /// Nothing is stored: the tenant's answers have not been worth remembering a request for. Whether this
    /// one would have been decides about the next.
    Watch(Arc<Partition>),
    /// It is stored, if it may be. In a box: the future of every other request stays small.
    Record(Box<Recording>),
    /// It makes what is stored of its target unreachable.
    Invalidate(Box<Invalidation>),
}

/// Why a request went to the handler (RFC 9211 §2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Forward {
    Bypass,
    Miss,
    Vary,
    Stale,
    Request,
}

/// A request that may have written. Unless it is known to have changed nothing, its target's responses are forgotten when
/// this is dropped, those of all authorities.
pub(crate) struct Invalidation {
    pub(crate) shared: Arc<Shared>,
    pub(crate) partition: Arc<Partition>,
    pub(crate) target: Tag,
    pub(crate) uri: Uri,
    /// The request's `Host`, alone.
    pub(crate) host: HeaderMap,
    pub(crate) method: Method,
    pub(crate) content: bool,
    pub(crate) settled: bool,
}

impl Invalidation {
    /// RFC 9111 §4.4.
    fn settle<B>(mut self: Box<Self>, response: &Response<B>) {
        let refused = response.extensions().get::<Rejection>().is_some();
        if refused || !policy::forgets(&self.method, self.content, response.status()) {
            self.settled = true;
            return;
        }
        for name in [header::LOCATION, header::CONTENT_LOCATION] {
            for reference in response.headers().get_all(name) {
                self.forget_related(reference);
            }
        }
    }

    fn forget_related(&self, reference: &HeaderValue) {
        let Some(target) = Target::of(&self.uri, &self.host) else {
            return;
        };
        match target.related(reference) {
            Ok(Some(resource)) => self
                .partition
                .marks
                .mark(self.shared.resource_tag(&resource)),
            Ok(None) => {}
            // Which of the tenant's it is cannot be told: all of them.
            Err(_) => self.partition.marks.mark(self.shared.all_responses()),
        }
    }
}

impl Drop for Invalidation {
    fn drop(&mut self) {
        if !self.settled {
            let tag = if self.shared.forgets_all {
                self.shared.all_responses()
            } else {
                self.target
            };
            self.partition.marks.mark(tag);
        }
    }
}

impl Plan {
    pub(crate) fn finish<B: Body<Data = Bytes>>(
        self,
        mut response: Response<B>,
        cx: &mut Context<'_>,
    ) -> Response<CacheBody<B>> {
        match self {
            Self::Nothing => {}
            Self::Invalidate(invalidation) => invalidation.settle(&response),
            Self::Mark(forward) => {
                let value = status::forwarded(forward, false);
                response.headers_mut().append(status::NAME, value);
            }
            Self::Watch(partition) => {
                if policy::promises(response.headers(), true) {
                    partition.learn(true);
                }
            }
            Self::Record(recording) => return recording.finish(response, cx),
        }
        response.map(|body| CacheBody::inner(body, None))
    }

    /// The handler failed: a stored response may stand in.
    pub(crate) fn stand_in<B: Body<Data = Bytes>>(self) -> Option<Response<CacheBody<B>>> {
        match self {
            Self::Record(mut recording) => recording
                .failed()
                .map(|response| response.map(CacheBody::stored)),
            _ => None,
        }
    }
}
