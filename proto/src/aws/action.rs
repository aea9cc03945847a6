//! An action of a service: its request type names it, and what answers it.
//!
//! The accessors let the code around the handler table treat DryRun, ClientToken, paging, filters and
//! tags once for all actions. No handler, no HTTP here.

use super::filter::Filter;
use super::{Decode, Encode, Params, WireFault, ec2, sts};

/// The Query services' word for the version of a request that names none.
const NO_VERSION: &str = "NO_VERSION_SPECIFIED";

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Service {
    Ec2,
    Sts,
}

pub trait Action: Decode + Send + Sync + 'static {
    const NAME: &'static str;
    const SERVICE: Service;
    /// False when the service's model gives the action no output at all.
    const HAS_RESULT: bool = true;
    /// The smallest page that may be asked for.
    const MAX_RESULTS_MIN: i64 = super::paging::MAX_RESULTS_MIN;
    type Output: Encode + Send + Sync + 'static;

    fn dry_run(&self) -> Option<bool> {
        None
    }
    fn client_token(&self) -> Option<&str> {
        None
    }
    fn filters(&self) -> &[Filter] {
        &[]
    }
    /// The tags that the request gives to what it makes.
    fn tag_specifications(&self) -> &[ec2::TagSpecification] {
        &[]
    }
    fn next_token(&self) -> Option<&str> {
        None
    }
    fn max_results(&self) -> Option<i32> {
        None
    }
    /// Puts the token of the next page into the answer; nothing where answers have no pages.
    fn set_next_token(_output: &mut Self::Output, _token: Option<String>) {}
}

impl Service {
    pub const ALL: &'static [Service] = &[Service::Ec2, Service::Sts];

    /// The service of a credential scope.
    pub fn from_name(name: &str) -> Option<Service> {
        Self::ALL.iter().copied().find(|service| service.name() == name)
    }

    /// The name that policies (`ec2:RunInstances`) and credential scopes use.
    pub fn name(self) -> &'static str {
        match self {
            Service::Ec2 => "ec2",
            Service::Sts => "sts",
        }
    }

    /// The name that AWS's messages use.
    fn title(self) -> &'static str {
        match self {
            Service::Ec2 => "AmazonEC2",
            Service::Sts => "AWSSecurityTokenService",
        }
    }

    pub fn versions(self) -> &'static [&'static str] {
        match self {
            Service::Ec2 => ec2::VERSIONS,
            Service::Sts => sts::VERSIONS,
        }
    }

    /// The newest version, for answers to requests whose own version is unusable.
    pub fn newest_version(self) -> &'static str {
        self.versions().last().copied().unwrap_or_default()
    }

    /// The version that a request asks for, if the service has had it.
    pub fn asked_version(self, params: &Params) -> Result<&'static str, WireFault> {
        let asked = params.version();
        let known = self.versions().iter().find(|version| Some(**version) == asked);
        known.copied().ok_or_else(|| match (self, asked) {
            (Service::Ec2, None) => WireFault::missing("Version"),
            (Service::Ec2, Some(asked)) => WireFault::no_such_version(asked, self.title()),
            (Service::Sts, _) => self.no_such_action(params),
        })
    }

    /// What a request is refused with whose action is not served. EC2 names the action; the Query services know
    /// operations of a version, and nothing else.
    pub fn no_such_action(self, params: &Params) -> WireFault {
        let action = params.action().unwrap_or_default();
        match self {
            Service::Ec2 => WireFault::invalid_action(action),
            Service::Sts => WireFault::no_such_operation(action, params.version().unwrap_or(NO_VERSION)),
        }
    }
}

/// Reads a whole request. What is left over was not recognised, which EC2 refuses; the Query services
/// ignore it.
pub fn decode<A: Action>(mut params: Params) -> Result<A, WireFault> {
    params.drop_common();
    match A::SERVICE {
        Service::Ec2 => {
            let request = A::decode(&mut params)?;
            params.finish()?;
            Ok(request)
        }
        Service::Sts => A::decode(&mut params).map_err(in_query_words),
    }
}

/// The services of the Query protocol call every refused value a ValidationError.
fn in_query_words(fault: WireFault) -> WireFault {
    match fault.code {
        "InvalidParameterValue" | "MissingParameter" | "UnknownParameter" => {
            WireFault::new("ValidationError", fault.message)
        }
        _ => fault,
    }
}

#[cfg(test)]
mod tests;
