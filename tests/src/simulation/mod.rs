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

mod cc;
mod check;
mod clc;
mod nc;
mod wire;

use cc::{Cc, node_name};
use clc::{Clc, Verb};
use karri_cc::app::plan::NodeCondition;
use karri_clc::app::instance::{ShutdownBehavior, State};
use karri_nc::app::plan::OffReason;
use karri_proto::ids::InstanceId;
use karri_proto::instance::Desired;
use karri_proto::resources::Need;
use nc::Node;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::collections::{BTreeMap, BTreeSet};
use wire::{Body, Packet, Who};

const NODES: usize = 3;
const STEPS: std::ops::Range<u32> = 60..300;
const INSTANCES_MAX: u32 = 6;
const CALL_TIMEOUT_MS: i64 = 10_000;
const TICK_MS: i64 = 4_000;
/// No connection carries a message for longer.
const PACKET_LIFE_MS: i64 = 120_000;
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
    calm: bool,
    trace: Option<Vec<String>>,
}

/// Runs one schedule. `traced` keeps what happened for the reader, and gives it back.
pub fn run(seed: u64, traced: bool) -> Result<Vec<String>, Failure> {
    let mut sim = Sim::new(seed, traced);
    let outcome = sim.run();
    let trace = sim.trace.take().unwrap_or_default();
    let tail = trace.len().saturating_sub(TRACE_LINES_MAX);
    match outcome {
        Ok(()) => Ok(trace),
        Err(what) => Err(Failure { seed, what, trace: trace[tail..].to_vec() }),
    }
}

