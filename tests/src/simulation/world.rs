//! What happens to the controllers: users, guests with a will of their own, time, death and damage.

use super::clc::{self, Verb};
use super::wire::Who;
use super::{INSTANCES_MAX, NODES, Sim, TICK_MS};
use karri_clc::app::instance::{ShutdownBehavior, State};
use karri_nc::app::plan::OffReason;
use karri_proto::ids::InstanceId;
use karri_proto::instance::Desired;
use karri_proto::resources::Need;
use rand::Rng;

impl Sim {
    fn may_launch(&self) -> bool {
        let crowded = self.gentle && self.clc.held_count() >= INSTANCES_MAX as usize;
        self.launched < INSTANCES_MAX * self.depth && !crowded
    }

    pub(super) fn user_acts(&mut self) {
        let now_ms = self.now_ms;
        if self.networks && self.rng.gen_ratio(1, 5) {
            return self.networks_change();
        }
        if self.may_launch() && self.rng.gen_bool(0.5) {
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
    pub(super) fn guest_ends(&mut self, id: &InstanceId) {
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
            // It is about the guest's own wish only.
            Some(ShutdownBehavior::Terminate) if why != OffReason::GuestShutDown => {
                self.ordered.insert(id.clone(), Desired::Stopped)
            }
            Some(ShutdownBehavior::Terminate) => self.ordered.insert(id.clone(), Desired::Terminated),
            None => self.ordered.remove(id),
        };
        self.nodes.iter_mut().for_each(|node| node.goes_off(id, why, true));
        self.say(|| format!("GUEST {id} goes off: {why:?}"));
    }

    pub(super) fn time_passes(&mut self) {
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
    pub(super) fn live(&mut self, span_ms: i64) {
        for _ in 0..span_ms / TICK_MS {
            self.round(TICK_MS);
            self.restart_some();
        }
    }

    /// Nobody is heard of. `still`: and nobody looked at the clock.
    pub(super) fn pass(&mut self, span_ms: i64, still: bool) {
        let end_ms = self.now_ms + span_ms;
        while !still && self.now_ms + TICK_MS < end_ms {
            self.now_ms += TICK_MS;
            self.cc_ticks();
        }
        self.now_ms = end_ms;
        self.time_out();
    }

    pub(super) fn process_dies(&mut self) {
        match self.rng.gen_range(0..3 + NODES) {
            0 => self.clc.run = None,
            1 | 2 => self.cc.run = None,
            node => self.nodes[node - 3].run = None,
        }
        self.say(|| "some process DIES".to_owned());
    }

    pub(super) fn node_suffers(&mut self) {
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
                for node in 0..NODES {
                    self.excused.extend(self.clc.rows.keys().map(|id| (node, id.clone())));
                }
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
    pub(super) fn restart_some(&mut self) {
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
}
