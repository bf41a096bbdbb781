//! Which declared endpoint a request is for: never by its raw path, which anybody may make up.

use std::fmt;

use http::{Extensions, Method};
use tenant_context::ConfigError;

use crate::{Dimension, Quota, cells::Budget};

/// The declared endpoints. Templates are axum's (`/invoices/{id}`), matched by the same matcher.
#[derive(Clone, Default)]
pub(crate) struct Endpoints {
    declared: Vec<Declared>,
    methods: Vec<(Method, matchit::Router<usize>)>,
}

#[derive(Clone, Debug)]
struct Declared {
    method: Method,
    template: String,
    budget: Budget,
    /// Whether it has the form of a gRPC method.
    grpc: bool,
}

impl Endpoints {
    /// Declares `"POST /reports"`.
    pub(crate) fn declare(&mut self, route: &str, quota: Quota) -> Result<(), ConfigError> {
        let wrong = |says: String| ConfigError::new(format!("endpoint {route:?}: {says}"));
        let (method, template) = parse(route).map_err(|says| wrong(says.to_owned()))?;
        let budget =
            Budget::new(Dimension::Endpoint, quota).map_err(|error| wrong(error.to_string()))?;
        let at = self.declared.len();
        let known = self.methods.iter().position(|(known, _)| *known == method);
        let known = known.unwrap_or_else(|| {
            self.methods.push((method.clone(), matchit::Router::new()));
            self.methods.len().saturating_sub(1)
        });
        if let Some((_, router)) = self.methods.get_mut(known) {
            router.insert(template, at).map_err(|error| match error {
                matchit::InsertError::Conflict { with } => wrong(format!(
                    "it matches the same requests as {with:?}, which is declared too; declare one of them"
                )),
                error => wrong(format!("{error}; write the template as the router has it")),
            })?;
        }
        self.declared.push(Declared {
            grpc: method == Method::POST && is_grpc(template),
            method,
            template: template.to_owned(),
            budget,
        });
        Ok(())
    }

    pub(crate) fn len(&self) -> usize {
        self.declared.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.declared.is_empty()
    }

    pub(crate) fn budget(&self, at: usize) -> Option<&Budget> {
        self.declared.get(at).map(|declared| &declared.budget)
    }

    pub(crate) fn budgets(&self) -> impl Iterator<Item = &Budget> {
        self.declared.iter().map(|declared| &declared.budget)
    }

    /// The endpoint that was declared in these words.
    pub(crate) fn named(&self, route: &str) -> Option<usize> {
        let (method, template) = parse(route).ok()?;
        self.declared
            .iter()
            .position(|known| known.method == method && known.template == template)
    }

    /// The endpoint of a request: by the router's own template if it is known (feature `axum`), else
    /// by the table. A `HEAD` request is served by the `GET` route, so it falls under its budget.
    ///
    /// No allocation for templates with up to three parameters that do not compete with a fixed segment.
    pub(crate) fn of(&self, method: &Method, path: &str, extensions: &Extensions) -> Option<usize> {
        if self.declared.is_empty() {
            return None;
        }
        let template = template_of(extensions);
        let find = |method: &Method| {
            if let Some(template) = template {
                let known =
                    |known: &Declared| known.method == *method && same(&known.template, template);
                return self.declared.iter().position(known);
            }
            let (_, router) = self.methods.iter().find(|(known, _)| known == method)?;
            router.at(path).ok().map(|found| *found.value)
        };
        match find(method) {
            None if *method == Method::HEAD => find(&Method::GET),
            found => found,
        }
        .or_else(|| self.grpc(path))
    }

    /// A gRPC method counts whatever the HTTP method is: it should be POST, but tonic does not look.
    fn grpc(&self, path: &str) -> Option<usize> {
        let called = |known: &Declared| known.grpc && known.template == path;
        self.declared.iter().position(called)
    }
}

impl fmt::Debug for Endpoints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let routes = self.declared.iter();
        f.debug_map()
            .entries(routes.map(|known| {
                let Declared {
                    method,
                    template,
                    budget,
                    ..
                } = known;
                (format!("{method} {template}"), budget.quota)
            }))
            .finish()
    }
}

/// `/package.Service/Method`: two fixed segments, the second in upper camel case, as protobuf's style
/// has it.
fn is_grpc(template: &str) -> bool {
    let mut segments = template.split('/').skip(1);
    let (service, method, end) = (segments.next(), segments.next(), segments.next());
    let camel = method.is_some_and(|method| method.starts_with(|c: char| c.is_ascii_uppercase()));
    camel
        && end.is_none()
        && service.is_some_and(|service| !service.is_empty())
        && !template.contains('{')
}

fn parse(route: &str) -> Result<(Method, &str), &'static str> {
    let form = "write method and template, as in \"POST /reports\" or \"POST /pkg.Service/Method\"";
    let (method, template) = route.split_once(' ').ok_or(form)?;
    if method.is_empty()
        || !method
            .bytes()
            .all(|byte| byte.is_ascii_uppercase() || byte == b'-')
    {
        return Err("methods are case-sensitive: write it in upper case, as in \"POST /reports\"");
    }
    let method = Method::from_bytes(method.as_bytes()).map_err(|_| form)?;
    if !template.starts_with('/') || template.contains([' ', '?', '#']) {
        return Err(
            "a template begins with `/` and has neither blanks nor a query, as in \"POST /reports\"",
        );
    }
    if template
        .split('/')
        .any(|segment| segment.starts_with([':', '*']))
    {
        return Err("parameters are written `{id}` and `{*rest}`, as axum 0.8 has them");
    }
    Ok((method, template))
}

