//! The three reconcilers against each other in one thread: a seeded schedule of users, messages lost,
//! repeated and reordered, processes that die after any step, nodes that die and return, images that fail.
//!
//! What decides is the controllers' own code: `karri_clc::app::instance` and `app::Book`,
//! `karri_cc::app::book::Book`, `karri_nc::app::{plan, record}`. Databases are maps, the clock is a number,
//! and every choice comes from the seed, so a failed schedule can be run again and read line by line.
//!
//! [`check::step`] holds after every step, [`check::rest`] when faults have ended and all came to rest.
//!
//! It is worth as much as it catches. `docs/simulation.md` lists rules that were broken on purpose, and that
//! it noticed.

mod acts;
mod cc;
mod check;
mod clc;
mod facts;
mod messages;
mod nc;
mod wire;
mod world;

use cc::Cc;
use clc::Clc;
use karri_proto::ids::InstanceId;
use karri_proto::instance::Desired;
use nc::Node;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::collections::{BTreeMap, BTreeSet};
use wire::Packet;

const NODES: usize = 3;
const STEPS: std::ops::Range<u32> = 60..300;
/// Per schedule of depth one; in gentle ones so many at once at most, which have room.
const INSTANCES_MAX: u32 = 6;
const TICK_MS: i64 = 4_000;
/// An hour of calm must be enough for everything to come to rest.
const ROUNDS_MAX: u32 = 300;
const TRACE_LINES_MAX: usize = 2_000;

/// A schedule in which something did not hold.
#[derive(Debug)]
pub struct Failure {
    pub seed: u64,
    pub what: String,
    /// What happened before, when it was asked for.
    pub trace: Vec<String>,
}

pub struct Sim {
    rng: StdRng,
    now_ms: i64,
    clc: Clc,
    cc: Cc,
    nodes: Vec<Node>,
    wire: Vec<Packet>,
    /// Held up on the way until this many things have happened.
    late: Vec<(u32, Packet)>,
    happened: u32,
    next_call: u64,
    depth: u32,
    launched: u32,
    /// A node was declared lost.
    node_lost: bool,
    /// Where a second guest may be for a while: the cluster controller declared the node lost, or one of them
    /// lost its memory.
    excused: BTreeSet<(usize, InstanceId)>,
    /// What each owner asked for last; nothing when the guest went off by itself since.
    ordered: BTreeMap<InstanceId, Desired>,
    /// In one schedule of four nothing happens to nodes and images, and there is room for all: only messages
    /// and processes are lost. Nothing may fail for that.
    gentle: bool,
    /// In one schedule of fifteen users also change what networks let through.
    networks: bool,
    calm: bool,
    /// What was seen to outlast its deadline, after those who watch deadlines had looked at the clock.
    overdue: Option<String>,
    trace: Option<Vec<String>>,
}

/// Runs one schedule. `depth` times as much happens as in a short one. `traced` keeps what happened for the
/// reader, and gives it back.
pub fn run(seed: u64, depth: u32, traced: bool) -> Result<Vec<String>, Failure> {
    let mut sim = Sim::new(seed, depth, traced);
    let outcome = sim.run();
    let trace = sim.trace.take().unwrap_or_default();
    let tail = trace.len().saturating_sub(TRACE_LINES_MAX);
    match outcome {
        Ok(()) => Ok(trace),
        Err(what) => Err(Failure { seed, what, trace: trace[tail..].to_vec() }),
    }
}

/// Some of the deep ones (`DEEP_EVERY` of the test) among them.
fn has_networks(seed: u64) -> bool {
    seed % 15 == 3 || seed % 60 == 1
}

impl Sim {
    fn new(seed: u64, depth: u32, traced: bool) -> Self {
        let mut sim = Self {
            rng: StdRng::seed_from_u64(seed),
            now_ms: 1_000_000,
            clc: Clc::new(has_networks(seed)),
            cc: Cc::new(),
            nodes: (0..NODES).map(Node::new).collect(),
            wire: Vec::new(),
            late: Vec::new(),
            happened: 0,
            next_call: 0,
            depth,
            launched: 0,
            node_lost: false,
            excused: BTreeSet::new(),
            ordered: BTreeMap::new(),
            gentle: seed.is_multiple_of(4),
            networks: has_networks(seed),
            calm: false,
            overdue: None,
            trace: traced.then(Vec::new),
        };
        sim.clc.start();
        sim.cc.start(sim.now_ms);
        sim.nodes.iter_mut().for_each(Node::start);
        sim
    }

    fn say(&mut self, line: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{:>8} {}", self.now_ms, line()));
        }
    }

    fn chance(&mut self, in_a_thousand: u32) -> bool {
        !self.calm && self.rng.gen_ratio(in_a_thousand, 1000)
    }

    fn run(&mut self) -> Result<(), String> {
        let mut past = check::Past::default();
        for _ in 0..3 {
            self.round(500); // the cluster becomes known to itself
        }
        for _ in 0..self.rng.gen_range(STEPS) * self.depth {
            self.disorder();
            check::step(self, &mut past)?;
        }
        self.end_faults();
        let mut last = String::new();
        for round in 0..ROUNDS_MAX {
            self.round(if round < 20 { 1_000 } else { 12_000 });
            check::step(self, &mut past)?;
            match check::rest(self) {
                Ok(()) if self.late.is_empty() => return Ok(()),
                Ok(()) => {}
                Err(what) => last = what,
            }
        }
        Err(format!("does not come to rest: {last}"))
    }

    /// One thing happens.
    fn disorder(&mut self) {
        match self.rng.gen_range(0..100) {
            0..=35 => (0..3).for_each(|_| self.deliver_any()),
            36..=59 => self.someone_acts(),
            60..=75 => (0..NODES).for_each(|node| self.node_works(node)),
            76..=87 => self.user_acts(),
            88..=93 => self.time_passes(),
            94..=95 => self.process_dies(),
            _ if self.gentle => self.someone_acts(),
            _ => self.node_suffers(),
        }
        self.restart_some();
        self.latecomers(1);
    }

    fn end_faults(&mut self) {
        self.calm = true;
        for node in self.nodes.iter_mut().filter(|node| !node.dead) {
            node.cut_off = false;
            node.power = true;
        }
        self.restart_some();
        self.say(|| "---- all faults end ----".to_owned());
    }

    /// Everybody does everything once, and every message arrives.
    fn round(&mut self, ms: i64) {
        self.pass(ms, false);
        self.latecomers(20);
        self.clc.tend(self.now_ms);
        self.cc_ticks();
        (0..NODES).for_each(|node| self.greet(node));
        self.deliver_all();
        self.clc_calls();
        (0..NODES).for_each(|node| self.cc_calls(node));
        self.deliver_all();
        for number in 0..NODES {
            let ids: Vec<InstanceId> = self.nodes[number].records.keys().cloned().collect();
            for id in ids {
                for _ in 0..8 {
                    self.nodes[number].plan_step(&id, self.now_ms);
                    self.carry_out(number, &id);
                }
            }
        }
        if self.overdue.is_none() {
            self.overdue = check::overdue(self);
        }
    }
}
