//! What one node is told: where it stands, and the one page that is on its way.
//!
//! ```text
//!   Unknown ── asked where it stands ──► where it was left, or with exactly its part ──► Told
//!      ▲                            └──► anywhere else ──► Whole (an epoch greater than its) ──► Told
//!      └── it answers that it stands elsewhere, or it was started anew
//! ```
//!
//! A page that was not answered is sent again as it is, until it is known what became of it. Each page has a
//! number of its own; the lower bits of the last number tell which part it leads to, so that a cluster
//! controller that was started anew sees by it that a node need not be told again.

use super::difference::{difference, whole};
use super::log::Log;
use super::part::Interest;
use super::shelf::{Entry, Shelf};
use karri_proto::ids::NetworkInterfaceId;
use karri_proto::internal::facts::{FactsAt, FactsPage, WireChange, WirePage};
use karri_proto::network::{FactChange, FactKey};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub(super) const PART_BITS: u32 = 44;
const PART_MASK: u64 = (1 << PART_BITS) - 1;
/// Then a new epoch begins.
const PAGES_PER_EPOCH_MAX: u64 = (1 << (u64::BITS - PART_BITS)) - 2;

const LEAPS_GROW_BY: u64 = 16;

/// With exactly the part of that label, and numbers left to go on.
fn is_at(stands: FactsAt, part: u64) -> bool {
    let pages = stands.at >> PART_BITS;
    stands.epoch != 0 && stands.at & PART_MASK == part && pages < PAGES_PER_EPOCH_MAX
}

/// A change to tell.
#[derive(Debug, Clone)]
pub enum Told {
    Put(Arc<Entry>),
    Gone(FactKey),
}

impl Told {
    fn wire(&self) -> WireChange {
        match self {
            Told::Put(entry) => entry.wire.clone(),
            Told::Gone(key) => WireChange::new(&FactChange::Gone(key.clone())),
        }
    }

    fn change(&self) -> FactChange {
        match self {
            Told::Put(entry) => FactChange::Put(entry.fact.clone()),
            Told::Gone(key) => FactChange::Gone(key.clone()),
        }
    }
}

#[derive(Debug, Clone)]
pub struct Page {
    pub epoch: u64,
    pub from: Option<u64>,
    pub to: u64,
    pub caught_up: bool,
    pub changes: Vec<Told>,
}

impl Page {
    pub fn wire(&self) -> WirePage {
        WirePage {
            epoch: self.epoch,
            from: self.from,
            to: self.to,
            caught_up: self.caught_up,
            changes: self.changes.iter().map(Told::wire).collect(),
        }
    }

    pub fn plain(&self) -> FactsPage {
        FactsPage {
            epoch: self.epoch,
            from: self.from,
            to: self.to,
            caught_up: self.caught_up,
            changes: self.changes.iter().map(Told::change).collect(),
        }
    }

    fn leads_to(&self) -> FactsAt {
        FactsAt { epoch: self.epoch, at: self.to }
    }
}

/// How soon a node is to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Haste {
    /// Who else is a member: with the next page, at the node's pace.
    Paced,
    /// Its own ports, and the rules for them.
    Now,
}

#[derive(Debug)]
enum State {
    /// `was`: where it was left, should it still stand there. `left`: with which part, by an earlier life of
    /// this controller.
    Unknown {
        was: Option<FactsAt>,
        left: Option<u64>,
    },
    Told(FactsAt),
    Whole {
        epoch: u64,
        changes: Vec<Told>,
        part: u64,
        done: usize,
        pages: u64,
    },
}

fn number(pages: u64, label: u64) -> u64 {
    (pages << PART_BITS) | label
}

/// Of the page that completes a part. Any other page has none.
pub(super) fn label(part: u64) -> u64 {
    part & PART_MASK | 1
}

/// Nobody stands there: it is answered with where the node does, and bars what was sent before it.
fn question(now_ms: i64) -> Page {
    Page { epoch: epoch_of(now_ms), from: Some(0), to: 0, caught_up: true, changes: Vec::new() }
}

fn epoch_of(now_ms: i64) -> u64 {
    u64::try_from(now_ms).unwrap_or(1).max(1)
}

/// The cluster's facts, and their latest changes by number.
pub struct All<'a> {
    pub shelf: &'a Shelf,
    pub log: &'a Log,
    pub page_max: usize,
    pub now_ms: i64,
}

