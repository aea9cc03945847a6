//! What there is in kernels for a network interface or a subnet, and what it has counted.
//!
//! Asked of the cc, which looks at its own routers and asks the node of a port. Looking changes nothing.

use super::openapi::named;
use super::{ApiError, Caller};
use crate::ids::{NetworkInterfaceId, SubnetId};
use crate::runtime::client::InternalClient;
use aide::axum::ApiRouter;
use aide::axum::routing::get_with;
use async_trait::async_trait;
use axum::extract::{Path, State};
use axum::{Json, Router};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// Of one controller's look.
pub const KERNEL_LINES_MAX: usize = 1000;
pub const DIFFERENCES_MAX: usize = 100;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum KernelAbout {
    /// Its port on a node.
    Port(NetworkInterfaceId),
    /// Its router's part, and what the cluster controller's host has of its segment.
    Subnet(SubnetId),
}

impl FromStr for KernelAbout {
    type Err = ApiError;

    fn from_str(text: &str) -> Result<Self, ApiError> {
        let port = text.parse().map(Self::Port);
        port.or_else(|_| text.parse().map(Self::Subnet))
            .map_err(|_| ApiError::invalid(format!("{text}: expecting subnet-… or eni-…")))
    }
}

impl fmt::Display for KernelAbout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Port(id) => id.fmt(f),
            Self::Subnet(id) => id.fmt(f),
        }
    }
}

/// What one controller saw.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KernelPart {
    /// `nc node-1`, `cc zone-a`.
    pub who: String,
    #[serde(flatten)]
    pub look: KernelLook,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KernelLook {
    pub lines: Vec<KernelLine>,
    /// What is not as it is wanted, in sentences; also that nobody could look.
    pub differs: Vec<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KernelLine {
    /// `iptables mangle CHAIN`, `ipset`, `ebtables nat CHAIN`, `bridge`, `ip route table N`.
    pub place: String,
    /// As the kernel's own tools print it.
    pub text: String,
    /// That it has matched, where that is counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub packets: Option<u64>,
    /// The verdict beside it follows from this one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub decides: bool,
}

impl KernelPart {
    /// Nobody has looked.
    pub fn blind(who: impl Into<String>, why: impl fmt::Display) -> Self {
        let differs = vec![format!("nobody has looked: {why}")];
        Self { who: who.into(), look: KernelLook { lines: Vec::new(), differs } }
    }
}

impl KernelLook {
    pub fn line(&mut self, place: impl Into<String>, text: impl Into<String>, packets: Option<u64>) {
        self.lines.push(KernelLine { place: place.into(), text: text.into(), packets, decides: false });
    }

    pub fn differs(&mut self, what: impl Into<String>) {
        self.differs.push(what.into());
    }

    /// Compares rules in their order.
    pub fn compare(&mut self, place: &str, found: Option<&[String]>, wanted: &[String]) {
        let Some(found) = found else { return self.differs(format!("{place} is missing")) };
        if found == wanted {
            return;
        }
        let before = self.differs.len();
        for line in wanted.iter().filter(|line| !found.contains(line)) {
            self.differs(format!("{place} lacks: {line}"));
        }
        for line in found.iter().filter(|line| !wanted.contains(line)) {
            self.differs(format!("{place} has besides: {line}"));
        }
        if self.differs.len() == before {
            self.differs(format!("{place} has its lines in another order, or one of them twice"));
        }
    }

    /// No longer than what is told in one answer.
    pub fn bounded(mut self) -> Self {
        let more = self.lines.len().saturating_sub(KERNEL_LINES_MAX);
        self.lines.truncate(KERNEL_LINES_MAX);
        if more > 0 {
            self.line("", format!("… and {more} lines more"), None);
        }
        let more = self.differs.len().saturating_sub(DIFFERENCES_MAX);
        self.differs.truncate(DIFFERENCES_MAX);
        if more > 0 {
            self.differs(format!("… and {more} differences more"));
        }
        self
    }
}

/// A line of `iptables-save -c`: packets, chain, rule.
pub fn counted(line: &str) -> Option<(u64, &str, &str)> {
    let (counters, rest) = line.strip_prefix('[')?.split_once("] -A ")?;
    let (chain, rule) = rest.split_once(' ').unwrap_or((rest, ""));
    Some((counters.split(':').next()?.parse().ok()?, chain, rule.trim_end()))
}

#[async_trait]
pub trait KernelService: Send + Sync + 'static {
    /// A part for each controller that has something of it; none: nobody has.
    async fn kernel(&self, caller: &Caller, about: &KernelAbout) -> Result<Vec<KernelPart>, ApiError>;
}

