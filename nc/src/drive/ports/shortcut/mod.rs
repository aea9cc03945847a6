//! A shortcut from port to port for what the rules have just let through ([ADR 24](docs/adr/0024-a-shortcut-behind-the-rules.md)).
//!
//! Rules, sets and connection tracking decide about every flow, and they alone: twice a second at least they are asked about
//! one that goes on, once in each direction. Between, its packets go from the port where they come in to the one where the
//! last went out, past bridge and rules. Two programs that the kernel runs at the links do it ([`programs`]).
//!
//! What changes anything of what is let through holds [`Shortcut::void_after`] meanwhile: when it is dropped, nothing that was
//! let through before counts any more. Without the shortcut, everything goes by the rules.

mod programs;
mod tracking;

use super::PortError;
use super::made::Notes;
use karri_net::bpf::{Map, Program};
use karri_net::{Attachment, FilterChanges, Hook, Link, Netlink, Owner};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Mutex as PlainMutex, PoisonError};
use tokio::sync::Mutex;

/// Both directions of a flow take one each. In memory, four megabytes.
const FLOWS_MAX: u32 = 32_768;
const HOOKS: [Hook; 2] = [Hook::Egress, Hook::Ingress];

pub struct Shortcut {
    netlink: Netlink,
    owner: Owner,
    /// `None`: there is none on this node.
    loaded: Option<Loaded>,
    links: Mutex<Links>,
}

struct Loaded {
    ingress: Program,
    egress: Program,
    /// What the programs take for this moment's.
    generation: Map,
    number: PlainMutex<u16>,
    changes: FilterChanges,
}

#[derive(Default)]
struct Links {
    /// By their index, those that were looked after.
    done: BTreeMap<u32, Done>,
    /// What an earlier life has left at others is gone.
    swept: bool,
    /// Somebody may have changed what is at them.
    doubtful: bool,
    /// The kernel has programs, and no place for them at links.
    hopeless: bool,
    /// Why there is none for now was told.
    told: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Done {
    Attached,
    /// Somebody else has the place.
    Without,
}

impl Loaded {
    fn new(owner: &str) -> io::Result<Self> {
        let flows = Map::recent(owner, programs::KEY_BYTES, programs::VALUE_BYTES, FLOWS_MAX)?;
        let generation = Map::single(&format!("{owner}-gen"), 4)?;
        let ingress = Program::load(owner, &programs::ingress(&flows, &generation)?)?;
        let egress = Program::load(owner, &programs::egress(&flows)?)?;
        // Of several nodes on a host each begins elsewhere.
        let number = PlainMutex::new(std::process::id() as u16);
        let loaded = Self { ingress, egress, generation, number, changes: FilterChanges::open()? };
        loaded.void()?;
        Ok(loaded)
    }

    fn void(&self) -> io::Result<()> {
        let mut number = self.number.lock().unwrap_or_else(PoisonError::into_inner);
        *number = number.checked_add(1).unwrap_or(1); // 0: no note
        self.generation.put(&0_u32.to_ne_bytes(), &u32::from(*number).to_ne_bytes())
    }

    fn program(&self, hook: Hook) -> &Program {
        match hook {
            Hook::Ingress => &self.ingress,
            Hook::Egress => &self.egress,
        }
    }
}

/// When it is dropped, what was let through so far is to be let through anew.
pub struct Void<'a>(Option<&'a Loaded>);

impl Drop for Void<'_> {
    fn drop(&mut self) {
        if let Some(loaded) = self.0
            && let Err(error) = loaded.void()
        {
            tracing::error!(%error, "what passes by the shortcut may go on for a second after rules have changed");
        }
    }
}

impl Shortcut {
    /// `taps`: how this node's taps begin. Where the kernel has no such programs, or does not let this process have them, there
    /// is no shortcut.
    pub fn open(netlink: &Netlink, taps: &str, wanted: bool) -> Self {
        let owner = owner(taps);
        let loaded = wanted.then(|| Loaded::new(&owner.name));
        let loaded = match loaded {
            Some(Ok(loaded)) => Some(loaded),
            Some(Err(error)) => {
                tracing::info!(%error, "no shortcut between ports: all packets of guests go by the rules");
                None
            }
            None => None,
        };
        Self { netlink: netlink.clone(), owner, loaded, links: Mutex::default() }
    }

