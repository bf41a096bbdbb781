#!/usr/bin/env python3
"""RFC 9111 from outside: an origin and a client of Python's own, and the `cache-proxy` example between them.

    cargo build -p tenant-examples --example cache-proxy
    python3 examples/suites/http_cache.py target/debug/examples/cache-proxy

Each case is a URL of its own. The client numbers its requests; the origin answers by that number and notes what it saw: a step
that the origin did not see was answered by the cache. `must` is what the standard requires, `may` what it allows and a good
cache does, `not` what it would allow and this cache does not do on purpose: the case says why and fails if that changes.
Loopback only, every wait bounded. Exits with 1 if a case does not hold.
"""

import http.client
import http.server
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from email.utils import formatdate

PAUSE = 2.2
ORIGIN_TIMEOUT = 10


STARTED = int(time.time())


def dated(fields):
    """Numbers are dates, in seconds from now; those an hour away or more are the same throughout a run."""
    def date(value):
        return formatdate((STARTED if abs(value) >= 3600 else time.time()) + value, usegmt=True)
    return [(name, date(value) if isinstance(value, int) else value) for name, value in fields]


class Step:
    def __init__(self, ask=(), method="GET", body=None, answer=None, status=200, content=None, expect=None, pause=0,
                 has=(), lacks=(), saw=(), saw_not=(), path="", code=None, close=False, text=None):
        self.ask, self.method, self.body, self.path = dated(ask), method, body, path
        self.answer, self.status, self.content, self.close = answer, status, content, close
        self.expect, self.pause, self.code, self.text = expect, pause, code, text
        self.has, self.lacks, self.saw, self.saw_not = has, lacks, saw, saw_not


CASES = []


def case(kind, what, *steps):
    CASES.append((kind, what, steps))


def two(kind, what, answer, expect, ask=(), first=(), pause=0, status=200, **more):
    """Asked once, answered with these fields, asked again."""
    case(kind, what, Step(ask=first, answer=answer, status=status, pause=pause),
         Step(ask=ask, answer=answer, status=status, expect=expect, **more))


CC = "Cache-Control"
HOUR = (CC, "max-age=3600")
LM = ("Last-Modified", -86400)
E = ("ETag", '"a"')

# --- freshness, §4.2
two("must", "§4.2.2 nothing said, nothing kept", [], "miss")
two("may", "§5.2.2.1 max-age", [HOUR], "hit")
two("must", "§5.2.2.1 max-age is over", [(CC, "max-age=1")], "miss", pause=PAUSE)
two("must", "§5.2.2.1 max-age=0", [(CC, "max-age=0")], "miss")
two("may", "§1.2.2 as long as can be", [(CC, "max-age=2147483648")], "hit")
two("may", "§1.2.2 longer", [(CC, "max-age=99999999999999999999")], "hit")
two("must", "§4.2.3 older than its max-age by Age", [(CC, "max-age=60"), ("Age", "90"), ("Date", 0)], "miss")
two("must", "§4.2.3 older than its max-age by Date", [(CC, "max-age=60"), ("Date", -90)], "miss")
two("may", "§5.3 Expires", [("Expires", 3600), ("Date", 0)], "hit")
two("must", "§5.3 Expires in the past", [("Expires", -3600), ("Date", 0)], "miss")
two("must", "§5.3 Expires now", [("Expires", 0), ("Date", 0)], "miss")
two("must", "§5.3 Expires before Date, both ahead", [("Expires", 300), ("Date", 400)], "miss")
two("must", "§5.3 Expires: 0", [("Expires", "0"), ("Date", 0)], "miss")
two("must", "§5.3 Expires is no date", [("Expires", "tomorrow"), ("Date", 0)], "miss")
two("must", "§4.2.3 Expires and Age", [("Date", -10), ("Expires", 10), ("Age", "25")], "miss")
two("may", "§5.3 Expires, Date is none", [("Date", "foo"), ("Expires", 3600)], "hit")
two("may", "§5.2.2.1 before Expires", [HOUR, ("Expires", -3600), ("Date", 0)], "hit")
two("may", "§5.2.2.1 before an Expires that is none", [HOUR, ("Expires", "0"), ("Date", 0)], "hit")
two("must", "§5.2.2.1 max-age=0 before Expires", [(CC, "max-age=0"), ("Expires", 3600), ("Date", 0)], "miss")
two("may", "§5.2.2.10 s-maxage", [(CC, "s-maxage=3600")], "hit")
two("must", "§5.2.2.10 s-maxage before a longer max-age", [(CC, "max-age=3600, s-maxage=1")], "miss", pause=PAUSE)
two("may", "§5.2.2.10 s-maxage before a shorter max-age", [(CC, "max-age=1, s-maxage=3600")], "hit", pause=PAUSE)
two("must", "§5.2.2.10 in another line", [(CC, "max-age=3600"), (CC, "s-maxage=1")], "miss", pause=PAUSE)
for delta in (60, 3600, 86400):
    two("may", f"§4.2.2 guessed from {delta} s", [("Last-Modified", -delta), ("Date", 0)], "hit")
