//! What is asked of every declared template before a matcher sees it.

use crate::ConfigError;

/// The most parameters of a template that is declared to a layer.
const MAX_PARAMETERS: usize = 16;

/// Refuses a template that no matcher should be given, for layers that match templates: one with more than 16 braces that
/// open. The matcher panics at 26 parameters.
///
/// ```
/// use tenant_context::check_template;
///
/// assert!(check_template("/invoices/{id}").is_ok());
/// assert!(check_template(&"/{x}".repeat(17)).is_err());
/// ```
///
/// # Errors
///
/// [`ConfigError`] that names the template.
pub fn check_template(template: &str) -> Result<(), ConfigError> {
    if template.matches('{').count() > MAX_PARAMETERS {
        return Err(ConfigError::new(format!(
            "route {template:?}: it has more than {MAX_PARAMETERS} parameters; end it in `{{*rest}}`"
        )));
    }
    Ok(())
}
