//! Which declared endpoint a request is for: never by its raw path, which anybody may make up.

use std::fmt;

use http::{Extensions, Method};
use tenant_context::{ConfigError, check_template};

/// The declared endpoints and operations. Templates are axum's (`/invoices/{id}`), matched by the same matcher.
#[derive(Clone, Default)]
pub(crate) struct Endpoints {
    declared: Vec<Declared>,
    methods: Vec<(Method, matchit::Router<usize>)>,
    grpc: Vec<(Box<str>, usize)>,
}

#[derive(Clone, Debug)]
struct Declared {
    /// As it was declared.
    name: String,
    /// Of a route: its method and template.
    route: Option<(Method, String)>,
    cost: u64,
}

impl Endpoints {
    /// Declares `"POST /reports"` or `"gRPC /pkg.Service/Method"`; the same words again are the same endpoint.
    pub(crate) fn declare(&mut self, name: &str) -> Result<usize, ConfigError> {
        if let Some(known) = self.named(name) {
            return Ok(known);
        }
        let wrong = |says: String| ConfigError::new(format!("endpoint {name:?}: {says}"));
        let at = self.declared.len();
        if let Some(path) = name.strip_prefix(GRPC) {
            if !is_grpc(path) {
                return Err(wrong(
                    "a gRPC method is written as in \"gRPC /pkg.Service/Method\"".to_owned(),
                ));
            }
            self.grpc.push((path.into(), at));
            self.push(name, None);
            return Ok(at);
        }
        let (method, template) = parse(name).map_err(|says| wrong(says.to_owned()))?;
        check_template(template)?;
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
        self.push(name, Some((method, template.to_owned())));
        Ok(at)
    }

    /// Declares an operation that is no route: `"export"`.
    pub(crate) fn declare_operation(&mut self, name: &str) -> Result<usize, ConfigError> {
        if let Some(known) = self.named(name) {
            return Ok(known);
        }
        if name.is_empty() || name.contains('/') {
            return Err(ConfigError::new(format!(
                "operation {name:?}: name it by a word without `/`, as in \"export\"; a route is declared by `.endpoint(..)`"
            )));
        }
        self.push(name, None);
        Ok(self.declared.len().saturating_sub(1))
    }

    fn push(&mut self, name: &str, route: Option<(Method, String)>) {
        self.declared.push(Declared {
            name: name.to_owned(),
            route,
            cost: 1,
        });
    }

    pub(crate) fn set_cost(&mut self, at: usize, cost: u64) {
        if let Some(declared) = self.declared.get_mut(at) {
            declared.cost = cost;
        }
    }

    /// What a request to it costs, in units; 1 if it is to none of them.
    pub(crate) fn cost(&self, at: Option<usize>) -> u64 {
        at.and_then(|at| self.declared.get(at))
            .map_or(1, |declared| declared.cost)
    }

    /// The endpoint or operation that was declared in these words.
    pub(crate) fn named(&self, name: &str) -> Option<usize> {
        self.declared.iter().position(|known| known.name == name)
    }

    pub(crate) fn name(&self, at: usize) -> Option<&str> {
        self.declared.get(at).map(|declared| declared.name.as_str())
    }

    /// The endpoint of a request: by the router's own template if it is known (feature `axum`), else
    /// by the table. A `HEAD` request is served by the `GET` route, so it falls under its budget.
    ///
    /// No allocation for templates with up to three parameters that do not compete with a fixed segment.
    #[inline]
    pub(crate) fn of(&self, method: &Method, path: &str, extensions: &Extensions) -> Option<usize> {
        if self.declared.is_empty() {
            return None;
        }
        // First: under another method than POST the path could be some route's too, and tonic does not look.
        if let Some(called) = self.grpc(path) {
            return Some(called);
        }
        let template = template_of(extensions);
        let find = |method: &Method| {
            if let Some(template) = template {
                let is = |(known, of): &(Method, String)| known == method && same(of, template);
                let is = |known: &Declared| known.route.as_ref().is_some_and(is);
                return self.declared.iter().position(is);
            }
            let (_, router) = self.methods.iter().find(|(known, _)| known == method)?;
            router.at(path).ok().map(|found| *found.value)
        };
        match find(method) {
            None if *method == Method::HEAD => find(&Method::GET),
            found => found,
        }
    }

    /// A gRPC method counts whatever the HTTP method is: it should be POST, but tonic does not look.
    fn grpc(&self, path: &str) -> Option<usize> {
        let called = self.grpc.iter().find(|(known, _)| **known == *path);
        called.map(|(_, at)| *at)
    }
}