for status in (203, 204, 404, 405, 410, 414, 501):
    two("may", f"§4.2.2 guessed for {status}", [LM, ("Date", 0)], "hit", status=status)
for status in (201, 202, 403, 502, 503, 504, 599):
    two("must", f"§4.2.2 not guessed for {status}", [LM, ("Date", 0)], "miss", status=status)
two("may", "§4.2.2 guessed for 599 with public", [LM, ("Date", 0), (CC, "public")], "hit", status=599)

# --- Cache-Control, §5.2
two("may", "§5.2 a quoted argument", [(CC, 'max-age="3600"')], "hit")
two("may", "§5.2 in any case", [(CC, "MaX-aGe=3600")], "hit")
two("may", "§5.2.3 extensions are ignored", [(CC, "foobar, max-age=3600")], "hit")
two("may", "§1.2.2 leading zeros", [(CC, "max-age=003600")], "hit")
two("must", "§5.2 within a string it says nothing", [(CC, 'x="max-age=3600", max-age=1')], "miss", pause=PAUSE)
two("must", "§5.2 within a string after it", [(CC, 'max-age=1, x="max-age=3600"')], "miss", pause=PAUSE)
for value in ("max-age='3600'", "max-age =3600", "max-age= 3600", "max-age=a3600", "max-age=3600a", "max-age=-1",
              "max-age=3600.0", "max-age"):
    two("must", f"§5.2 what does not parse gives no freshness: {value}", [(CC, value)], "miss")
two("must", "§5.2.2.5 no-store", [(CC, "no-store, max-age=3600")], "miss")
two("must", "§5.2.2.5 nO-StOrE", [(CC, "nO-StOrE"), ("Expires", 3600), ("Date", 0)], "miss")
two("must", "§5.2.2.7 private", [(CC, "private, max-age=3600")], "miss")
two("must", "§5.2.2.4 no-cache", [(CC, "no-cache, max-age=3600")], "miss")
two("may", "§5.2.2.4 no-cache is kept to be validated", [(CC, "no-cache"), E], "validated")
two("may", "§5.2.2.4 no-cache with max-age", [(CC, "max-age=3600, no-cache"), E], "validated")
two("may", "§5.2.2.2 must-revalidate while fresh", [(CC, "max-age=3600, must-revalidate"), E], "hit")
two("must", "§5.2.2.2 must-revalidate when stale", [(CC, "max-age=1, must-revalidate"), E], "validated", pause=PAUSE)

