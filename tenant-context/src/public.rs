//! Routes without a tenant: declared, by method and template.

use std::fmt;

use http::{Extensions, Method};

use crate::{ConfigError, check_template};

/// The routes that are served without a credential. Nothing is public by accident: a route that is
/// not declared needs a context.
///
/// Templates are axum's (`/docs/{*path}`), matched by the same matcher on the raw path; gRPC methods
/// are paths too (`POST /grpc.health.v1.Health/Check`). A request whose path would only match after
/// decoding or normalising is not public, nor is one that would be another path after it. If a router has said which of its routes it chose, that must be
/// the declared one.
#[derive(Clone, Default)]
pub(crate) struct PublicRoutes {
    routes: matchit::Router<Route>,
    declared: Vec<Declared>,
}

#[derive(Clone)]
struct Declared {
    method: Method,
    template: String,
    public: bool,
}

#[derive(Clone, Default)]
struct Route {
    template: String,
    public: Vec<Method>,
}

impl PublicRoutes {
    pub(crate) fn declare(&mut self, method: Method, template: &str) -> Result<(), ConfigError> {
        self.add(method, template, true)
    }

    /// A route that would match a public template, and is not public.
    pub(crate) fn except(&mut self, method: Method, template: &str) -> Result<(), ConfigError> {
        self.add(method, template, false)
    }

    fn add(&mut self, method: Method, template: &str, public: bool) -> Result<(), ConfigError> {
        check(template)?;
        check_template(template)?;
        let twice = self.declared.iter().any(|known| {
            known.method == method && known.template == template && known.public != public
        });
        if twice {
            return Err(ConfigError::new(format!(
                "{method} {template:?} is declared public and not public; leave one of the two out"
            )));
        }
        self.declared.push(Declared {
            method,
            template: template.to_owned(),
            public,
        });
        // A template that stands already takes another method; `insert` would refuse it.
        let mut grouped: Vec<Route> = Vec::new();
        for declared in &self.declared {
            let known = grouped.iter().position(|r| r.template == declared.template);
            let public = declared.public.then(|| declared.method.clone());
            match known.and_then(|at| grouped.get_mut(at)) {
                Some(route) => route.public.extend(public),
                None => grouped.push(Route {
                    template: declared.template.clone(),
                    public: public.into_iter().collect(),
                }),
            }
        }
        let mut routes = matchit::Router::new();
        for route in grouped {
            let template = route.template.clone();
            routes
                .insert(&template, route)
                .map_err(|error| ConfigError::new(format!("public route {template:?}: {error}")))?;
        }
        self.routes = routes;
        Ok(())
    }

    pub(crate) fn allows(&self, method: &Method, path: &str, extensions: &Extensions) -> bool {
        if is_ambiguous(path) {
            return false;
        }
        self.routes.at(path).is_ok_and(|found| {
            let Route { template, public } = found.value;
            // A router serves HEAD with the handler of GET.
            let head = *method == Method::HEAD && public.contains(&Method::GET);
            (head || public.contains(method)) && is_routed_to(template, extensions)
        })
    }
}

/// Whether whoever reads the path after us may take it for another one: dot segments, doubled and encoded slashes and
/// dots, backslashes, encoded percent signs.
fn is_ambiguous(path: &str) -> bool {
    let encoded = |code: &str| {
        ["2f", "2e", "5c", "25", "00"].iter().any(|odd| {
            code.get(..2)
                .is_some_and(|code| code.eq_ignore_ascii_case(odd))
        })
    };
    // `..;x` is a dot segment to readers that know path parameters.
    let name = |segment: &'_ str| matches!(segment.split(';').next(), Some("." | ".."));
    path.contains("//")
        || path.contains('\\')
        || path.split('/').any(name)
        || path.split('%').skip(1).any(encoded)
}

fn check(template: &str) -> Result<(), ConfigError> {
    if !template.starts_with('/') {
        return Err(ConfigError::new(format!(
            "public route {template:?}: a template begins with `/`"
        )));
    }
    let old = template
        .split('/')
        .find(|segment| segment.starts_with([':', '*']));
    if let Some(segment) = old {
        let name = segment.trim_start_matches([':', '*']);
        let star = if segment.starts_with('*') { "*" } else { "" };
        return Err(ConfigError::new(format!(
            "public route {template:?}: {segment:?} would match nothing but these very characters; write `{{{star}{name}}}`"
        )));
    }
    Ok(())
}

