//! What the controllers do by themselves.

use super::cc::node_name;
use super::wire::Who;
use super::{NODES, Sim};
use karri_cc::app::plan::NodeCondition;
use karri_nc::app::plan::Step;
use karri_proto::ids::InstanceId;
use rand::Rng;

impl Sim {
    pub(super) fn someone_acts(&mut self) {
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

    pub(super) fn clc_calls(&mut self) {
        let life = self.clc.life;
        for (call, body) in self.clc.calls(&mut self.next_call, self.now_ms) {
            self.send(Who::Clc, Who::Cc, call, life, false, body);
        }
    }

    pub(super) fn cc_ticks(&mut self) {
        self.cc.tick(self.now_ms);
        let Some(run) = &self.cc.run else { return };
        for node in &self.nodes {
            let known = run.book.node(&node_name(node.number));
            let lost = known.is_some_and(|known| known.condition == NodeCondition::Lost);
            self.node_lost |= lost;
            if lost || node.amnesiac {
                self.excused.extend(self.clc.rows.keys().map(|id| (node.number, id.clone())));
            }
        }
    }

    pub(super) fn cc_calls(&mut self, node: usize) {
        let life = self.cc.life;
        for (call, body) in self.cc.calls(node, &mut self.next_call, self.now_ms) {
            self.send(Who::Cc, Who::Node(node), call, life, false, body);
        }
    }

    pub(super) fn greet(&mut self, number: usize) {
        let node = &mut self.nodes[number];
        if node.run.is_none() {
            return;
        }
        node.look_around(self.now_ms);
        let (life, hello) = (node.life, node.hello());
        self.send(Who::Node(number), Who::Cc, 0, life, false, hello);
    }

    pub(super) fn node_works(&mut self, number: usize) {
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

    pub(super) fn carry_out(&mut self, number: usize, id: &InstanceId) {
        let unlucky = if self.calm || self.gentle { 0 } else { 3 };
        let node = &mut self.nodes[number];
        let step = node.run.as_ref().and_then(|run| run.planned.get(id)).map(|(_, step)| step.clone());
        node.carry_out(id, &mut self.rng, unlucky, self.now_ms);
        let Some(step) = step else { return };
        if step == Step::StartGuest && self.chance(30) {
            self.nodes[number].ends_early(id);
            self.ordered.remove(id); // what becomes of it is its owner's word
        }
        self.say(|| format!("node {number}: {id} {step:?}"));
        if self.chance(30) {
            self.say(|| format!("node {number}: the process DIES"));
            self.nodes[number].run = None;
        }
    }
}
