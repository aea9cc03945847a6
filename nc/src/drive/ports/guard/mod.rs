//! Security groups at the ports: what may come to a guest and go from it, by iptables and ipset.
//!
//! ```text
//!   names.rs      what chains and sets are called
//!   rule.rs, set.rs, wanted.rs   what has to be there: a pure function of facts and ports
//!   state.rs      the same in parts, so that a change costs what it touches
//!   text.rs       as the kernel's tools print it; what leads from one state to another
//!   kernel.rs     looks at what there is, and takes such a step
//!   look.rs       one port's part of both, for people
//!   flows.rs                 connections that were let through and would not be now
//! ```
//!
//! Bridged packets come by iptables because of `br_netfilter` (docs/adr/0012). Rules stand in the table `mangle`
//! before and after everything that forwards, so that each packet from or to a guest passes exactly once what is
//! meant for it, be it bridged, routed, or the host's own.

mod flows;
mod kernel;
mod look;
mod names;
mod rule;
mod set;
mod state;
#[cfg(test)]
mod tests;
mod text;
mod wanted;

pub use kernel::generation;
pub use wanted::Hosts;

use super::{Port, PortError};
use karri_proto::network::{FactKey, FactTable, SegmentTag};
use kernel::Setting;
use names::Names;
use state::{Change, State};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::Ipv4Addr;
use std::sync::Arc;
use text::Text;
use tokio::sync::Mutex;

/// A look at every member of every set, among looks that only count them.
const LOOKS_TO_A_WHOLE_ONE: u32 = 12;
const NAMES_TOLD_MAX: usize = 8;
/// After so many looks that were overtaken by changes, changes wait for one.
const OVERTAKEN_MAX: u32 = 3;

/// Where the facts are that are in force.
pub trait Facts: Send + Sync + 'static {
    fn table(&self) -> Arc<FactTable>;
}

pub struct Guard {
    names: Names,
    facts: Arc<dyn Facts>,
    /// Held over every change, for changes go one by one.
    inner: Mutex<Inner>,
}

struct Inner {
    state: State,
    /// Whether the kernel has what the state says, as far as we know.
    certainty: Certainty,
    /// How chains were printed after they were put, where that is not as they are wanted.
    printed: BTreeMap<String, Vec<String>>,
    /// The kernel's count of changes when all was right.
    generation: Option<u32>,
    looks: u32,
    /// Looks that were in vain because something changed meanwhile.
    overtaken: u32,
    /// Grows with every step that is taken.
    steps: u64,
    setting: Setting,
}