impl fmt::Debug for Endpoints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.declared.iter().map(|known| &known.name))
            .finish()
    }
}

/// How a gRPC method is declared.
const GRPC: &str = "gRPC ";

/// `/package.Service/Method`: two fixed segments.
fn is_grpc(path: &str) -> bool {
    let mut segments = path.split('/');
    let fixed = |segment: Option<&str>| {
        segment.is_some_and(|segment| {
            let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'.';
            !segment.is_empty() && segment.bytes().all(word)
        })
    };
    segments.next() == Some("")
        && fixed(segments.next())
        && fixed(segments.next())
        && segments.next().is_none()
}

fn parse(route: &str) -> Result<(Method, &str), &'static str> {
    let form = "write method and template, as in \"POST /reports\" or \"gRPC /pkg.Service/Method\"";
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

    /// Found by the fuzz target: the matcher panics at 26.
    #[test]
    fn i6_a_template_of_too_many_parameters_is_an_error() {
        let mut endpoints = Endpoints::default();
        for parameters in [17, 26, 1000] {
            let template = format!("GET {}", "/{x}".repeat(parameters));
            assert!(endpoints.declare(&template).is_err());
        }
        let most = ["/{p}"; 16].concat();
        assert!(check_template(&most).is_ok());
    }

    #[allow(clippy::unwrap_used, reason = "tests")]
    fn table(routes: &[&str]) -> Endpoints {
        let mut endpoints = Endpoints::default();
        for (at, route) in routes.iter().enumerate() {
            assert_eq!(endpoints.declare(route).unwrap(), at);
        }
        endpoints
    }

    fn of(endpoints: &Endpoints, method: &Method, path: &str) -> Option<usize> {
        endpoints.of(method, path, &Extensions::new())
    }

    #[test]
    fn a_grpc_method_is_declared_as_one_and_counts_under_whatever_http_method() {
        let endpoints = table(&["gRPC /pkg.Service/Method", "POST /pkg.Other/Method"]);
        for method in [
            Method::POST,
            Method::PUT,
            Method::GET,
            Method::HEAD,
            Method::OPTIONS,
        ] {
            let found = |path| of(&endpoints, &method, path);
            assert_eq!(found("/pkg.Service/Method"), Some(0), "{method}");
            let declared_as_http = (method == Method::POST).then_some(1);
            assert_eq!(found("/pkg.Other/Method"), declared_as_http, "{method}");
            assert_eq!(found("/pkg.Service/method"), None);
        }
        for route in [
            "gRPC pkg.Service/Method",
            "gRPC /a",
            "gRPC /a/b/c",
            "gRPC /a/{b}",
            "gRPC ",
        ] {
            let error = Endpoints::default().declare(route).unwrap_err().to_string();
            assert!(error.contains("gRPC /pkg.Service/Method"), "{error}");
        }
    }

    #[test]
    fn a_route_that_fits_too_does_not_take_a_grpc_method() {
        let endpoints = table(&["gRPC /pkg.Service/Method", "GET /{a}/{b}"]);
        let found = |path| of(&endpoints, &Method::GET, path);
        assert_eq!(found("/pkg.Service/Method"), Some(0));
        assert_eq!(found("/pkg.Service/Other"), Some(1));
    }

    #[test]
    fn requests_find_their_template() {
        let endpoints = table(&[
            "POST /reports",
            "GET /reports/{id}",
            "GET /files/{*path}",
            "gRPC /pkg.Service/Method",
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
            let error = Endpoints::default().declare(route).unwrap_err();
            assert!(error.to_string().contains(says), "{route:?}: {error}");
        }
    }

    #[test]
    fn the_same_words_are_the_same_endpoint_and_no_two_match_the_same_requests() {
        let mut endpoints = table(&["GET /a/{id}"]);
        assert_eq!(endpoints.declare("GET /a/{id}").unwrap(), 0);
        let error = endpoints.declare("GET /a/{name}").unwrap_err();
        assert!(error.to_string().contains("declare one of them"), "{error}");
        assert!(endpoints.declare("POST /a/{name}").is_ok());
    }

    #[test]
    fn an_operation_is_no_route() {
        let mut endpoints = table(&["GET /export"]);
        assert_eq!(endpoints.declare_operation("export").unwrap(), 1);
        assert_eq!(endpoints.declare_operation("export").unwrap(), 1);
        assert_eq!(endpoints.named("export"), Some(1));
        assert_eq!(of(&endpoints, &Method::GET, "export"), None);
        assert!(endpoints.declare_operation("GET /b").is_err());
        assert!(endpoints.declare_operation("").is_err());
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