# --- requests, §5.2.1
two("must", "§5.2.1.4 no-cache", [HOUR], "miss", ask=[(CC, "no-cache")])
two("may", "§5.2.1.4 no-cache validates by ETag", [HOUR, E], "validated", ask=[(CC, "no-cache")])
two("may", "§5.2.1.4 no-cache validates by date", [HOUR, LM], "validated", ask=[(CC, "no-cache")])
two("must", "§5.2.1.5 no-store", [HOUR], "miss", ask=[(CC, "no-store")])
two("must", "§5.2.1.1 max-age=0", [HOUR], "miss", ask=[(CC, "max-age=0")])
two("must", "§5.2.1.1 max-age=1", [HOUR], "miss", ask=[(CC, "max-age=1")], pause=PAUSE)
two("must", "§5.2.1.1 max-age below its age", [HOUR, ("Age", "1800")], "miss", ask=[(CC, "max-age=600")])
two("may", "§5.2.1.2 max-stale", [(CC, "max-age=1")], "hit", ask=[(CC, "max-stale=1000")], pause=PAUSE)
two("must", "§5.2.1.3 min-fresh", [(CC, "max-age=1500")], "miss", ask=[(CC, "min-fresh=2000")])
two("must", "§5.2.1.3 min-fresh and age", [(CC, "max-age=1500"), ("Age", "1000")], "miss", ask=[(CC, "min-fresh=1000")])
two("may", "§5.4 Pragma: no-cache", [HOUR], "miss", ask=[("Pragma", "no-cache")])
case("may", "§5.2.1.7 only-if-cached without anything", Step(ask=[(CC, "only-if-cached")], expect="cache", code=504))
two("may", "§5.2.1.7 only-if-cached", [HOUR], "hit", ask=[(CC, "only-if-cached")])

# --- statuses, §3
for status in (200, 203, 204, 299, 301, 302, 303, 307, 308, 400, 404, 410, 499, 500, 502, 503, 504, 599):
    two("may", f"§3 {status} with explicit freshness", [HOUR], "hit", status=status)
    two("must", f"§4.2 {status} that is stale", [("Expires", -3600), ("Date", 0)], "miss", status=status)
two("must", "RFC 6585 §4 429", [HOUR], "miss", status=429)
two("not", "§3 of 401: it answers one credential", [HOUR], "miss", status=401)
two("not", "§7.3 Set-Cookie: it is one client's", [HOUR, ("Set-Cookie", "a=b")], "miss")
two("may", "§4 a Cookie in the request", [HOUR], "hit", ask=[("Cookie", "a=b")])

# --- authenticated requests, §3.5
A = [("Authorization", "FOO")]
two("must", "§3.5 not for those who show no credential", [HOUR], "miss", first=A, pause=0)
for value in ("public, max-age=3600", "must-revalidate, max-age=3600", "s-maxage=3600"):
    two("may", f"§3.5 {value}", [(CC, value)], "hit", first=A)
case("must", "§3.5 the credential reaches the origin", Step(ask=A, saw=A, expect="miss"))

# --- Vary, §4.1
V = [HOUR, ("Vary", "Foo")]
ONE, TWO = [("Foo", "1")], [("Foo", "2")]
two("may", "§4.1 the same", V, "hit", first=ONE, ask=ONE)
two("must", "§4.1 another", V, "miss", first=ONE, ask=TWO)
two("must", "§4.1 left out", V, "miss", first=ONE)
two("must", "§4.1 left out first", V, "miss", ask=ONE)
two("may", "§4.1 what Vary does not name", V, "hit", first=ONE + [("Other", "1")], ask=ONE + [("Other", "2")])
case("may", "§4.1 one more variant does not end the first", Step(ask=ONE, answer=V), Step(ask=TWO, answer=V, expect="miss"),
     Step(ask=ONE, expect="hit", text="step 1"))
V2 = [HOUR, ("Vary", "Foo, Bar")]
BOTH = ONE + [("Bar", "abc")]
two("may", "§4.1 two fields", V2, "hit", first=BOTH, ask=BOTH)
two("may", "§4.1 two fields, in two lines", [HOUR, ("Vary", "Foo"), ("Vary", "Bar")], "hit", first=BOTH, ask=BOTH)
two("must", "§4.1 one of two", V2, "miss", first=BOTH, ask=TWO + [("Bar", "abc")])
two("must", "§4.1 one of two left out", V2, "miss", first=BOTH, ask=ONE)
two("may", "§4.1 left out both times", V2, "hit", first=ONE, ask=ONE)
for value in ("*", "*, *", ", *", "*, Foo", "Foo, *"):
    two("must", f"§4.1 Vary: {value}", [HOUR, ("Vary", value)], "miss", first=ONE, ask=ONE)
