//! §5.2.1: what a request asks of the cache.

use super::{Hit, Miss, NotStored, Row, Validates, check};

#[rustfmt::skip]
pub const ROWS: &[Row] = &[
    ("§5.2.1.1 max-age, young enough", &[], (200, &[("cache-control", "max-age=60")]), 10, ("GET", &[("cache-control", "max-age=10")]), Hit),
    ("§5.2.1.1 max-age, too old", &[], (200, &[("cache-control", "max-age=60")]), 10, ("GET", &[("cache-control", "max-age=9")]), Miss),
    ("§5.2.1.1 max-age=0", &[], (200, &[("cache-control", "max-age=60")]), 10, ("GET", &[("cache-control", "max-age=0")]), Miss),
    ("§5.2.1.1 max-age does not lengthen", &[], (200, &[("cache-control", "max-age=5")]), 10, ("GET", &[("cache-control", "max-age=99")]), Miss),
    ("§5.2.1.1 max-age counts Age", &[], (200, &[("cache-control", "max-age=60"), ("age", "5")]), 10, ("GET", &[("cache-control", "max-age=14")]), Miss),
    ("§5.2.1.2 max-stale", &[], (200, &[("cache-control", "max-age=5")]), 10, ("GET", &[("cache-control", "max-stale=5")]), Hit),
    ("§5.2.1.2 max-stale, too stale", &[], (200, &[("cache-control", "max-age=5")]), 10, ("GET", &[("cache-control", "max-stale=4")]), Miss),
    ("§5.2.1.2 max-stale without an argument", &[], (200, &[("cache-control", "max-age=5")]), 10, ("GET", &[("cache-control", "max-stale")]), Hit),
    ("§5.2.1.2 max-stale=0", &[], (200, &[("cache-control", "max-age=5")]), 10, ("GET", &[("cache-control", "max-stale=0")]), Miss),
    ("§5.2.1.2 max-stale and max-age", &[], (200, &[("cache-control", "max-age=5")]), 10, ("GET", &[("cache-control", "max-stale=5, max-age=10")]), Hit),
    ("§5.2.1.2 max-stale and max-age, too old", &[], (200, &[("cache-control", "max-age=5")]), 10, ("GET", &[("cache-control", "max-stale=5, max-age=9")]), Miss),
    ("§4.2.4 max-stale against must-revalidate", &[], (200, &[("cache-control", "max-age=5, must-revalidate")]), 10, ("GET", &[("cache-control", "max-stale")]), Miss),
    ("§4.2.4 max-stale against proxy-revalidate", &[], (200, &[("cache-control", "max-age=5, proxy-revalidate")]), 10, ("GET", &[("cache-control", "max-stale")]), Miss),
    ("§4.2.4 max-stale against s-maxage", &[], (200, &[("cache-control", "s-maxage=5")]), 10, ("GET", &[("cache-control", "max-stale")]), Miss),
    ("§4.2.4 max-stale against no-cache", &[], (200, &[("cache-control", "max-age=5, no-cache"), ("etag", "\"a\"")]), 10, ("GET", &[("cache-control", "max-stale")]), Validates),
    ("§5.2.1.3 min-fresh", &[], (200, &[("cache-control", "max-age=60")]), 10, ("GET", &[("cache-control", "min-fresh=50")]), Hit),
    ("§5.2.1.3 min-fresh, not for so long", &[], (200, &[("cache-control", "max-age=60")]), 10, ("GET", &[("cache-control", "min-fresh=51")]), Miss),
    ("§5.2.1.4 no-cache", &[], (200, &[("cache-control", "max-age=60")]), 10, ("GET", &[("cache-control", "no-cache")]), Miss),
    ("§5.2.1.4 NO-CACHE", &[], (200, &[("cache-control", "max-age=60")]), 10, ("GET", &[("cache-control", "NO-CACHE")]), Miss),
    ("§5.2.1.4 no-cache, with a validator", &[], (200, &[("cache-control", "max-age=60"), ("etag", "\"a\"")]), 10, ("GET", &[("cache-control", "no-cache")]), Validates),
    ("§5.2.1.5 no-store", &[], (200, &[("cache-control", "max-age=60")]), 10, ("GET", &[("cache-control", "no-store")]), Miss),
    ("§5.2.1.6 no-transform", &[], (200, &[("cache-control", "max-age=60")]), 10, ("GET", &[("cache-control", "no-transform")]), Hit),
    ("§5.2.1.7 only-if-cached, stored", &[], (200, &[("cache-control", "max-age=60")]), 10, ("GET", &[("cache-control", "only-if-cached")]), Hit),
    ("§5.2.1.7 only-if-cached, not stored", &[], (200, &[]), 10, ("GET", &[("cache-control", "only-if-cached")]), NotStored),
    ("§5.2.1.7 only-if-cached, stale", &[], (200, &[("cache-control", "max-age=5")]), 10, ("GET", &[("cache-control", "only-if-cached")]), NotStored),
    ("§5.2.1.7 only-if-cached, stale, and max-stale", &[], (200, &[("cache-control", "max-age=5")]), 10, ("GET", &[("cache-control", "only-if-cached, max-stale=9")]), Hit),
    ("§5.2.1.7 only-if-cached and no-cache", &[], (200, &[("cache-control", "max-age=60")]), 10, ("GET", &[("cache-control", "only-if-cached, no-cache")]), NotStored),
    ("§5.2.3 unknown directives", &[], (200, &[("cache-control", "max-age=60")]), 10, ("GET", &[("cache-control", "x-new=1")]), Hit),
    ("§5.2 directives that do not parse", &[], (200, &[("cache-control", "max-age=60")]), 10, ("GET", &[("cache-control", "max-age=x")]), Miss),
    ("§5.4 Pragma: no-cache", &[], (200, &[("cache-control", "max-age=60")]), 10, ("GET", &[("pragma", "no-cache")]), Miss),
    ("§5.4 Pragma beside Cache-Control", &[], (200, &[("cache-control", "max-age=60")]), 10, ("GET", &[("pragma", "no-cache"), ("cache-control", "max-age=30")]), Hit),
    ("RFC 9110 §14.2 Range is passed on", &[], (200, &[("cache-control", "max-age=60")]), 10, ("GET", &[("range", "bytes=0-1")]), Miss),
    ("RFC 9110 §13.1.1 If-Match is passed on", &[], (200, &[("cache-control", "max-age=60")]), 10, ("GET", &[("if-match", "\"a\"")]), Miss),
    ("RFC 9110 §13.1.4 If-Unmodified-Since is passed on", &[], (200, &[("cache-control", "max-age=60")]), 10, ("GET", &[("if-unmodified-since", "Sun, 06 Nov 1994 08:49:37 GMT")]), Miss),
    ("RFC 9110 §13.1.5 If-Range is passed on", &[], (200, &[("cache-control", "max-age=60")]), 10, ("GET", &[("if-range", "\"a\""), ("range", "bytes=0-1")]), Miss),
    ("RFC 9110 §7.8 Upgrade is passed on", &[], (200, &[("cache-control", "max-age=60")]), 10, ("GET", &[("upgrade", "websocket")]), Miss),
    ("§4 HEAD from a stored GET", &[], (200, &[("cache-control", "max-age=60")]), 10, ("HEAD", &[]), Hit),
    ("§4 HEAD, stale", &[], (200, &[("cache-control", "max-age=5")]), 10, ("HEAD", &[]), Miss),
    ("§4 HEAD with no-cache", &[], (200, &[("cache-control", "max-age=60")]), 10, ("HEAD", &[("cache-control", "no-cache")]), Miss),
    ("§4 OPTIONS is not answered from a GET", &[], (200, &[("cache-control", "max-age=60")]), 10, ("OPTIONS", &[]), Miss),
    ("§4 TRACE is not answered from a GET", &[], (200, &[("cache-control", "max-age=60")]), 10, ("TRACE", &[]), Miss),
    ("§4 POST is not answered from a GET", &[], (200, &[("cache-control", "max-age=60")]), 10, ("POST", &[]), Miss),
    ("§4 PUT is not answered from a GET", &[], (200, &[("cache-control", "max-age=60")]), 10, ("PUT", &[]), Miss),
    ("§4 PATCH is not answered from a GET", &[], (200, &[("cache-control", "max-age=60")]), 10, ("PATCH", &[]), Miss),
    ("§4 DELETE is not answered from a GET", &[], (200, &[("cache-control", "max-age=60")]), 10, ("DELETE", &[]), Miss),
    ("§4 PURGE is not answered from a GET", &[], (200, &[("cache-control", "max-age=60")]), 10, ("PURGE", &[]), Miss),
];

#[tokio::test]
async fn what_requests_ask() {
    check(ROWS).await;
}
