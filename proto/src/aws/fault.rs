//! What can be wrong with a request's form, in EC2's own codes and words.
//!
//! Only faults of the wire: what a well-formed request may not do is the handler's to say.

use crate::fault::shown;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct WireFault {
    pub code: &'static str,
    pub message: String,
}

impl WireFault {
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    pub fn malformed(what: impl Into<String>) -> Self {
        Self::new("MalformedQueryString", what)
    }

    pub fn missing(parameter: &str) -> Self {
        Self::new("MissingParameter", format!("The request must contain the parameter {}", shown(parameter)))
    }

    pub fn unknown(parameter: &str) -> Self {
        Self::new("UnknownParameter", format!("The parameter {} is not recognized", shown(parameter)))
    }

    /// `why` is a sentence, or empty.
    pub fn invalid(parameter: &str, value: &str, why: &str) -> Self {
        let (parameter, value) = (shown(parameter), shown(value));
        let message = format!("Value ({value}) for parameter {parameter} is invalid. {why}");
        Self::new("InvalidParameterValue", message.trim_end())
    }

    pub fn invalid_action(action: &str) -> Self {
        let action = shown(action);
        Self::new("InvalidAction", format!("The action {action} is not valid for this web service."))
    }

    /// As the Query services say it.
    pub fn no_such_operation(action: &str, version: &str) -> Self {
        let (action, version) = (shown(action), shown(version));
        Self::new("InvalidAction", format!("Could not find operation {action} for version {version}"))
    }

    pub fn no_such_version(version: &str, service: &str) -> Self {
        let version = shown(version);
        let message = format!("The requested version ({version}) of service {service} does not exist");
        Self::new("NoSuchVersion", message)
    }
}

impl From<WireFault> for crate::fault::Fault {
    fn from(fault: WireFault) -> Self {
        use crate::fault::{Fault, FaultCode};
        match FaultCode::from_wire(fault.code) {
            Some(code) => Fault::new(code, fault.message),
            None => Fault::internal(fault),
        }
    }
}