two("must", "§4.1 a star in another line", [HOUR, ("Vary", "Foo"), ("Vary", "*")], "miss", first=ONE, ask=ONE)
two("not", "§4.1 white space: what a handler reads may differ", V, "miss", first=[("Foo", "1,2")], ask=[("Foo", "1, 2")])
two("not", "§4.1 lines joined: a handler may read one", V, "miss", first=[("Foo", "1, 2")], ask=[("Foo", "1"), ("Foo", "2")])
two("may", "§4.1 any case of the name", [HOUR, ("Vary", "fOO")], "hit", first=ONE, ask=ONE)

# --- validation, §4.3
STALE = (CC, "max-age=1")
two("may", "§4.3.1 by a strong tag", [STALE, E], "validated", pause=PAUSE, saw=[("If-None-Match", '"a"')])
two("may", "§4.3.1 by a weak tag", [STALE, ("ETag", 'W/"a"')], "validated", pause=PAUSE, saw=[("If-None-Match", 'W/"a"')])
two("may", "§4.3.1 by the date", [STALE, LM], "validated", pause=PAUSE)
two("must", "§4.3.1 what it varies by is sent along", [STALE, E, ("Vary", "Foo")], "validated", first=ONE, ask=ONE, pause=PAUSE, saw=ONE)
two("must", "§4.1 another variant's tag is not asked about", [HOUR, E, ("Vary", "Foo")], "miss", first=ONE, ask=TWO,
    saw_not=["If-None-Match"])
two("may", "§4.3.2 304 for a tag", [HOUR, E], "cache", ask=[("If-None-Match", '"a"')], code=304, has=[("ETag", '"a"')])
two("may", "§4.3.2 304 for a weak tag", [HOUR, ("ETag", 'W/"a"')], "cache", ask=[("If-None-Match", 'W/"a"')], code=304)
for value in ('"a", "b", "c"', '"b", "a", "c"', '"b", "c", "a"', "*"):
    two("may", f"§4.3.2 304 for {value}", [HOUR, E], "cache", ask=[("If-None-Match", value)], code=304)
two("may", "§4.3.2 another tag gets it whole", [HOUR, E], "hit", ask=[("If-None-Match", '"b"')])
two("must", "§4.3.2 the tag before the date", [HOUR, E, LM], "cache",
    ask=[("If-None-Match", '"a"'), ("If-Modified-Since", -90000)], code=304)
two("may", "§4.3.2 304 for the date", [HOUR, LM, ("Date", 0)], "cache", ask=[("If-Modified-Since", -86400)], code=304)
two("may", "§4.3.2 304 for a later date", [HOUR, LM, ("Date", 0)], "cache", ask=[("If-Modified-Since", -3600)], code=304)
two("may", "§4.3.2 an earlier date gets it whole", [HOUR, LM, ("Date", 0)], "hit", ask=[("If-Modified-Since", -90000)])
two("may", "§4.3.2 304 after validation", [STALE, LM, ("Date", 0)], "validated", ask=[("If-Modified-Since", -86400)], pause=PAUSE, code=304)
case("may", "§4.3 a condition without anything stored is passed on",
     Step(ask=[("If-None-Match", '"a"')], saw=[("If-None-Match", '"a"')], expect="miss"))
for name, old, new in (("Test-Header", "1", "2"), ("Content-Foo", "1", "2"), ("X-Frame-Options", "deny", "sameorigin"),
                       ("Content-Location", "/foo", "/bar"), ("Content-Security-Policy", "default-src 'self'", "default-src a.test"),
                       ("Clear-Site-Data", "cache", "cookies")):
    case("must", f"§4.3.4 a 304 changes {name}",
         Step(answer=[STALE, E, (name, old)], pause=PAUSE),
         Step(answer=[HOUR, E, (name, new)], expect="validated", has=[(name, new)], lacks=[(name, old)]),
         Step(expect="hit", has=[(name, new)], lacks=[(name, old)]))
case("must", "§4.3.4 what a 304 leaves out stays", Step(answer=[STALE, E, ("Test-Header", "1")], pause=PAUSE),
     Step(answer=[HOUR, E], expect="validated", has=[("Test-Header", "1")]))
