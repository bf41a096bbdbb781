//! Routes without a tenant: declared, by method and template.

use std::fmt;

use http::{Extensions, Method};

use crate::ConfigError;

/// The routes that are served without a credential. Nothing is public by accident: a route that is
/// not declared needs a context.
///
/// Templates are axum's (`/docs/{*path}`), matched by the same matcher on the raw path; gRPC methods
/// are paths too (`POST /grpc.health.v1.Health/Check`). A request whose path would only match after
/// decoding or normalising is not public.
#[derive(Clone, Default)]
pub(crate) struct PublicRoutes {
    routes: matchit::Router<Vec<Method>>,
    templates: Vec<(Method, String)>,
}

impl PublicRoutes {
    pub(crate) fn declare(&mut self, method: Method, template: &str) -> Result<(), ConfigError> {
        self.templates.push((method, template.to_owned()));
        if !template.starts_with('/') {
            return Err(ConfigError::new(format!(
                "public route {template:?}: a template begins with `/`"
            )));
        }
        // A template that stands already takes another method; `insert` would refuse it.
        let mut routes = matchit::Router::new();
        let mut grouped: Vec<(String, Vec<Method>)> = Vec::new();
        for (method, template) in &self.templates {
            match grouped.iter_mut().find(|(known, _)| known == template) {
                Some((_, methods)) => methods.push(method.clone()),
                None => grouped.push((template.clone(), vec![method.clone()])),
            }
        }
        for (template, methods) in grouped {
            routes
                .insert(&template, methods)
                .map_err(|error| ConfigError::new(format!("public route {template:?}: {error}")))?;
        }
        self.routes = routes;
        Ok(())
    }

    pub(crate) fn allows(&self, method: &Method, path: &str) -> bool {
        self.routes.at(path).is_ok_and(|found| {
            // A router serves HEAD with the handler of GET.
            let head = *method == Method::HEAD && found.value.contains(&Method::GET);
            head || found.value.contains(method)
        })
    }
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
        f.debug_list().entries(&self.templates).finish()
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;

    #[test]
    fn only_the_declared_method_and_template_are_public() {
        let mut routes = PublicRoutes::default();
        routes.declare(Method::GET, "/health").unwrap();
        routes.declare(Method::HEAD, "/health").unwrap();
        routes.declare(Method::GET, "/docs/{*path}").unwrap();
        assert!(routes.allows(&Method::GET, "/health"));
        assert!(routes.allows(&Method::HEAD, "/health"));
        assert!(routes.allows(&Method::GET, "/docs/a/b"));
        assert!(
            routes.allows(&Method::HEAD, "/docs/a"),
            "HEAD goes with GET"
        );
        assert!(!routes.allows(&Method::POST, "/health"));
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
            assert!(!routes.allows(&Method::GET, path), "{path}");
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
    }
}