pub fn router(service: Arc<dyn KernelService>) -> Router {
    api().with_state(service).into()
}

pub(super) fn api() -> ApiRouter<Arc<dyn KernelService>> {
    ApiRouter::new().api_route("/v1/kernel/{about}", get_with(handle_kernel, named("kernel")))
}

async fn handle_kernel(
    State(service): State<Arc<dyn KernelService>>,
    caller: Caller,
    Path(about): Path<String>,
) -> Result<Json<Vec<KernelPart>>, ApiError> {
    service.kernel(&caller, &about.parse()?).await.map(Json)
}

#[async_trait]
impl KernelService for InternalClient {
    async fn kernel(&self, caller: &Caller, about: &KernelAbout) -> Result<Vec<KernelPart>, ApiError> {
        self.get(&format!("/v1/kernel/{about}"), &caller.request_id).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counted_rule_is_taken_apart() {
        let line = "[12:720] -A KARRI-k1-to -p tcp -m tcp --dport 22 -j DROP";
        assert_eq!(counted(line), Some((12, "KARRI-k1-to", "-p tcp -m tcp --dport 22 -j DROP")));
        for other in
            [":KARRI-k1-to - [0:0]", "COMMIT", "# x", "*mangle", "[x:1] -A A -j DROP", "-A A -j DROP"]
        {
            assert_eq!(counted(other), None, "{other}");
        }
    }

    #[test]
    fn what_differs_is_named() {
        let lines = |all: &[&str]| all.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>();
        let wanted = lines(&["a", "b"]);
        let check = |found: Option<&[&str]>, expected: &[&str]| {
            let mut look = KernelLook::default();
            look.compare("C", found.map(lines).as_deref(), &wanted);
            assert_eq!(look.differs, lines(expected), "{found:?}");
        };
        check(Some(&["a", "b"]), &[]);
        check(None, &["C is missing"]);
        check(Some(&["a"]), &["C lacks: b"]);
        check(Some(&["a", "x", "b"]), &["C has besides: x"]);
        check(Some(&["b", "a"]), &["C has its lines in another order, or one of them twice"]);
        check(Some(&["a", "b", "b"]), &["C has its lines in another order, or one of them twice"]);
    }

    #[test]
    fn an_answer_has_an_end() {
        let mut look = KernelLook::default();
        (0..KERNEL_LINES_MAX + 3).for_each(|number| look.line("p", number.to_string(), None));
        (0..DIFFERENCES_MAX + 2).for_each(|number| look.differs(number.to_string()));
        let look = look.bounded();
        assert_eq!(look.lines.len(), KERNEL_LINES_MAX + 1);
        assert_eq!(look.lines.last().unwrap().text, "… and 3 lines more");
        assert_eq!(look.differs.last().unwrap(), "… and 2 differences more");
    }

    #[test]
    fn interfaces_and_subnets_are_asked_about() {
        for text in ["eni-0123456789abcdef0", "subnet-0123456789abcdef0"] {
            assert_eq!(text.parse::<KernelAbout>().unwrap().to_string(), text);
        }
        for text in ["", "i-0123456789abcdef0", "eni-x", "../v1"] {
            assert!(text.parse::<KernelAbout>().is_err(), "{text}");
        }
    }
}