/// Whether a router that has chosen a route, if one has, chose this template: a router has routes that
/// were not declared here, and prefers them.
#[cfg(feature = "axum")]
fn is_routed_to(template: &str, extensions: &Extensions) -> bool {
    let Some(matched) = extensions.get::<axum::extract::MatchedPath>() else {
        return true;
    };
    let matched = matched.as_str();
    let ends_in_catch_all = matched
        .rsplit('/')
        .next()
        .is_some_and(|last| last.starts_with("{*"));
    // Within a nested router the path has lost the prefix that the template of the whole still has; a
    // catch-all is a router outside of ours.
    matched.ends_with(template) || ends_in_catch_all
}

#[cfg(not(feature = "axum"))]
const fn is_routed_to(_: &str, _: &Extensions) -> bool {
    true
}

/// Marks a request that the identity layer let pass without a context, because its route is declared
/// public and no credential was presented.
///
/// Layers that otherwise require a context let such a request pass. Nothing else makes one.
#[derive(Clone, Copy, Debug)]
pub struct PublicRoute(());

impl PublicRoute {
    pub(crate) const fn declared() -> Self {
        Self(())
    }

    /// Whether the request was let pass as public.
    pub fn of(extensions: &Extensions) -> bool {
        extensions.get::<Self>().is_some()
    }
}

impl fmt::Debug for PublicRoutes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let entries = self.declared.iter().map(|declared| {
            let Declared {
                method,
                template,
                public,
            } = declared;
            (
                if *public { "public" } else { "not public" },
                method,
                template,
            )
        });
        f.debug_list().entries(entries).finish()
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;

    fn allows(routes: &PublicRoutes, method: &Method, path: &str) -> bool {
        routes.allows(method, path, &Extensions::new())
    }

    #[test]
    fn only_the_declared_method_and_template_are_public() {
        let mut routes = PublicRoutes::default();
        routes.declare(Method::GET, "/health").unwrap();
        routes.declare(Method::HEAD, "/health").unwrap();
        routes.declare(Method::GET, "/docs/{*path}").unwrap();
        assert!(allows(&routes, &Method::GET, "/health"));
        assert!(allows(&routes, &Method::HEAD, "/health"));
        assert!(allows(&routes, &Method::GET, "/docs/a/b"));
        assert!(
            allows(&routes, &Method::HEAD, "/docs/a"),
            "HEAD goes with GET"
        );
        assert!(!allows(&routes, &Method::POST, "/health"));
        for path in [
            "/health/",
            "//health",
            "/Health",
            "/%68ealth",
            "/health/..",
            "/health;x",
            "/",
            "",
            "/docs",
        ] {
            assert!(!allows(&routes, &Method::GET, path), "{path}");
        }
        assert!(allows(&routes, &Method::GET, "/docs/a%20b/c.html;v=1"));
        for path in [
            "/docs/../invoices",
            "/docs/..%2finvoices",
            "/docs/%2e%2E/x",
            "/docs//x",
            "/docs/./x",
            "/docs/..;/x",
            "/docs/..\\x",
            "/docs/a%5Cx",
            "/docs/%252e%252e/x",
            "/docs/..",
        ] {
            assert!(!allows(&routes, &Method::GET, path), "{path}");
        }
    }

    #[test]
    fn a_bad_template_says_so() {
        let mut routes = PublicRoutes::default();
        assert!(
            routes
                .declare(Method::GET, "health")
                .unwrap_err()
                .to_string()
                .contains("begins with `/`")
        );
        assert!(routes.declare(Method::GET, "/{a}{b}").is_err());
        for (template, says) in [
            ("/a/:id", "write `{id}`"),
            ("/a/*rest", "write `{*rest}`"),
            ("/:id/b", "write `{id}`"),
        ] {
            let error = routes.declare(Method::GET, template).unwrap_err();
            assert!(error.to_string().contains(says), "{error}");
        }
        let mut routes = PublicRoutes::default();
        routes.declare(Method::GET, "/a:b").unwrap();
        assert!(
            allows(&routes, &Method::GET, "/a:b"),
            "a colon within a segment is itself"
        );
    }

    #[test]
    fn a_route_beside_a_public_template_can_be_excepted() {
        let mut routes = PublicRoutes::default();
        routes.declare(Method::GET, "/users/{id}").unwrap();
        assert!(allows(&routes, &Method::GET, "/users/me"));
        routes.except(Method::GET, "/users/me").unwrap();
        assert!(!allows(&routes, &Method::GET, "/users/me"));
        assert!(!allows(&routes, &Method::HEAD, "/users/me"));
        assert!(allows(&routes, &Method::GET, "/users/you"));
        let error = routes.declare(Method::GET, "/users/me").unwrap_err();
        assert!(
            error.to_string().contains("leave one of the two out"),
            "{error}"
        );
        routes.declare(Method::POST, "/users/me").unwrap();
        assert!(allows(&routes, &Method::POST, "/users/me"));
        assert!(!allows(&routes, &Method::GET, "/users/me"));
    }
}