#[cfg(feature = "axum")]
fn template_of(extensions: &Extensions) -> Option<&str> {
    extensions
        .get::<axum::extract::MatchedPath>()
        .map(axum::extract::MatchedPath::as_str)
}

#[cfg(not(feature = "axum"))]
fn template_of(_: &Extensions) -> Option<&str> {
    None
}

/// Whether two templates match the same requests: parameters may be named differently.
fn same(one: &str, other: &str) -> bool {
    let (mut one, mut other) = (one.split('/'), other.split('/'));
    loop {
        match (one.next(), other.next()) {
            (None, None) => return true,
            (Some(a), Some(b)) if a == b || shape(a).is_some_and(|a| Some(a) == shape(b)) => {}
            _ => return false,
        }
    }
}

/// What stands before a segment's parameter, and whether it takes the rest of the path.
fn shape(segment: &str) -> Option<(&str, bool)> {
    let (before, parameter) = segment.split_once('{')?;
    let named = parameter.ends_with('}') && !parameter.starts_with('{');
    named.then(|| (before, parameter.starts_with('*')))
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const SOME: Quota = Quota::per_minute(1);

    #[allow(clippy::unwrap_used, reason = "tests")]
    fn table(routes: &[&str]) -> Endpoints {
        let mut endpoints = Endpoints::default();
        for route in routes {
            endpoints.declare(route, SOME).unwrap();
        }
        endpoints
    }

    fn of(endpoints: &Endpoints, method: &Method, path: &str) -> Option<usize> {
        endpoints.of(method, path, &Extensions::new())
    }

    #[test]
    fn a_grpc_method_counts_under_whatever_http_method() {
        let endpoints = table(&[
            "POST /pkg.Service/Method",
            "POST /api/reports",
            "POST /Items/{id}",
        ]);
        for method in [
            Method::POST,
            Method::PUT,
            Method::GET,
            Method::HEAD,
            Method::OPTIONS,
        ] {
            assert_eq!(
                of(&endpoints, &method, "/pkg.Service/Method"),
                Some(0),
                "{method}"
            );
        }
        assert_eq!(of(&endpoints, &Method::GET, "/pkg.Service/method"), None);
        assert_eq!(of(&endpoints, &Method::GET, "/api/reports"), None);
        assert_eq!(of(&endpoints, &Method::GET, "/Items/1"), None);
    }

    #[test]
    fn requests_find_their_template() {
        let endpoints = table(&[
            "POST /reports",
            "GET /reports/{id}",
            "GET /files/{*path}",
            "POST /pkg.Service/Method",
            "GET /reports/latest",
        ]);
        for (method, path, found) in [
            (Method::POST, "/reports", Some(0)),
            (Method::GET, "/reports/17", Some(1)),
            (Method::GET, "/reports/18", Some(1)),
            (Method::GET, "/reports/latest", Some(4)),
            (Method::GET, "/files/a/b", Some(2)),
            (Method::POST, "/pkg.Service/Method", Some(3)),
            (Method::GET, "/reports", None),
            (Method::POST, "/reports/", None),
            (Method::POST, "//reports", None),
            (Method::POST, "/Reports", None),
            (Method::PUT, "/reports", None),
        ] {
            assert_eq!(of(&endpoints, &method, path), found, "{path}");
        }
    }

    #[test]
    fn head_does_not_slip_past_the_budget_of_get() {
        let endpoints = table(&["GET /export", "HEAD /cheap", "GET /cheap"]);
        assert_eq!(of(&endpoints, &Method::HEAD, "/export"), Some(0));
        assert_eq!(of(&endpoints, &Method::HEAD, "/cheap"), Some(1));
    }

    #[test]
    fn a_route_that_would_never_match_says_so() {
        for (route, says) in [
            ("POST reports", "begins with `/`"),
            ("/reports", "write method and template"),
            ("POST", "write method and template"),
            ("POST  /reports", "begins with `/`"),
            ("post /reports", "upper case"),
            (" /reports", "upper case"),
            ("POST /reports?all", "query"),
            ("GET /reports/:id", "`{id}`"),
            ("GET /reports/*", "`{id}`"),
            ("GET /{a}{b}", "template as the router has it"),
            ("", "write method and template"),
        ] {
            let error = Endpoints::default().declare(route, SOME).unwrap_err();
            assert!(error.to_string().contains(says), "{route:?}: {error}");
        }
    }

    #[test]
    fn an_endpoint_is_declared_once() {
        let mut endpoints = table(&["GET /a/{id}"]);
        let error = endpoints.declare("GET /a/{name}", SOME).unwrap_err();
        assert!(error.to_string().contains("declare one of them"), "{error}");
        assert!(endpoints.declare("POST /a/{name}", SOME).is_ok());
        assert!(endpoints.declare("GET /b", Quota::per_second(0)).is_err());
    }

    #[test]
    fn templates_are_compared_by_shape() {
        assert!(same("/a/{id}/b", "/a/{name}/b"));
        assert!(same("/f/{*p}", "/f/{*rest}"));
        assert!(same("/v-{a}", "/v-{b}"));
        assert!(!same("/f/{*p}", "/f/{p}"));
        assert!(!same("/v-{a}", "/w-{a}"));
        assert!(!same("/{x}", "/reports"));
        assert!(!same("/a", "/a/"));
    }
}
