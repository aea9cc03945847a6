//! Public addresses on the site's own network: this host answers who asks for them there, and says so unasked when one
//! comes here from elsewhere.
//!
//! They are *proxied*, not the host's: an address of its own would be delivered to the host, not by its route to
//! the router or the guest behind it. The kernel answers while such a route is there. What is proxied is written
//! down before it is, so that another life, or a change of the interface, finds all of it; somebody else's entries stay.

use super::DriveError;
use super::router::PROTOCOL;
use crate::app::router::Outside;
use karri_net::{Link, Netlink, announce};
use karri_proto::runtime::files::write_durably;
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const LOOK_EVERY: Duration = Duration::from_secs(3);
/// The host that had the address before may answer for a moment longer; and a frame may be lost.
const ANNOUNCEMENTS: u8 = 3;
const ANNOUNCE_EVERY: Duration = Duration::from_secs(1);

/// By interface: what this cluster has proxied there.
type Noted = BTreeMap<String, BTreeSet<Ipv4Addr>>;

pub struct Answering {
    interface: Option<String>,
    file: PathBuf,
    noted: Noted,
    netlink: Option<Netlink>,
    looked: Option<(Instant, BTreeSet<Ipv4Addr>)>,
    /// How often each is still to be announced, and when one was last.
    announcing: BTreeMap<Ipv4Addr, u8>,
    announced: Option<Instant>,
}

impl std::fmt::Debug for Answering {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Answering").field("interface", &self.interface).finish_non_exhaustive()
    }
}

fn failed(cause: impl std::fmt::Display) -> DriveError {
    DriveError::new("network.public_interface", cause)
}

impl Answering {
    pub fn new(interface: Option<&str>, run_dir: &Path) -> Self {
        let file = run_dir.join("answering.json");
        let read = std::fs::read(&file).ok().and_then(|json| serde_json::from_slice(&json).ok());
        Self {
            interface: interface.map(str::to_owned),
            file,
            noted: read.unwrap_or_default(),
            netlink: None,
            looked: None,
            announcing: BTreeMap::new(),
            announced: None,
        }
    }

    fn netlink(&mut self) -> Result<Netlink, DriveError> {
        match &self.netlink {
            Some(netlink) => Ok(netlink.clone()),
            None => Ok(self.netlink.insert(Netlink::open().map_err(failed)?).clone()),
        }
    }

    fn note(&mut self, noted: Noted) -> Result<(), DriveError> {
        if self.noted != noted {
            let json = serde_json::to_vec(&noted).map_err(failed)?;
            let told = |cause| DriveError::new(self.file.display().to_string(), cause);
            write_durably(&self.file, &json).map_err(told)?;
            self.noted = noted;
        }
        Ok(())
    }

    /// Called after there are routes to them.
    pub async fn apply(&mut self, outside: &Outside) -> Result<(), DriveError> {
        let Some(interface) = self.interface.clone() else { return self.leave(|_| true).await };
        let wanted: BTreeSet<Ipv4Addr> = outside.flat.keys().chain(&outside.routed).copied().collect();
        let is_fresh =
            self.looked.as_ref().is_some_and(|(when, known)| when.elapsed() < LOOK_EVERY && *known == wanted);
        if is_fresh && self.announcing.is_empty() {
            return Ok(());
        }
        self.leave(|other| other != interface).await?;
        let link = self.netlink()?.link(&interface).await.map_err(failed)?;
        let link = link.ok_or_else(|| failed(format!("there is no link {interface}")))?;
        if !is_fresh {
            self.looked = None;
            self.become_answered(&interface, link.index, &wanted).await?;
            self.looked = Some((Instant::now(), wanted));
        }
        self.announce(&link)
    }

    async fn become_answered(
        &mut self,
        interface: &str,
        link: u32,
        wanted: &BTreeSet<Ipv4Addr>,
    ) -> Result<(), DriveError> {
        let netlink = self.netlink()?;
        let found = netlink.proxies(link).await.map_err(failed)?;
        // Another cluster of this host, or the operator, answers for it already.
        let others =
            |address: &&Ipv4Addr| found.contains_key(address) && !self.noted_on(interface).contains(address);
        let own: BTreeSet<Ipv4Addr> = wanted.iter().filter(|address| !others(address)).copied().collect();
        let before = self.noted_on(interface);
        let all: BTreeSet<Ipv4Addr> = before.union(&own).copied().collect();
        self.note(self.noted_with(interface, all.clone()))?;
        for address in all.difference(&own).filter(|address| found.get(address) == Some(&PROTOCOL)) {
            netlink.unproxy(link, *address).await.map_err(failed)?;
        }
        for address in own.iter().filter(|address| !found.contains_key(address)) {
            netlink.proxy(link, *address, PROTOCOL).await.map_err(failed)?;
            self.announcing.insert(*address, ANNOUNCEMENTS);
            tracing::info!(%address, interface, "this host answers for a public address");
        }
        self.announcing.retain(|address, _| own.contains(address));
        self.note(self.noted_with(interface, own))
    }

    fn noted_on(&self, interface: &str) -> BTreeSet<Ipv4Addr> {
        self.noted.get(interface).cloned().unwrap_or_default()
    }

    fn noted_with(&self, interface: &str, addresses: BTreeSet<Ipv4Addr>) -> Noted {
        let mut noted = self.noted.clone();
        noted.insert(interface.to_owned(), addresses);
        noted.retain(|_, addresses| !addresses.is_empty());
        noted
    }

    fn announce(&mut self, link: &Link) -> Result<(), DriveError> {
        if self.announcing.is_empty() || self.announced.is_some_and(|when| when.elapsed() < ANNOUNCE_EVERY) {
            return Ok(());
        }
        let mac = link.mac.ok_or_else(|| failed(format!("{} has no MAC address", link.name)))?;
        for address in self.announcing.keys() {
            announce(link.index, mac, *address).map_err(failed)?;
        }
        self.announcing.retain(|_, left| {
            *left -= 1;
            *left > 0
        });
        self.announced = Some(Instant::now());
        Ok(())
    }

    /// Answers no more on the interfaces that `which` picks out.
    async fn leave(&mut self, which: impl Fn(&str) -> bool) -> Result<(), DriveError> {
        let left: Vec<String> = self.noted.keys().filter(|name| which(name)).cloned().collect();
        for interface in left {
            let netlink = self.netlink()?;
            if let Some(link) = netlink.index(&interface).await.map_err(failed)? {
                let found = netlink.proxies(link).await.map_err(failed)?;
                let own = self.noted_on(&interface);
                for address in own.iter().filter(|address| found.get(address) == Some(&PROTOCOL)) {
                    netlink.unproxy(link, *address).await.map_err(failed)?;
                }
            }
            self.note(self.noted_with(&interface, BTreeSet::new()))?;
        }
        Ok(())
    }

    /// Takes away all that it has proxied.
    pub async fn remove(&mut self) -> Result<(), DriveError> {
        self.leave(|_| true).await?;
        let _ = std::fs::remove_file(&self.file); // else it is found empty of what there is
        Ok(())
    }
}