impl Sim {
    fn new(seed: u64, traced: bool) -> Self {
        let mut sim = Self {
            rng: StdRng::seed_from_u64(seed),
            now_ms: 1_000_000,
            clc: Clc::new(),
            cc: Cc::new(),
            nodes: (0..NODES).map(Node::new).collect(),
            wire: Vec::new(),
            late: Vec::new(),
            happened: 0,
            next_call: 0,
            launched: 0,
            node_lost: false,
            excused: BTreeSet::new(),
            ordered: BTreeMap::new(),
            gentle: seed.is_multiple_of(4),
            calm: false,
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
        for _ in 0..self.rng.gen_range(STEPS) {
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

    // ---- messages ----

    fn send(&mut self, from: Who, to: Who, call: u64, life: u64, answer: bool, body: Body) {
        let sent_ms = self.now_ms;
        self.wire.push(Packet { from, to, answer, call, life, sent_ms, body });
    }

    fn reaches(&self, from: Who, to: Who) -> bool {
        let up = match to {
            Who::Clc => self.clc.run.is_some(),
            Who::Cc => self.cc.run.is_some(),
            Who::Node(number) => self.nodes[number].run.is_some(),
        };
        let linked = |who: Who| match who {
            Who::Node(number) => self.nodes[number].is_reachable(),
            Who::Clc | Who::Cc => true,
        };
        up && linked(from) && linked(to)
    }

    fn deliver_any(&mut self) {
        if self.wire.is_empty() {
            return;
        }
        let index = self.rng.gen_range(0..self.wire.len());
        let packet = self.wire.swap_remove(index);
        if self.chance(60) {
            if packet.body.is_news() {
                self.say(|| format!("LOST {:?} to {:?}: {}", packet.from, packet.to, packet.body.name()));
            }
            return;
        }
        if self.chance(50) {
            let due = self.happened + self.rng.gen_range(1..60);
            return self.late.push((due, packet));
        }
        if !packet.answer && self.chance(80) {
            let due = self.happened + self.rng.gen_range(1..200);
            self.late.push((due, packet.clone()));
        }
        self.deliver(packet);
    }

    /// What was held up long enough comes out where nobody expects it any more.
    fn latecomers(&mut self, happened: u32) {
        self.happened += happened;
        let due = |(due, _): &(u32, Packet)| *due <= self.happened;
        let (now, later): (Vec<_>, Vec<_>) = std::mem::take(&mut self.late).into_iter().partition(due);
        self.late = later;
        self.wire.extend(now.into_iter().map(|(_, packet)| packet));
    }

    fn deliver(&mut self, packet: Packet) {
        let Packet { from, to, answer, call, life, sent_ms, body } = packet;
        if !self.reaches(from, to) || self.now_ms - sent_ms > PACKET_LIFE_MS {
            return;
        }
        if body.is_news() {
            self.say(|| format!("{from:?} to {to:?}: {}", body.name()));
        }
        if answer {
            return self.answered(to, call, life, body);
        }
        let (now_ms, crash) = (self.now_ms, self.chance(15));
        let reply = match to {
            Who::Clc => None,
            Who::Cc => self.cc.asked(body, now_ms, crash),
            Who::Node(number) => self.nodes[number].asked(body, now_ms),
        };
        if let Some(reply) = reply {
            self.send(to, from, call, life, true, reply);
        }
    }

    fn answered(&mut self, to: Who, call: u64, life: u64, body: Body) {
        let (now_ms, crash) = (self.now_ms, self.chance(15));
        match to {
            Who::Clc if self.clc.life == life => self.clc.answered(call, body, now_ms),
            Who::Cc if self.cc.life == life => self.cc.answered(call, body, now_ms, crash),
            Who::Node(number) if self.nodes[number].life == life => {
                if let Some(run) = &mut self.nodes[number].run {
                    run.greeting = false;
                }
            }
            _ => {}
        }
    }

    /// Calls that have waited long enough have failed.
    fn time_out(&mut self) {
        let old = self.now_ms - CALL_TIMEOUT_MS;
        let now_ms = self.now_ms;
        if let Some(run) = &self.clc.run {
            let late: Vec<u64> = run.calls.iter().filter(|(_, c)| c.at_ms <= old).map(|(n, _)| *n).collect();
            late.into_iter().for_each(|call| self.clc.failed(call, now_ms));
        }
        if let Some(run) = &self.cc.run {
            let late: Vec<u64> = run.calls.iter().filter(|(_, c)| c.at_ms <= old).map(|(n, _)| *n).collect();
            late.into_iter().for_each(|call| self.cc.failed(call, now_ms));
        }
    }

    // ---- what controllers do by themselves ----

    fn someone_acts(&mut self) {
        let node = self.rng.gen_range(0..NODES);
        match self.rng.gen_range(0..10) {
            0..=2 => self.clc_calls(),
            3 => self.clc.tend(self.now_ms),
            4 => self.cc_ticks(),
            5..=7 => (0..NODES).for_each(|node| self.cc_calls(node)),
            8 => self.cc_calls(node),
            _ => self.greet(node),
        }
    }

    fn clc_calls(&mut self) {
        let life = self.clc.life;
        for (call, body) in self.clc.calls(&mut self.next_call, self.now_ms) {
            self.send(Who::Clc, Who::Cc, call, life, false, body);
        }
    }

    fn cc_ticks(&mut self) {
        self.cc.tick(self.now_ms);
        let Some(run) = &self.cc.run else { return };
        for node in &self.nodes {
            let known = run.book.node(&node_name(node.number));
            let lost = known.is_some_and(|known| known.condition == NodeCondition::Lost);
            self.node_lost |= lost;
            if lost || node.amnesiac || self.cc.disk.losses > 0 {
                self.excused.extend(self.clc.rows.keys().map(|id| (node.number, id.clone())));
            }
        }
    }

    fn cc_calls(&mut self, node: usize) {
        let life = self.cc.life;
        for (call, body) in self.cc.calls(node, &mut self.next_call, self.now_ms) {
            self.send(Who::Cc, Who::Node(node), call, life, false, body);
        }
    }

    fn greet(&mut self, number: usize) {
        let node = &mut self.nodes[number];
        if node.run.is_none() {
            return;
        }
        node.look_around(self.now_ms);
        let (life, hello) = (node.life, node.hello());
        self.send(Who::Node(number), Who::Cc, 0, life, false, hello);
    }

    fn node_works(&mut self, number: usize) {
        let Some(run) = &self.nodes[number].run else { return };
        let planned: Vec<InstanceId> = run.planned.keys().cloned().collect();
        let ids: Vec<InstanceId> = self.nodes[number].records.keys().cloned().collect();
        for id in planned {
            if self.rng.gen_bool(0.7) {
                self.carry_out(number, &id);
            }
        }
        for id in ids {
            self.nodes[number].plan_step(&id, self.now_ms);
        }
    }

    fn carry_out(&mut self, number: usize, id: &InstanceId) {
        let unlucky = if self.calm || self.gentle { 0 } else { 3 };
        let node = &mut self.nodes[number];
        let step = node.run.as_ref().and_then(|run| run.planned.get(id)).map(|(_, step)| step.clone());
        node.carry_out(id, &mut self.rng, unlucky, self.now_ms);
        let Some(step) = step else { return };
        self.say(|| format!("node {number}: {id} {step:?}"));
        if self.chance(30) {
            self.say(|| format!("node {number}: the process DIES"));
            self.nodes[number].run = None;
        }
    }

    // ---- what others do ----

    fn user_acts(&mut self) {
        let now_ms = self.now_ms;
        if self.launched < INSTANCES_MAX && self.rng.gen_bool(0.5) {
            let size = if self.gentle { 1 } else { self.rng.gen_range(1..4) };
            let need = Need { vcpus: size, memory_mib: u64::from(size), disk_gib: u64::from(size) };
            let bad = !self.gentle && self.rng.gen_ratio(1, 12);
            let stop = self.rng.gen_bool(0.6);
            let behavior = if stop { ShutdownBehavior::Stop } else { ShutdownBehavior::Terminate };
            self.launched += 1;
            let id = self.clc.launch(self.launched, need, bad, behavior, now_ms);
            self.ordered.extend(id.clone().map(|id| (id, Desired::Running)));
            return self.say(|| format!("USER launches {id:?} of size {size}, bad image: {bad}"));
        }
        if self.launched == 0 {
            return;
        }
        let id = clc::instance_id(self.rng.gen_range(1..=self.launched));
        let force = self.rng.gen_ratio(1, 4);
        let running = self.clc.rows.get(&id).is_some_and(|row| row.state == State::Running);
        let verb = match (self.rng.gen_range(0..10), running) {
            (0..=3, true) => Verb::Stop { force },
            (4..=6, true) => Verb::Reboot,
            (7..=8, true) => return self.guest_ends(&id),
            (0..=6, false) => Verb::Start,
            (7, false) => Verb::Reboot,
            _ => Verb::Terminate { force },
        };
        if let Ok(true) = self.clc.order(&id, verb, now_ms) {
            self.say(|| format!("USER orders {verb:?} of {id}"));
            let wanted = match verb {
                Verb::Start => Desired::Running,
                Verb::Stop { .. } => Desired::Stopped,
                Verb::Terminate { .. } => Desired::Terminated,
                // A guest that has just gone off is started by it.
                Verb::Reboot => {
                    return self.ordered.retain(|of, wanted| *of != id || *wanted == Desired::Running);
                }
            };
            self.ordered.insert(id, wanted);
        }
    }

    /// The user shuts it down from inside, it crashes, or somebody pulls the plug.
    fn guest_ends(&mut self, id: &InstanceId) {
        let why = match self.rng.gen_range(0..4) {
            0 => OffReason::Crashed,
            1 => OffReason::Destroyed,
            _ => OffReason::GuestShutDown,
        };
        // What becomes of it is its owner's word, unless something else is under way with it.
        let row = self.clc.rows.get(id).filter(|row| row.state == State::Running);
        let settled = row.filter(|row| self.nodes.iter().any(|node| node.is_settled(id, row.generation)));
        match settled.map(|row| row.shutdown_behavior) {
            Some(ShutdownBehavior::Stop) => self.ordered.insert(id.clone(), Desired::Stopped),
            Some(ShutdownBehavior::Terminate) => self.ordered.insert(id.clone(), Desired::Terminated),
            None => self.ordered.remove(id),
        };
        self.nodes.iter_mut().for_each(|node| node.goes_off(id, why, true));
        self.say(|| format!("GUEST {id} goes off: {why:?}"));
    }

    fn time_passes(&mut self) {
        match self.rng.gen_range(0..100) {
            0 if !self.gentle => self.live(700_000),
            1..=4 => self.live(70_000),
            5 if !self.gentle => self.pass(70_000, false),
            6 if !self.gentle => self.pass(70_000, true),
            7..=20 => self.live(12_000),
            _ => {
                let span_ms = self.rng.gen_range(10..2_000);
                self.pass(span_ms, true);
            }
        }
    }

    /// Everybody who can be reached goes on.
    fn live(&mut self, span_ms: i64) {
        for _ in 0..span_ms / TICK_MS {
            self.round(TICK_MS);
            self.restart_some();
        }
    }

    /// Nobody is heard of. `still`: and nobody looked at the clock.
    fn pass(&mut self, span_ms: i64, still: bool) {
        let end_ms = self.now_ms + span_ms;
        while !still && self.now_ms + TICK_MS < end_ms {
            self.now_ms += TICK_MS;
            self.cc_ticks();
        }
        self.now_ms = end_ms;
        self.time_out();
    }

    fn process_dies(&mut self) {
        match self.rng.gen_range(0..3 + NODES) {
            0 => self.clc.run = None,
            1 | 2 => self.cc.run = None,
            node => self.nodes[node - 3].run = None,
        }
        self.say(|| "some process DIES".to_owned());
    }

    fn node_suffers(&mut self) {
        let number = self.rng.gen_range(0..NODES);
        let roll = self.rng.gen_range(0..100);
        let others_live = self.nodes.iter().filter(|node| !node.dead).count() > 1;
        let node = &mut self.nodes[number];
        match roll {
            0..=24 => node.cut_off = true,
            25..=69 => node.cut_off = false,
            70..=84 => node.power_off(),
            85..=92 => node.power = !node.dead,
            93..=94 => node.lose_records(),
            95 => {
                self.cc.lose_database();
                // A new disk takes longer than an answer of the old one is under way.
                self.wire.retain(|packet| packet.from != Who::Cc);
                self.late.retain(|(_, packet)| packet.from != Who::Cc);
                return self.say(|| "the cc LOSES its database".to_owned());
            }
            98 => node.lose_disk(),
            96..=97 if others_live => {
                node.dead = true;
                node.power_off();
            }
            _ => {}
        }
        let state = (node.cut_off, node.power, node.dead, node.amnesiac);
        self.say(|| format!("NODE {number}: cut off, power, dead, amnesiac = {state:?}"));
    }

    /// What supervises processes starts them again, sooner or later.
    fn restart_some(&mut self) {
        if self.clc.run.is_none() && (self.calm || self.rng.gen_bool(0.3)) {
            self.clc.start();
            self.say(|| "clc starts".to_owned());
        }
        if self.cc.run.is_none() && (self.calm || self.rng.gen_bool(0.3)) {
            self.cc.start(self.now_ms);
            self.say(|| "cc starts".to_owned());
        }
        for number in 0..NODES {
            let node = &self.nodes[number];
            if node.run.is_none() && node.power && !node.dead && (self.calm || self.rng.gen_bool(0.3)) {
                self.nodes[number].start();
                self.say(|| format!("node {number} starts"));
            }
        }
    }

    // ---- calm ----

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
    }

    fn deliver_all(&mut self) {
        while !self.wire.is_empty() {
            for packet in std::mem::take(&mut self.wire) {
                self.deliver(packet);
            }
        }
    }
}
