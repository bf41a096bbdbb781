//! What requests are called in records: a table of routes.

use std::{borrow::Cow, fmt};

use http::Method;
use tenant_context::{ConfigError, check_template};

/// The rules of the routes, by template.
type Routes<T> = matchit::Router<Vec<(Method, T)>>;

/// Something said of each of some routes.
#[derive(Clone)]
pub(crate) struct RouteTable<T> {
    routes: Option<Box<Routes<T>>>,
    declared: Vec<(Method, String, T)>,
}

impl<T> Default for RouteTable<T> {
    fn default() -> Self {
        Self {
            routes: None,
            declared: Vec::new(),
        }
    }
}

/// The names of actions.
pub(crate) type Actions = RouteTable<Cow<'static, str>>;

impl<T: Clone> RouteTable<T> {
    pub(crate) fn declare(
        &mut self,
        method: Method,
        template: &str,
        what: T,
    ) -> Result<(), ConfigError> {
        check_template(template)?;
        self.declared.push((method, template.to_owned(), what));
        let mut grouped: Vec<(&str, Vec<(Method, T)>)> = Vec::new();
        for (method, template, what) in &self.declared {
            let rule = (method.clone(), what.clone());
            match grouped.iter_mut().find(|(known, _)| known == template) {
                Some((_, rules)) => rules.push(rule),
                None => grouped.push((template, vec![rule])),
            }
        }
        let mut routes = matchit::Router::new();
        for (template, rules) in grouped {
            routes.insert(template, rules).map_err(|error| {
                ConfigError::new(format!(
                    "audit layer: route {template:?} is no template: {error}"
                ))
            })?;
        }
        self.routes = Some(Box::new(routes));
        Ok(())
    }

    /// What was said of a request's route. HEAD is answered by what answers GET, so it is the same route unless
    /// it is declared itself. Without declared routes one comparison.
    pub(crate) fn of(&self, method: &Method, path: &str) -> Option<&T> {
        let found = self.routes.as_ref()?.at(path).ok()?.value;
        let of = |wanted: &Method| found.iter().find(|(known, _)| known == wanted);
        let rule = of(method).or_else(|| of(&Method::GET).filter(|_| method == Method::HEAD));
        rule.map(|(_, what)| what)
    }
}

impl<T: fmt::Debug> fmt::Debug for RouteTable<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.declared).finish()
    }
}
