//! What is on its way between controllers: lost, held up, repeated, delivered, given up.

use super::Sim;
use super::wire::{Body, Packet, Who};
use rand::Rng;

const CALL_TIMEOUT_MS: i64 = 10_000;
/// No connection carries a message for longer.
const PACKET_LIFE_MS: i64 = 120_000;

impl Sim {
    pub(super) fn send(&mut self, from: Who, to: Who, call: u64, life: u64, answer: bool, body: Body) {
        let sent_ms = self.now_ms;
        self.wire.push(Packet { from, to, answer, call, life, sent_ms, body });
    }

    pub(super) fn reaches(&self, from: Who, to: Who) -> bool {
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

    pub(super) fn deliver_any(&mut self) {
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
    pub(super) fn latecomers(&mut self, happened: u32) {
        self.happened += happened;
        let due = |(due, _): &(u32, Packet)| *due <= self.happened;
        let (now, later): (Vec<_>, Vec<_>) = std::mem::take(&mut self.late).into_iter().partition(due);
        self.late = later;
        self.wire.extend(now.into_iter().map(|(_, packet)| packet));
    }

    pub(super) fn deliver(&mut self, packet: Packet) {
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
        let telling = matches!(body, Body::Facts(_));
        let reply = match to {
            Who::Clc => None,
            Who::Cc => self.cc.asked(body, now_ms, crash),
            Who::Node(number) => {
                let reply = self.nodes[number].asked(body, now_ms);
                if telling && crash {
                    self.say(|| format!("node {number}: the process DIES over it"));
                    self.nodes[number].run = None;
                }
                reply.filter(|_| !(telling && crash))
            }
        };
        if let Some(reply) = reply {
            self.send(to, from, call, life, true, reply);
        }
    }

    pub(super) fn answered(&mut self, to: Who, call: u64, life: u64, body: Body) {
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
    pub(super) fn time_out(&mut self) {
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

    pub(super) fn deliver_all(&mut self) {
        while !self.wire.is_empty() {
            for packet in std::mem::take(&mut self.wire) {
                self.deliver(packet);
            }
        }
    }
}