case("must", "§4.3.4 a cookie that a 304 sets reaches its client and nobody else",
     Step(answer=[STALE, E], pause=PAUSE),
     Step(answer=[HOUR, E, ("Set-Cookie", "a=b")], expect="validated", has=[("Set-Cookie", "a=b")]),
     Step(answer=[HOUR, E], expect="miss", lacks=[("Set-Cookie", "a=b")]))
case("must", "§4.3.3 a 200 to a validation replaces", Step(answer=[STALE, E], pause=PAUSE),
     Step(answer=[HOUR, ("ETag", '"b"')], expect="miss", text="step 2"), Step(expect="hit", text="step 2"))
case("must", "§4.3.3 a 500 to a validation is passed on", Step(answer=[STALE, E], pause=PAUSE), Step(status=500, expect="miss", code=500))

# --- stale, §4.2.4
SIE = "max-age=1, stale-if-error=60"
case("may", "RFC 5861 §4 the origin hangs up", Step(answer=[(CC, SIE)], pause=PAUSE), Step(close=True, expect="stale", code=200))
case("may", "RFC 5861 §4 503", Step(answer=[(CC, SIE)], pause=PAUSE), Step(status=503, expect="stale", code=200))
case("must", "§4.2.4 not unless it was said", Step(answer=[STALE], pause=PAUSE), Step(close=True, code=502))
for value in ("must-revalidate", "proxy-revalidate", "no-cache", "s-maxage=1"):
    case("must", f"§4.2.4 never stale with {value}", Step(answer=[(CC, f"{SIE}, {value}")], pause=PAUSE), Step(close=True, code=502))

# --- what is kept, §3.1, and what goes out, §4, §5.1
two("must", "§3.1 fields of the connection are not kept", [HOUR, ("Connection", "a, b"), ("a", "1"), ("b", "2"), ("c", "3")], "hit",
    has=[("c", "3")], lacks=[("a", "1"), ("b", "2")])
for name, value in (("Keep-Alive", "timeout=5"), ("Proxy-Authenticate", "Basic"), ("Proxy-Authentication-Info", "x"),
                    ("Proxy-Authorization", "x"), ("Proxy-Connection", "x"), ("TE", "trailers"), ("Upgrade", "foo")):
    two("must", f"§3.1 {name} is not kept", [HOUR, (name, value)], "hit", lacks=[(name, value)])
for name, value in (("Test-Header", "1"), ("Content-Type", "text/x"), ("X-Frame-Options", "deny"), ("WWW-Authenticate", "x"),
                    ("Strict-Transport-Security", "max-age=1"), ("Content-Disposition", "attachment")):
    two("must", f"§3.1 {name} is kept", [HOUR, (name, value)], "hit", has=[(name, value)])
two("must", "§5.1 Age", [HOUR, ("Date", 0)], "hit", pause=PAUSE, has=[("Age", lambda age: 2 <= int(age) < 30)])
two("must", "§5.1 Age on what was old", [HOUR, ("Date", 0), ("Age", "30")], "hit", pause=PAUSE, has=[("Age", lambda age: 32 <= int(age) < 60)])
two("must", "§4 one Age", [HOUR, ("Age", "30")], "hit", has=[("Age", lambda age: "," not in age)])
two("must", "RFC 9110 §6.6.1 Date is the origin's", [HOUR, ("Age", "0"), ("Date", "Thu, 01 Jan 2099 00:00:00 GMT")], "hit",
    has=[("Date", "Thu, 01 Jan 2099 00:00:00 GMT")])
two("may", "§4.2 it is a hit for as long as it is fresh, whatever else has a time to live", [HOUR], "hit", pause=6.5)
two("must", "RFC 9211 §2 it says that it was a hit", [HOUR], "hit", has=[("Cache-Status", lambda it: "tenant-cache; hit" in it)])