impl Inner {
    fn places(&self, port: &Port) -> Vec<flows::Place> {
        let zone = self.setting.zones.get(&port.segment).copied().unwrap_or(0);
        port.addresses().map(|address| (zone, address)).collect()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Certainty {
    /// Which ports there are was not told yet.
    None,
    /// A step was not taken whole.
    Doubtful,
    Settled,
}

impl Guard {
    pub fn new(bridge: &str, taps: &str, facts: Arc<dyn Facts>) -> Self {
        let names = Names::new(bridge, taps);
        let inner = Inner {
            state: State::new(names.clone()),
            certainty: Certainty::None,
            printed: BTreeMap::new(),
            generation: None,
            looks: 0,
            overtaken: 0,
            steps: 0,
            setting: Setting::default(),
        };
        Self { names, facts, inner: Mutex::new(inner) }
    }

    /// Guards ports before their first packet. What an earlier owner of an address was connected to is forgotten.
    pub async fn plug(&self, ports: &[Port]) -> Result<(), PortError> {
        let mut inner = self.inner.lock().await;
        if inner.certainty == Certainty::None {
            return Err(PortError::Later("the rules of this host were not looked at yet".to_owned()));
        }
        let known =
            |port: &Port| inner.state.ports().get(&port.tap).map_or_else(Vec::new, |old| inner.places(old));
        let new = |port: &Port| {
            let known = known(port);
            inner.places(port).into_iter().filter(move |place| !known.contains(place))
        };
        let fresh: Vec<flows::Place> = ports.iter().flat_map(new).collect();
        let change = inner.state.plug(&self.facts.table(), ports);
        if fresh.is_empty() {
            return self.take(&mut inner, change).await;
        }
        // At once, for there is nobody yet who could make a new one.
        let forgotten = cut(move |flow| flows::concerns(&fresh, flow));
        tokio::try_join!(self.take(&mut inner, change), forgotten).map(|_| ())
    }

    pub async fn unplug(&self, taps: &[String]) -> Result<(), PortError> {
        let mut inner = self.inner.lock().await;
        let change = inner.state.unplug(&self.facts.table(), taps);
        self.take(&mut inner, change).await
    }

    /// After the facts of these keys have changed.
    pub async fn told(&self, keys: &[FactKey]) -> Result<(), PortError> {
        let mut inner = self.inner.lock().await;
        if inner.certainty == Certainty::None {
            return Ok(()); // all of them are looked at with the ports
        }
        let change = inner.state.told(&self.facts.table(), keys);
        self.take(&mut inner, change).await
    }

    async fn take(&self, inner: &mut Inner, change: Change) -> Result<(), PortError> {
        if inner.certainty == Certainty::Doubtful {
            return self.settle(inner).await.map(drop);
        }
        if change.step.is_nothing() {
            return Ok(());
        }
        inner.certainty = Certainty::Doubtful;
        inner.steps += 1;
        kernel::take(&change.step, &[], &[]).await?;
        for name in &change.step.changed {
            inner.printed.remove(name);
        }
        if change.step.forbids {
            self.judge(inner, &change.taps).await?;
        }
        inner.certainty = Certainty::Settled;
        Ok(())
    }

    /// Deletes the flows of these ports that would not be let through now.
    async fn judge(&self, inner: &Inner, taps: &BTreeSet<String>) -> Result<(), PortError> {
        let ports = taps.iter().filter_map(|tap| inner.state.ports().get(tap).cloned());
        let places = |port: Port| inner.places(&port).into_iter().map(move |place| (place, port.clone()));
        let ports: HashMap<_, Port> = ports.flat_map(places).collect();
        let facts = self.facts.table();
        if ports.is_empty() {
            return Ok(());
        }
        cut(move |flow| flows::is_refused(&facts, &ports, flow)).await
    }

    /// Puts right what is not as it should be; tells what others have changed. A port that was plugged and is not
    /// among these stays. `whole_bridge`: see [`kernel::jumps_wanted`].
    pub async fn mend(&self, ports: Vec<Port>, whole_bridge: bool) -> Result<Vec<String>, PortError> {
        let mut inner = self.inner.lock().await;
        let mut all = inner.state.ports().clone();
        for port in ports {
            all.entry(port.tap.clone()).or_insert(port);
        }
        let others_did_it = inner.certainty == Certainty::Settled;
        if inner.certainty == Certainty::None || all.len() != inner.state.ports().len() {
            inner.state.rebuild(&self.facts.table(), all.into_values());
            inner.certainty = Certainty::Doubtful;
        } else if inner.setting.whole_bridge == whole_bridge && others_did_it {
            if self.looks_right(&mut inner).await? {
                return Ok(Vec::new());
            }
            // At a thousand ports a look takes a second, for which no change is kept waiting.
            let steps = inner.steps;
            if inner.overtaken < OVERTAKEN_MAX {
                drop(inner);
                let found = self.look().await?;
                inner = self.inner.lock().await;
                if inner.steps != steps {
                    inner.overtaken += 1;
                    return Ok(Vec::new());
                }
                inner.overtaken = 0;
                return self.settle_from(&mut inner, found).await;
            }
        }
        inner.overtaken = 0;
        inner.setting.whole_bridge = whole_bridge;
        let changed = self.settle(&mut inner).await?;
        Ok(if others_did_it { changed } else { Vec::new() })
    }

    /// A port of which there is nothing but the tap, whose last digits are its interface's. Its guest's record is
    /// lost, so all that is known of it are the facts, if any.
    pub fn port_of_nobody(&self, tap: &str, segment: SegmentTag) -> Option<Port> {
        let digits = tap.strip_prefix(&self.names.taps)?;
        let facts = self.facts.table();
        let fact = facts.ports().find(|fact| fact.id.as_str().ends_with(digits));
        let id =
            fact.map_or_else(|| format!("eni-0000000{digits}").parse().ok(), |fact| Some(fact.id.clone()))?;
        let mut addresses = fact.into_iter().flat_map(|fact| fact.addresses.iter().copied());
        let address = addresses.next().unwrap_or(Ipv4Addr::UNSPECIFIED);
        let gateway = Ipv4Addr::UNSPECIFIED;
        let (mac, subnet_cidr) = (String::new(), String::new());
        Some(Port {
            id,
            tap: tap.to_owned(),
            mac,
            address,
            secondary: addresses.collect(),
            source_dest_check: true,
            of_site: false,
            segment,
            subnet_cidr,
            gateway,
        })
    }

    /// Everything anew, when it is not known what has changed.
    pub async fn told_all(&self) -> Result<(), PortError> {
        let mut inner = self.inner.lock().await;
        if inner.certainty == Certainty::None {
            return Ok(());
        }
        let ports: Vec<Port> = inner.state.ports().values().cloned().collect();
        inner.state.rebuild(&self.facts.table(), ports);
        inner.certainty = Certainty::Doubtful;
        self.settle(&mut inner).await.map(drop)
    }

    /// Without listing what nobody has touched.
    async fn looks_right(&self, inner: &mut Inner) -> Result<bool, PortError> {
        inner.looks += 1;
        if inner.looks.is_multiple_of(LOOKS_TO_A_WHOLE_ONE) || inner.generation.is_none() {
            return Ok(false);
        }
        if kernel::generation().await != inner.generation {
            return Ok(false);
        }
        let wanted = inner.state.set_sizes();
        Ok(kernel::set_sizes(&self.names).await? == wanted)
    }

    /// What there is, and the count of changes before it was looked at: what changes later is seen by the next look.
    async fn look(&self) -> Result<(Option<u32>, kernel::Found), PortError> {
        let generation = kernel::generation().await;
        Ok((generation, kernel::look(&self.names).await?))
    }

    async fn settle(&self, inner: &mut Inner) -> Result<Vec<String>, PortError> {
        let found = self.look().await?;
        self.settle_from(inner, found).await
    }

    /// Compares all of the kernel's state with all that is wanted, and takes the step between them.
    async fn settle_from(
        &self,
        inner: &mut Inner,
        (generation, found): (Option<u32>, kernel::Found),
    ) -> Result<Vec<String>, PortError> {
        let wanted = inner.state.text();
        let jumps = kernel::jumps_wanted(&self.names, &inner.setting);
        let was_settled = inner.certainty == Certainty::Settled;
        inner.generation = generation;
        inner.certainty = Certainty::Doubtful;
        inner.steps += 1;
        let now = kernel::as_put(&found.text, &wanted, &inner.printed);
        let step = text::step(&now, &wanted);
        let taken = kernel::take(&step, &found.jumps, &jumps).await?;
        let mut changed = step.changed;
        if taken {
            if kernel::differ(&found.jumps, &jumps) {
                changed.push("the ways to security groups".to_owned());
            }
            let (generation, after) = self.look().await?;
            let differs = |(name, lines): &(String, Vec<String>)| wanted.chains.get(name) != Some(lines);
            inner.printed = after.text.chains.into_iter().filter(differs).collect();
            inner.generation = generation;
        }
        // What passed while the rules were not there, or what a step that was not ended should have cut, is not let
        // through for good.
        if taken || !was_settled {
            let taps = inner.state.ports().keys().cloned().collect();
            self.judge(inner, &taps).await?;
        }
        inner.certainty = Certainty::Settled;
        Ok(shortened(changed))
    }

    /// By which connections of these segments are told apart, with what shuts segments to the host.
    pub async fn zones_put(&self, zones: &BTreeMap<SegmentTag, u16>) -> Result<(), PortError> {
        let mut inner = self.inner.lock().await;
        if inner.setting.zones == *zones {
            return Ok(());
        }
        let before = kernel::jumps_wanted(&self.names, &inner.setting);
        inner.setting.zones.clone_from(zones);
        match inner.certainty {
            Certainty::None => return Ok(()),
            Certainty::Doubtful => return self.settle(&mut inner).await.map(drop),
            Certainty::Settled => {}
        }
        let after = kernel::jumps_wanted(&self.names, &inner.setting);
        inner.certainty = Certainty::Doubtful;
        inner.steps += 1;
        kernel::take(&text::Step::default(), &before, &after).await?;
        inner.certainty = Certainty::Settled;
        Ok(())
    }

    /// What no guest may send to: a frame of any segment could be in it.
    pub async fn hosts_put(&self, hosts: Hosts) -> Result<(), PortError> {
        let mut inner = self.inner.lock().await;
        let change = inner.state.hosts_put(&self.facts.table(), hosts);
        if inner.certainty == Certainty::None {
            return Ok(());
        }
        self.take(&mut inner, change).await
    }

    /// By their taps. `None`: which there are was not told yet.
    pub async fn ports(&self) -> Option<BTreeMap<String, Port>> {
        let inner = self.inner.lock().await;
        (inner.certainty != Certainty::None).then(|| inner.state.ports().clone())
    }

    pub async fn others_use(&self, segment: SegmentTag) -> Result<bool, PortError> {
        kernel::others_use(&self.names, segment).await
    }

    /// Whether another node on this host guards ports of the same bridge.
    pub async fn others_guard_the_bridge(&self) -> Result<bool, PortError> {
        kernel::others_route_to(&self.names).await
    }

    /// Takes all of it away.
    pub async fn clean(&self) -> Result<(), PortError> {
        let mut inner = self.inner.lock().await;
        inner.state.rebuild(&FactTable::default(), []);
        inner.setting = Setting::default();
        inner.certainty = Certainty::None;
        let found = kernel::look(&self.names).await?;
        let step = text::step(&found.text, &Text::default());
        kernel::take(&step, &found.jumps, &[]).await.map(drop)
    }
}

fn shortened(mut names: Vec<String>) -> Vec<String> {
    let more = names.len().saturating_sub(NAMES_TOLD_MAX);
    if more > 0 {
        names.truncate(NAMES_TOLD_MAX);
        names.push(format!("{more} more"));
    }
    names
}

async fn cut(condemned: impl FnMut(&flows::Flow) -> bool + Send + 'static) -> Result<(), PortError> {
    let cut = tokio::task::spawn_blocking(move || flows::cut(condemned)).await;
    let cut = cut.map_err(|e| PortError::Broken(e.to_string()))?;
    let cut = cut.map_err(|e| PortError::Broken(format!("conntrack: {e}")))?;
    if cut > 0 {
        tracing::info!(flows = cut, "cut what is not let through any more");
    }
    Ok(())
}
