//! Parts against the generated encoder, whatever happens to the instances.

use super::super::shape::reservation;
use super::*;
use crate::app::instance::view::sort_key;
use crate::app::instance::{State, sample};
use karri_proto::ids::{InstanceId, ReservationId};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// What the parts must come to.
fn whole(instances: &[Arc<Instance>], next_token: Option<String>) -> String {
    let reservations = instances.chunk_by(|a, b| a.reservation == b.reservation);
    text_of(&DescribeInstancesResult { next_token, reservations: reservations.map(reservation).collect() })
}

fn joined(parts: &[Part]) -> String {
    parts.iter().map(|part| std::str::from_utf8(&part.text).unwrap()).collect()
}

/// Which of `parts` are the very texts of `before`.
fn taken_over(parts: &[Part], before: &[Part]) -> usize {
    let same = |part: &&Part| before.iter().any(|old| old.text.as_ptr() == part.text.as_ptr());
    parts.iter().filter(same).count()
}

struct World {
    random: StdRng,
    change: i64,
    instances: Vec<Arc<Instance>>,
}

impl World {
    fn new(seed: u64) -> Self {
        Self { random: StdRng::seed_from_u64(seed), change: 0, instances: Vec::new() }
    }

    fn launch(&mut self, count: u32) {
        let reservation = ReservationId::random(&mut self.random);
        for launch_index in 0..count {
            self.change += 1;
            let mut one = sample::instance();
            let mut spec = (*one.spec).clone();
            spec.launch_index = launch_index;
            one.id = InstanceId::random(&mut self.random);
            one.change = self.change;
            one.reservation = reservation.clone();
            one.spec = Arc::new(spec);
            self.instances.push(Arc::new(one));
        }
        self.instances.sort_by_cached_key(|one| sort_key(one));
    }

    fn alter(&mut self, alteration: impl FnOnce(&mut Instance)) {
        let at = self.random.gen_range(0..self.instances.len());
        let mut one = (*self.instances[at]).clone();
        alteration(&mut one);
        self.change += 1;
        one.change = self.change;
        self.instances[at] = Arc::new(one);
    }

    fn purge(&mut self) {
        let at = self.random.gen_range(0..self.instances.len());
        self.instances.remove(at);
    }

    fn step(&mut self) {
        match self.random.gen_range(0..6) {
            0 => {
                let count = self.random.gen_range(1..40);
                self.launch(count);
            }
            _ if self.instances.is_empty() => {}
            1 => self.purge(),
            2 => self.alter(|one| one.state = State::Terminated),
            3 => self.alter(|one| one.tags = vec![("<instancesSet/>".into(), "a & b".into())]),
            4 => self.alter(|one| one.state = State::Stopped),
            _ => self.alter(|one| one.state = State::Running),
        }
    }
}

#[test]
fn parts_come_to_what_the_generated_encoder_writes_after_every_change() {
    for seed in 0..4 {
        let mut world = World::new(seed);
        let mut before = Vec::new();
        for step in 0..60 {
            let token = (step % 7 == 0).then(|| "<token>".to_owned());
            let now = parts(&world.instances, token.clone(), &Before::new(&before));
            assert_eq!(joined(&now), whole(&world.instances, token), "seed {seed}, step {step}");
            before = now;
            world.step();
        }
    }
}

#[test]
fn only_the_part_with_the_changed_instance_is_written_anew() {
    let mut world = World::new(1);
    world.launch(1000);
    let before = parts(&world.instances, None, &Before::default());
    assert!(before.len() > 15, "{} parts", before.len());
    world.alter(|one| one.state = State::Stopped);
    let now = parts(&world.instances, None, &Before::new(&before));
    // Besides it, the two that enclose all.
    assert_eq!(taken_over(&now, &before), before.len() - 3);
}

#[test]
fn a_new_or_purged_instance_leaves_all_but_its_neighbours_alone() {
    let mut world = World::new(2);
    for _ in 0..1000 {
        world.launch(1);
    }
    let before = parts(&world.instances, None, &Before::default());
    world.launch(1);
    let launched = parts(&world.instances, None, &Before::new(&before));
    assert!(taken_over(&launched, &before) + 4 >= before.len());
    world.purge();
    let purged = parts(&world.instances, None, &Before::new(&launched));
    assert!(taken_over(&purged, &launched) + 4 >= launched.len());
}