# --- the key, §2
case("must", "§2 another query", Step(answer=[HOUR], path="?a=1"), Step(answer=[HOUR], path="?a=2", expect="miss"))
case("may", "§2 the same query", Step(answer=[HOUR], path="?a=1"), Step(path="?a=1", expect="hit"))
case("must", "§2 a query and none", Step(answer=[HOUR], path="?a=1"), Step(answer=[HOUR], expect="miss"))
case("must", "§2 a longer path", Step(answer=[HOUR]), Step(answer=[HOUR], path="/x.css", expect="miss"))
case("must", "§2 a parameter of the path", Step(answer=[HOUR]), Step(answer=[HOUR], path=";x.css", expect="miss"))
case("must", "§2 an encoded slash is none", Step(answer=[HOUR], path="/a"), Step(answer=[HOUR], path="%2Fa", expect="miss"))
two("must", "§2 another host", [HOUR], "miss", ask=[("Host", "other.test")])

# --- methods, §3, §4, and ranges, §3.3
case("may", "§4 HEAD from a stored GET", Step(answer=[HOUR]), Step(method="HEAD", expect="hit", text=""))
case("must", "§9.3.2 a HEAD's answer serves no GET", Step(method="HEAD", answer=[HOUR]), Step(answer=[HOUR], expect="miss", text="step 2"))
case("must", "§3 a POST's answer serves no POST", Step(method="POST", body="x", answer=[HOUR]),
     Step(method="POST", body="x", answer=[HOUR], expect="miss"))
case("not", "§3 a POST's answer serves no GET: only GET is stored", Step(method="POST", body="x", answer=[HOUR, ("Content-Location", "")]),
     Step(answer=[HOUR], expect="miss"))
two("not", "§3.3 ranges are the handler's", [HOUR], "miss", ask=[("Range", "bytes=0-1")], saw=[("Range", "bytes=0-1")])
case("must", "§3.3 a 206 serves no whole request", Step(ask=[("Range", "bytes=0-3")], answer=[HOUR, ("Content-Range", "bytes 0-3/9")], status=206),
     Step(answer=[HOUR], expect="miss"))
case("must", "§9.3.8 TRACE and OPTIONS are passed on", Step(answer=[HOUR]), Step(method="OPTIONS", answer=[HOUR], expect="miss"),
     Step(expect="hit", text="step 1"))

# --- invalidation, §4.4
for method in ("POST", "PUT", "DELETE", "PATCH", "M-SEARCH"):
    case("must", f"§4.4 {method} ends what is stored", Step(answer=[HOUR]), Step(method=method, body="x"), Step(answer=[HOUR], expect="miss"))
    case("may", f"§4.4 a {method} that is refused ends nothing", Step(answer=[HOUR]), Step(method=method, body="x", status=404),
         Step(expect="hit"))
    for name in ("Location", "Content-Location"):
        case("must", f"§4.4 {method} ends what {name} names", Step(answer=[HOUR], path="/other"),
             Step(method=method, body="x", answer=[(name, "{self}/other")]), Step(answer=[HOUR], path="/other", expect="miss"))
case("not", "§4.4 a POST that failed with 500 may have written", Step(answer=[HOUR]), Step(method="POST", body="x", status=500),
     Step(answer=[HOUR], expect="miss"))
case("must", "§4.4 not of another origin", Step(answer=[HOUR], path="/other"),
     Step(method="POST", body="x", answer=[("Location", "http://other.test{self}/other")]), Step(path="/other", expect="hit"))
case("may", "§4.4 a GET ends nothing of another path", Step(answer=[HOUR], path="/other"), Step(answer=[("Location", "{self}/other")]),
     Step(path="/other", expect="hit"))


class Origin(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = ORIGIN_TIMEOUT
    seen = {}

    def respond(self):
        length = int(self.headers.get("Content-Length") or 0)
        self.rfile.read(length)
        number, step = int(self.headers["X-Case"]), int(self.headers["X-Step"])
        steps = CASES[number][2]
        this = steps[step]
        Origin.seen.setdefault(number, {})[step] = list(self.headers.items())
        if this.close:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        given = this.answer if this.answer is not None else steps[0].answer or []
        fields = [(n, v.replace("{self}", f"/case/{number}") if isinstance(v, str) else v) for n, v in given]
        fields = dated(fields)
        status, content = this.status, f"step {step + 1}".encode()
        tags = [v for n, v in fields if n == "ETag"]
        dates = [v for n, v in fields if n == "Last-Modified"]
        if step > 0 and status == 200 and (self.headers.get("If-None-Match") in tags
                                           or not tags and self.headers.get("If-Modified-Since") in dates):
            status = 304
        self.log_request = lambda *_: None
        self.send_response_only(status)
        for name, value in fields:
            self.send_header(name, value)
        if status not in (204, 304):
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if status not in (204, 304) and self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *_):
        pass

    def __getattr__(self, name):
        """Any method is answered alike."""
        if name.startswith("do_"):
            return self.respond
        raise AttributeError(name)