#[derive(Debug)]
pub struct Teller {
    /// Placed there; with how many instances that say it is theirs.
    ports: BTreeMap<NetworkInterfaceId, u32>,
    ports_changed: bool,
    /// Placed there since the interest was taken.
    came: BTreeSet<NetworkInterfaceId>,
    state: State,
    /// By which the node was told last, or is being told.
    interest: Arc<Interest>,
    /// The first change that concerns it and is not in what it was told, nor in what is on its way.
    behind: Option<u64>,
    haste: Option<Haste>,
    /// By how much an epoch is greater than the node's, at least. It grows while the node does not take it:
    /// our clock may have been set back.
    leap: u64,
    /// Of the last telling of everything. The next one must not be taken for it.
    epoch: u64,
    flight: Option<Arc<Page>>,
    /// The process that was sent it is perhaps no more, and what it answered then says nothing of the next one.
    doubted: bool,
}

impl Teller {
    pub fn new() -> Self {
        Self {
            ports: BTreeMap::new(),
            ports_changed: false,
            came: BTreeSet::new(),
            state: State::Unknown { was: None, left: None },
            interest: Arc::default(),
            behind: None,
            haste: Some(Haste::Now),
            leap: 1,
            epoch: 0,
            flight: None,
            doubted: false,
        }
    }

    pub fn interest(&self) -> &Arc<Interest> {
        &self.interest
    }

    /// `None`: it is known to have exactly its part.
    pub fn due(&self) -> Option<Haste> {
        let settled = matches!(self.state, State::Told(_)) && self.flight.is_none();
        if settled { self.haste } else { Some(Haste::Now) }
    }

    /// A change of that number concerns it. `true`: somebody has to be woken.
    pub fn concerned(&mut self, number: u64, haste: Haste) -> bool {
        self.behind.get_or_insert(number);
        self.hurry(haste)
    }

    fn hurry(&mut self, haste: Haste) -> bool {
        let before = self.haste;
        self.haste = before.max(Some(haste));
        before != self.haste
    }

    pub fn port_placed(&mut self, id: &NetworkInterfaceId) -> bool {
        *self.ports.entry(id.clone()).or_default() += 1;
        self.came.insert(id.clone());
        self.ports_changed = true;
        self.hurry(Haste::Now)
    }

    pub fn port_removed(&mut self, id: &NetworkInterfaceId) -> bool {
        if let Some(count) = self.ports.get_mut(id) {
            *count -= 1;
            if *count == 0 {
                self.ports.remove(id);
            }
        }
        self.ports_changed = true;
        self.hurry(Haste::Paced)
    }

    pub fn ports(&self) -> impl Iterator<Item = &NetworkInterfaceId> {
        self.ports.keys()
    }

    /// Where it stands is to be asked: its process is another one.
    pub fn doubt(&mut self) -> bool {
        match self.flight.is_some() {
            true => self.doubted = true, // what becomes of the page is heard first
            false => self.ask_anew(),
        }
        self.hurry(Haste::Now)
    }

    fn ask_anew(&mut self) {
        match self.state {
            State::Told(at) => self.state = State::Unknown { was: Some(at), left: None },
            State::Whole { .. } => self.state = State::Unknown { was: None, left: None },
            State::Unknown { .. } => {}
        }
    }

    /// The next page, or the same again while its answer is not known.
    pub fn page(&mut self, all: &All<'_>) -> Option<Arc<Page>> {
        if self.flight.is_some() {
            return self.flight.clone();
        }
        let page = match self.state {
            State::Unknown { .. } => Some(question(all.now_ms)),
            State::Whole { .. } => Some(self.next_of_whole(all)),
            State::Told(at) => self.next_change(at, all),
        };
        self.flight = page.map(Arc::new);
        self.flight.clone()
    }

    /// What the node answered to the page that leads `to`.
    pub fn answered(&mut self, to: FactsAt, stands: FactsAt, all: &All<'_>) {
        if self.flight.as_ref().is_none_or(|page| page.leads_to() != to) {
            return; // of a page that is no longer on its way
        }
        let page = self.flight.take().expect("just seen");
        match &mut self.state {
            State::Told(at) if stands == to => {
                *at = to;
                self.leap = 1;
            }
            State::Whole { epoch, done, pages, .. } if stands == to => {
                *done += page.changes.len();
                *pages += 1;
                if page.caught_up {
                    self.state = State::Told(FactsAt { epoch: *epoch, at: to.at });
                }
            }
            // It did not get there: the same again.
            State::Told(at) if stands == *at => self.flight = Some(page),
            State::Unknown { was, .. } if *was == Some(stands) => self.state = State::Told(stands),
            State::Unknown { left: Some(left), .. } if is_at(stands, *left) => {
                let left = *left;
                self.goes_on_from(stands, left);
            }
            State::Unknown { .. } | State::Told(_) => self.stands_at(stands, all),
            State::Whole { .. } => {
                self.leap = self.leap.saturating_mul(LEAPS_GROW_BY);
                self.stands_at(stands, all);
            }
        }
        if std::mem::take(&mut self.doubted) {
            self.ask_anew();
            if let (Some(_), State::Unknown { was, .. }) = (self.flight.take(), &mut self.state) {
                // A page that begins where it stood is perhaps still on its way, or was to bar such a one. The node goes on
                // from another number then.
                *was = None;
            }
        }
    }