    /// For as long as something changes of what is let through.
    pub fn void_after(&self) -> Void<'_> {
        Void(self.loaded.as_ref())
    }

    /// Brings it to these links, and away from others that had it. Tells what somebody else has changed.
    pub async fn ensure(
        &self,
        notes: &Notes,
        wanted: &BTreeSet<&str>,
        links: &[Link],
    ) -> Result<Vec<String>, PortError> {
        let state = &mut *self.links.lock().await;
        let Some(loaded) = self.loaded.as_ref().filter(|_| !state.hopeless) else {
            self.leave_others(state, &BTreeSet::new(), links).await?;
            return tracking::restore(notes).map(|()| Vec::new());
        };
        let mut mended = Vec::new();
        match tracking::loosen(notes) {
            Ok(loosened) if loosened && !state.done.is_empty() => {
                mended.push("what connection tracking lets pass".to_owned());
            }
            Ok(_) => state.told = false,
            Err(error) => {
                if !std::mem::replace(&mut state.told, true) {
                    tracing::info!(%error, "no shortcut between ports for now: all packets of guests go by the rules");
                }
                return self.leave_others(state, &BTreeSet::new(), links).await.map(|()| Vec::new());
            }
        }
        self.leave_others(state, wanted, links).await?;
        state.doubtful |= loaded.changes.heard();
        for link in links.iter().filter(|link| wanted.contains(link.name.as_str())) {
            let done = state.done.get(&link.index).copied();
            let is_right = match done {
                None => false,
                Some(_) if !state.doubtful => true,
                Some(Done::Attached) => self.is_attached(loaded, link.index).await?,
                Some(Done::Without) => false, // whoever had the place may have left it
            };
            if is_right {
                continue;
            }
            match self.attach(loaded, link.index).await {
                Ok(Some(now)) => _ = state.done.insert(link.index, now),
                // With the next look, if it is still there then.
                Ok(None) | Err(PortError::Later(_)) => {
                    state.done.remove(&link.index);
                    continue;
                }
                Err(PortError::Broken(error)) => {
                    tracing::info!(error, "no shortcut between ports: all packets of guests go by the rules");
                    state.hopeless = true;
                    return Ok(mended);
                }
            }
            if done == Some(Done::Attached) {
                mended.push(format!("the shortcut at {}", link.name));
            }
        }
        state.doubtful = false;
        Ok(mended)
    }

    /// Takes it away from all links but these, the first time also where an earlier life may have left it.
    async fn leave_others(
        &self,
        state: &mut Links,
        wanted: &BTreeSet<&str>,
        links: &[Link],
    ) -> Result<(), PortError> {
        for link in links.iter().filter(|link| !wanted.contains(link.name.as_str())) {
            if !state.swept || state.done.contains_key(&link.index) {
                self.netlink.detach(link.index, &self.owner).await?;
                state.done.remove(&link.index);
            }
        }
        state.swept = true;
        let present: BTreeSet<u32> = links.iter().map(|link| link.index).collect();
        state.done.retain(|index, _| present.contains(index));
        Ok(())
    }

    /// First what writes down, then what makes use of it. `None`: the link has gone since somebody has seen it.
    async fn attach(&self, loaded: &Loaded, link: u32) -> Result<Option<Done>, PortError> {
        for hook in HOOKS {
            match self.netlink.attach(link, hook, &self.owner, loaded.program(hook)).await? {
                Attachment::There => {}
                Attachment::Taken => {
                    self.netlink.detach(link, &self.owner).await?;
                    return Ok(Some(Done::Without));
                }
                Attachment::LinkGone => return Ok(None),
            }
        }
        Ok(Some(Done::Attached))
    }

    async fn is_attached(&self, loaded: &Loaded, link: u32) -> Result<bool, PortError> {
        for hook in HOOKS {
            if self.netlink.attached(link, hook, &self.owner).await? != Some(loaded.program(hook).id) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether packets of this link take it, for people.
    pub async fn is_at(&self, link: u32) -> bool {
        self.links.lock().await.done.get(&link) == Some(&Done::Attached)
    }

    /// Takes it away from these links, and gives connection tracking back what it had.
    pub async fn clean(&self, notes: &Notes, links: &[Link]) -> Result<(), PortError> {
        let mut state = self.links.lock().await;
        for link in links {
            self.netlink.detach(link.index, &self.owner).await?;
        }
        state.done.clear();
        tracking::restore(notes)
    }
}

/// Of what is at a link, by this the node knows its own. The digits are the node's, and never all zero.
fn owner(taps: &str) -> Owner {
    let digits = u32::from_str_radix(taps.trim_start_matches('k'), 16).unwrap_or(0);
    Owner { name: format!("karri-{taps}"), number: 0x1_0000 | digits }
}

#[cfg(test)]
mod tests {
    use super::*;
    use karri_net::Namespace;
    use std::process::Command;

    /// The kernel tells nothing of the programs of a link that is gone, which looks like one that somebody has robbed.
    #[test]
    fn a_link_that_goes_while_it_is_looked_at_was_changed_by_nobody() {
        let looked = || async {
            let command = |words: &str| {
                let status = Command::new("ip").args(words.split(' ')).status().unwrap();
                assert!(status.success(), "{words}");
            };
            let dir = tempfile::tempdir().unwrap();
            let notes = Notes::open(dir.path(), "boot").unwrap();
            let netlink = Netlink::open().unwrap();
            let shortcut = Shortcut::open(&netlink, "k0e57", true);
            for tap in ["tap5", "tap6"] {
                command(&format!("tuntap add mode tap name {tap}"));
            }
            let links = netlink.links().await.unwrap();
            let wanted = BTreeSet::from(["tap5", "tap6"]);
            let none: Vec<String> = Vec::new();
            assert_eq!(shortcut.ensure(&notes, &wanted, &links).await.unwrap(), none);
            let attached = async || {
                let state = shortcut.links.lock().await;
                state.done.values().filter(|done| **done == Done::Attached).count()
            };
            assert_eq!(attached().await, 2);
            command("link delete tap5");
            assert_eq!(shortcut.ensure(&notes, &wanted, &links).await.unwrap(), none);
            assert_eq!(attached().await, 1);
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Namespace::new().unwrap().run(|| runtime.block_on(looked())).unwrap();
    }

    #[test]
    fn nodes_of_a_host_know_their_own_programs() {
        assert_eq!(owner("k1a2b"), Owner { name: "karri-k1a2b".to_owned(), number: 0x1_1a2b });
        assert_ne!(owner("k0000").number, owner("k0001").number);
    }
}