def ask(port, number, step, this):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ORIGIN_TIMEOUT)
    own_host = any(name == "Host" for name, _ in this.ask)
    connection.putrequest(this.method, f"/case/{number}{this.path}", skip_host=own_host, skip_accept_encoding=True)
    connection.putheader("X-Case", str(number))
    connection.putheader("X-Step", str(step))
    for name, value in this.ask:
        connection.putheader(name, value)
    if this.body is not None:
        connection.putheader("Content-Length", str(len(this.body)))
    connection.endheaders(this.body.encode() if this.body is not None else None)
    response = connection.getresponse()
    body = response.read().decode()
    fields = response.getheaders()
    connection.close()
    return response.status, fields, body


def values(fields, name):
    return [value for known, value in fields if known.lower() == name.lower()]


def run(port, number):
    """What does not hold, in a line; `None` if all does."""
    _, _, steps = CASES[number]
    for at, this in enumerate(steps):
        status, fields, body = ask(port, number, at, this)
        seen = Origin.seen.get(number, {}).get(at)
        said = ", ".join(values(fields, "Cache-Status"))
        where = f"step {at + 1}: {status} {body!r} [{said}]"
        expected = this.code or (steps[0].status if this.expect == "hit" else this.status)
        if status != expected:
            return f"{where}: not {expected}"
        if this.expect in ("hit", "cache") and seen is not None:
            return f"{where}: the origin was asked"
        if this.expect in ("miss", "validated", "stale") and seen is None:
            return f"{where}: the origin was not asked"
        if this.expect == "miss" and body and status == this.status and body != f"step {at + 1}":
            return f"{where}: an older answer"
        if this.expect == "validated" and not (values(seen, "If-None-Match") or values(seen, "If-Modified-Since")):
            return f"{where}: the origin was not asked whether it still holds"
        if this.expect in ("validated", "stale") and status == 200 and body != "step 1":
            return f"{where}: not what was stored"
        if this.text is not None and body != this.text:
            return f"{where}: not {this.text!r}"
        for name, value in this.has:
            got = values(fields, name)
            if len(got) != 1 or not (value(got[0]) if callable(value) else got[0] == value):
                return f"{where}: {name} is {got}"
        for name, value in this.lacks:
            if value in values(fields, name):
                return f"{where}: {name} is {value}"
        for name, value in this.saw:
            if seen is None or values(seen, name) != [value]:
                return f"{where}: the origin saw {name}: {seen and values(seen, name)}"
        for name in this.saw_not:
            if seen is not None and values(seen, name):
                return f"{where}: the origin saw {name}"
        time.sleep(this.pause)
    return None


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def main():
    origin = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Origin)
    threading.Thread(target=origin.serve_forever, daemon=True).start()
    port = free_port()
    proxy = subprocess.Popen([*sys.argv[1:], "--origin", f"http://127.0.0.1:{origin.server_port}", "--port", str(port)])
    try:
        for _ in range(100):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        def one(number):
            try:
                return run(port, number)
            except Exception as error:
                return f"{type(error).__name__}: {error}"
        with ThreadPoolExecutor(24) as pool:
            found = list(pool.map(one, range(len(CASES))))
    finally:
        proxy.terminate()
        proxy.wait(10)
    failed = [(case, why) for case, why in zip(CASES, found) if why]
    for (kind, what, _), why in failed:
        print(f"{kind}: {what}: {why}")
    kinds = {kind: sum(case[0] == kind for case in CASES) for kind in ("must", "may", "not")}
    print(f"{kinds['must']} required, {kinds['may']} allowed and done, {kinds['not']} allowed and left out on purpose")
    print(f"{len(CASES) - len(failed)} passed, {len(failed)} failed")
    sys.exit(bool(failed))


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    main()
