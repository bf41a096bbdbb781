//! §4.3: validation, by the cache and by the client.

use super::{Hit, Miss, NotModified, Row, Validates, check};

#[rustfmt::skip]
pub const ROWS: &[Row] = &[
    ("§4.3.1 stale with an entity tag", &[], (200, &[("cache-control", "max-age=5"), ("etag", "\"a\"")]), 10, ("GET", &[]), Validates),
    ("§4.3.1 stale with a weak one", &[], (200, &[("cache-control", "max-age=5"), ("etag", "W/\"a\"")]), 10, ("GET", &[]), Validates),
    ("§4.3.1 stale with Last-Modified", &[], (200, &[("cache-control", "max-age=5"), ("last-modified", "Sun, 06 Nov 1994 08:49:27 GMT")]), 10, ("GET", &[]), Validates),
    ("§4.3.1 stale with both", &[], (200, &[("cache-control", "max-age=5"), ("etag", "\"a\""), ("last-modified", "Sun, 06 Nov 1994 08:49:27 GMT")]), 10, ("GET", &[]), Validates),
    ("§4.3.1 stale without either", &[], (200, &[("cache-control", "max-age=5")]), 10, ("GET", &[]), Miss),
    ("§8.8.3 an entity tag that is not quoted is none", &[], (200, &[("cache-control", "max-age=5"), ("etag", "a")]), 10, ("GET", &[]), Miss),
    ("§8.8.2 a Last-Modified that is no date is none", &[], (200, &[("cache-control", "max-age=5"), ("last-modified", "yesterday")]), 10, ("GET", &[]), Miss),
    ("§5.2.2.4 no-cache is stored and validated each time", &[], (200, &[("cache-control", "no-cache"), ("etag", "\"a\"")]), 0, ("GET", &[]), Validates),
    ("§5.2.2.4 although fresh", &[], (200, &[("cache-control", "no-cache, max-age=60"), ("etag", "\"a\"")]), 0, ("GET", &[]), Validates),
    ("§5.2.2.4 with fields, for all of them", &[], (200, &[("cache-control", "no-cache=\"x-a\", max-age=60"), ("etag", "\"a\"")]), 0, ("GET", &[]), Validates),
    ("§5.2.2.4 no-cache without a validator", &[], (200, &[("cache-control", "no-cache, max-age=60")]), 0, ("GET", &[]), Miss),
    ("§5.2.2.2 must-revalidate, fresh", &[], (200, &[("cache-control", "must-revalidate, max-age=60"), ("etag", "\"a\"")]), 10, ("GET", &[]), Hit),
    ("§5.2.2.2 must-revalidate, stale", &[], (200, &[("cache-control", "must-revalidate, max-age=5"), ("etag", "\"a\"")]), 10, ("GET", &[]), Validates),
    ("§5.2.2.8 proxy-revalidate, stale", &[], (200, &[("cache-control", "proxy-revalidate, max-age=5"), ("etag", "\"a\"")]), 10, ("GET", &[]), Validates),
    ("§4.3.1 max-age=0 with a validator", &[], (200, &[("cache-control", "max-age=0"), ("etag", "\"a\"")]), 0, ("GET", &[]), Validates),
    ("§4.3.1 Expires passed, with a validator", &[], (200, &[("expires", "0"), ("etag", "\"a\"")]), 0, ("GET", &[]), Validates),
    ("§3 a validator alone says nothing of caches", &[], (200, &[("etag", "\"a\"")]), 0, ("GET", &[]), Miss),
    ("§4.3.2 If-None-Match, fresh, the same", &[], (200, &[("cache-control", "max-age=60"), ("etag", "\"a\"")]), 10, ("GET", &[("if-none-match", "\"a\"")]), NotModified),
    ("§4.3.2 If-None-Match, fresh, compared weakly", &[], (200, &[("cache-control", "max-age=60"), ("etag", "W/\"a\"")]), 10, ("GET", &[("if-none-match", "\"a\"")]), NotModified),
    ("§4.3.2 If-None-Match, fresh, another", &[], (200, &[("cache-control", "max-age=60"), ("etag", "\"a\"")]), 10, ("GET", &[("if-none-match", "\"b\"")]), Hit),
    ("§4.3.2 If-None-Match, fresh, among several", &[], (200, &[("cache-control", "max-age=60"), ("etag", "\"a\"")]), 10, ("GET", &[("if-none-match", "\"b\", \"a\"")]), NotModified),
    ("§4.3.2 If-None-Match: *", &[], (200, &[("cache-control", "max-age=60"), ("etag", "\"a\"")]), 10, ("GET", &[("if-none-match", "*")]), NotModified),
    ("§4.3.2 If-None-Match that is not quoted", &[], (200, &[("cache-control", "max-age=60"), ("etag", "\"a\"")]), 10, ("GET", &[("if-none-match", "a")]), Hit),
    ("§4.3.2 If-None-Match without a stored tag", &[], (200, &[("cache-control", "max-age=60")]), 10, ("GET", &[("if-none-match", "\"a\"")]), Hit),
    ("§4.3.2 If-Modified-Since, the same date", &[], (200, &[("cache-control", "max-age=60"), ("last-modified", "Sun, 06 Nov 1994 08:49:27 GMT")]), 10, ("GET", &[("if-modified-since", "Sun, 06 Nov 1994 08:49:27 GMT")]), NotModified),
    ("§4.3.2 If-Modified-Since, later", &[], (200, &[("cache-control", "max-age=60"), ("last-modified", "Sun, 06 Nov 1994 08:49:27 GMT")]), 10, ("GET", &[("if-modified-since", "Sun, 06 Nov 1994 08:50:07 GMT")]), NotModified),
    ("§4.3.2 If-Modified-Since, earlier", &[], (200, &[("cache-control", "max-age=60"), ("last-modified", "Sun, 06 Nov 1994 08:49:27 GMT")]), 10, ("GET", &[("if-modified-since", "Sun, 06 Nov 1994 08:49:26 GMT")]), Hit),
    ("§4.3.2 If-Modified-Since against Date", &[], (200, &[("cache-control", "max-age=60"), ("date", "Sun, 06 Nov 1994 08:49:37 GMT")]), 10, ("GET", &[("if-modified-since", "Sun, 06 Nov 1994 08:49:37 GMT")]), NotModified),
    ("§4.3.2 If-Modified-Since that is no date", &[], (200, &[("cache-control", "max-age=60"), ("last-modified", "Sun, 06 Nov 1994 08:49:27 GMT")]), 10, ("GET", &[("if-modified-since", "yesterday")]), Hit),
    ("RFC 9110 §13.2.2 If-None-Match goes before If-Modified-Since", &[], (200, &[("cache-control", "max-age=60"), ("etag", "\"a\""), ("last-modified", "Sun, 06 Nov 1994 08:49:27 GMT")]), 10, ("GET", &[("if-none-match", "\"b\""), ("if-modified-since", "Sun, 06 Nov 1994 08:50:07 GMT")]), Hit),
    ("§4.3.1 a condition of the client’s, stale", &[], (200, &[("cache-control", "max-age=5"), ("etag", "\"a\"")]), 10, ("GET", &[("if-none-match", "\"a\"")]), Validates),
    ("§4.3.1 another condition of the client’s, stale", &[], (200, &[("cache-control", "max-age=5"), ("etag", "\"a\"")]), 10, ("GET", &[("if-none-match", "\"b\"")]), Validates),
    ("§4.3.2 HEAD with If-None-Match", &[], (200, &[("cache-control", "max-age=60"), ("etag", "\"a\"")]), 10, ("HEAD", &[("if-none-match", "\"a\"")]), NotModified),
    ("§5.2.1.4 no-cache beside the client’s condition", &[], (200, &[("cache-control", "max-age=60"), ("etag", "\"a\"")]), 10, ("GET", &[("if-none-match", "\"a\""), ("cache-control", "no-cache")]), Validates),
];

#[tokio::test]
async fn what_is_validated() {
    check(ROWS).await;
}
