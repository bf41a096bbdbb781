//! §4.1: which of several responses fits.

use super::{Hit, Miss, Row, check};

#[rustfmt::skip]
pub const ROWS: &[Row] = &[
    ("§4.1 Vary, the same", &[("accept", "a")], (200, &[("cache-control", "max-age=60"), ("vary", "accept")]), 10, ("GET", &[("accept", "a")]), Hit),
    ("§4.1 Vary, another", &[("accept", "a")], (200, &[("cache-control", "max-age=60"), ("vary", "accept")]), 10, ("GET", &[("accept", "b")]), Miss),
    ("§4.1 Vary, absent then", &[("accept", "a")], (200, &[("cache-control", "max-age=60"), ("vary", "accept")]), 10, ("GET", &[]), Miss),
    ("§4.1 Vary, absent before", &[], (200, &[("cache-control", "max-age=60"), ("vary", "accept")]), 10, ("GET", &[("accept", "a")]), Miss),
    ("§4.1 Vary, absent in both", &[], (200, &[("cache-control", "max-age=60"), ("vary", "accept")]), 10, ("GET", &[]), Hit),
    ("§4.1 Vary, absent is not empty", &[], (200, &[("cache-control", "max-age=60"), ("vary", "accept")]), 10, ("GET", &[("accept", "")]), Miss),
    ("§4.1 Vary in another case", &[("accept", "a")], (200, &[("cache-control", "max-age=60"), ("vary", "ACCEPT")]), 10, ("GET", &[("accept", "a")]), Hit),
    ("§4.1 Vary by two, both the same", &[("accept", "a"), ("x-a", "1")], (200, &[("cache-control", "max-age=60"), ("vary", "accept, x-a")]), 10, ("GET", &[("accept", "a"), ("x-a", "1")]), Hit),
    ("§4.1 Vary by two, one another", &[("accept", "a"), ("x-a", "1")], (200, &[("cache-control", "max-age=60"), ("vary", "accept, x-a")]), 10, ("GET", &[("accept", "a"), ("x-a", "2")]), Miss),
    ("§4.1 Vary in two lines", &[("accept", "a"), ("x-a", "1")], (200, &[("cache-control", "max-age=60"), ("vary", "accept"), ("vary", "x-a")]), 10, ("GET", &[("accept", "a"), ("x-a", "2")]), Miss),
    ("§4.1 Vary, values are compared byte for byte", &[("accept", "a, b")], (200, &[("cache-control", "max-age=60"), ("vary", "accept")]), 10, ("GET", &[("accept", "a,b")]), Miss),
    ("§4.1 Vary, values are compared in their case", &[("accept", "a")], (200, &[("cache-control", "max-age=60"), ("vary", "accept")]), 10, ("GET", &[("accept", "A")]), Miss),
    ("§4.1 Vary, in two lines of the request", &[("accept", "a"), ("accept", "b")], (200, &[("cache-control", "max-age=60"), ("vary", "accept")]), 10, ("GET", &[("accept", "a"), ("accept", "b")]), Hit),
    ("§4.1 Vary, in another order", &[("accept", "a"), ("accept", "b")], (200, &[("cache-control", "max-age=60"), ("vary", "accept")]), 10, ("GET", &[("accept", "b"), ("accept", "a")]), Miss),
    ("§4.1 Vary, other fields do not matter", &[("accept", "a")], (200, &[("cache-control", "max-age=60"), ("vary", "accept")]), 10, ("GET", &[("accept", "a"), ("x-b", "1")]), Hit),
    ("§4.1 Vary: *", &[("accept", "a")], (200, &[("cache-control", "max-age=60"), ("vary", "*")]), 10, ("GET", &[("accept", "a")]), Miss),
    ("§4.1 Vary: * among others", &[("accept", "a")], (200, &[("cache-control", "max-age=60"), ("vary", "accept, *")]), 10, ("GET", &[("accept", "a")]), Miss),
    ("§4.1 Vary: * in a second line", &[("accept", "a")], (200, &[("cache-control", "max-age=60"), ("vary", "accept"), ("vary", "*")]), 10, ("GET", &[("accept", "a")]), Miss),
    ("§4.1 Vary, empty", &[], (200, &[("cache-control", "max-age=60"), ("vary", "")]), 10, ("GET", &[]), Hit),
    ("§4.1 Vary, empty members", &[("accept", "a")], (200, &[("cache-control", "max-age=60"), ("vary", ", accept,,")]), 10, ("GET", &[("accept", "a")]), Hit),
    ("§4.1 Vary that is no field name", &[], (200, &[("cache-control", "max-age=60"), ("vary", "a b")]), 10, ("GET", &[]), Miss),
    ("§4.1 Vary by a credential is not kept", &[("authorization", "x")], (200, &[("cache-control", "max-age=60"), ("vary", "authorization")]), 10, ("GET", &[("authorization", "x")]), Miss),
    ("§4.1 Vary by a cookie is not kept", &[("cookie", "a=b")], (200, &[("cache-control", "max-age=60"), ("vary", "cookie")]), 10, ("GET", &[("cookie", "a=b")]), Miss),
];

#[tokio::test]
async fn which_response_fits() {
    check(ROWS).await;
}