    /// The node cannot use the page.
    pub fn refused(&mut self) {
        (self.flight, self.doubted) = (None, false);
        self.state = State::Unknown { was: None, left: None };
    }

    /// Not where it was left. With a number that tells of its very part it is taken at its word.
    fn stands_at(&mut self, stands: FactsAt, all: &All<'_>) {
        let interest = self.look(all);
        let part = label(all.shelf.digest_of(&interest));
        if is_at(stands, part) {
            self.take_interest(interest);
            self.goes_on_from(stands, part);
        } else {
            self.begin_whole(stands.epoch, interest, all);
        }
    }

    /// It has what the interest needed when `part` was its label; so it is moved on by one number. No page of
    /// an earlier life that is late begins where it stands any more.
    fn goes_on_from(&mut self, stands: FactsAt, part: u64) {
        self.state = State::Told(stands);
        let to = number((stands.at >> PART_BITS) + 1, part);
        let page =
            Page { epoch: stands.epoch, from: Some(stands.at), to, caught_up: true, changes: Vec::new() };
        self.flight = Some(Arc::new(page));
    }

    /// After a start: an earlier life of this controller has perhaps told it what is known now.
    pub fn expect(&mut self, all: &All<'_>) {
        let interest = self.look(all);
        let left = label(all.shelf.digest_of(&interest));
        self.take_interest(interest);
        self.state = State::Unknown { was: None, left: Some(left) };
    }

    fn look(&self, all: &All<'_>) -> Arc<Interest> {
        let ports: BTreeSet<NetworkInterfaceId> = self.ports.keys().cloned().collect();
        Arc::new(Interest::of(ports, all.shelf))
    }

    /// From here on, what changes is to be told by it.
    fn take_interest(&mut self, interest: Arc<Interest>) {
        self.interest = interest;
        self.behind = None;
        self.ports_changed = false;
        self.came.clear();
        self.haste = None;
    }

    fn begin_whole(&mut self, stood: u64, interest: Arc<Interest>, all: &All<'_>) {
        let changes = whole(&interest, all.shelf);
        let part = label(all.shelf.digest_of(&interest));
        self.take_interest(interest);
        let above = stood.saturating_add(self.leap).max(self.epoch.saturating_add(1));
        let epoch = epoch_of(all.now_ms).max(above);
        self.epoch = epoch;
        self.state = State::Whole { epoch, changes, part, done: 0, pages: 0 };
    }

    fn next_of_whole(&self, all: &All<'_>) -> Page {
        let State::Whole { epoch, changes, part, done, pages } = &self.state else {
            return question(all.now_ms);
        };
        let end = changes.len().min(done + all.page_max);
        let caught_up = end == changes.len();
        Page {
            epoch: *epoch,
            from: (*pages > 0).then(|| number(*pages, 0)),
            to: number(pages + 1, if caught_up { *part } else { 0 }),
            caught_up,
            changes: changes[*done..end].to_vec(),
        }
    }

    fn next_change(&mut self, at: FactsAt, all: &All<'_>) -> Option<Page> {
        if self.behind.is_none() && !self.ports_changed {
            self.haste = None;
            return None;
        }
        let pages = at.at >> PART_BITS;
        let interest = self.look(all);
        let recent = all.log.since(self.behind.unwrap_or(all.log.next()));
        let changes = recent.filter(|_| pages < PAGES_PER_EPOCH_MAX).and_then(|recent| {
            difference(&self.interest, &interest, &self.came, recent, all.shelf, all.page_max)
        });
        let Some(changes) = changes else {
            self.begin_whole(at.epoch, interest, all);
            return Some(self.next_of_whole(all));
        };
        let part = label(all.shelf.digest_of(&interest));
        self.take_interest(interest);
        if changes.is_empty() && part == at.at & PART_MASK {
            return None;
        }
        let to = number(pages + 1, part);
        Some(Page { epoch: at.epoch, from: Some(at.at), to, caught_up: true, changes })
    }
}
