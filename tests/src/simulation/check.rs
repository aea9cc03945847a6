//! What must hold after every step, and what must hold when everything has come to rest.

use super::Sim;
use super::cc::node_name;
use super::clc::{CLUSTER, SUBNET};
use karri_clc::app::address::{Cidr, network_name};
use karri_clc::app::instance::{Instance, ShutdownBehavior, State};
use karri_nc::app::plan::Guest;
use karri_proto::ids::InstanceId;
use karri_proto::instance::Desired;
use karri_proto::resources::Need;
use std::collections::BTreeMap;

type Verdict = Result<(), String>;

/// What was seen before, to see what must only grow.
#[derive(Debug, Default)]
pub struct Past {
    clc: BTreeMap<InstanceId, (u64, bool)>,
    cc: BTreeMap<InstanceId, (u64, u32, bool)>,
    nodes: BTreeMap<(usize, InstanceId), (u64, u32)>,
    /// Since when each instance is in its state; counted from the end of all faults.
    stays: BTreeMap<InstanceId, (State, i64, i64)>,
    database_losses: u64,
}

fn ensure(holds: bool, what: impl FnOnce() -> String) -> Verdict {
    if holds { Ok(()) } else { Err(what()) }
}

/// After every step.
pub fn step(sim: &Sim, past: &mut Past) -> Verdict {
    if std::mem::replace(&mut past.database_losses, sim.cc.disk.losses) != sim.cc.disk.losses {
        past.cc.clear(); // it starts anew
    }
    none_doubled(sim)?;
    numbers_grow(sim, past)?;
    ensure(sim.overdue.is_none(), || sim.overdue.clone().unwrap_or_default())?;
    transitions_end(sim, past)?;
    ensure(sim.cc.wronged.is_none(), || {
        format!("the cc was away, and took node {:?} for lost", sim.cc.wronged)
    })?;
    let twice = &sim.cc.placed_twice;
    ensure(twice.is_none(), || format!("cc: {twice:?} was placed anew while a node was known to have it"))?;
    the_dead_stay_dead(sim)?;
    for node in &sim.nodes {
        ensure(node.restarted.is_none(), || {
            format!("node {}: {:?} was shut down and is started again", node.number, node.restarted)
        })?;
        ensure(node.data_lost.is_none(), || {
            format!("node {}: {:?} lost its data", node.number, node.data_lost)
        })?;
    }
    accounts_are_right(sim)?;
    addresses_are_unique(sim)
}

/// At most one live guest per instance.
fn none_doubled(sim: &Sim) -> Verdict {
    let mut homes: BTreeMap<&InstanceId, usize> = BTreeMap::new();
    for node in &sim.nodes {
        for (id, guest) in &node.guests {
            let counts = guest.guest == Guest::Running && !sim.excused.contains(&(node.number, id.clone()));
            if counts && let Some(other) = homes.insert(id, node.number) {
                return Err(format!("{id} runs on node {other} and on node {}", node.number));
            }
        }
    }
    Ok(())
}

/// What outlasts its deadline after everybody has done everything once: the cloud controller wherever it lives, nodes
/// when nothing happens to them.
pub fn overdue(sim: &mut Sim) -> Option<String> {
    let now_ms = sim.now_ms;
    if sim.clc.run.is_some() {
        let moving = sim.clc.rows.values().filter(|row| row.state.is_transitional());
        let mut late = moving.filter(|row| row.deadline_ms.is_none_or(|at| at <= now_ms));
        if let Some(row) = late.next() {
            let (id, state) = (&row.id, row.state.as_str());
            return Some(format!("clc: {id} is {state} at {now_ms}, to end by {:?}", row.deadline_ms));
        }
    }
    if !sim.calm {
        return None;
    }
    sim.nodes.iter_mut().filter(|node| node.run.is_some()).find_map(|node| {
        let ids: Vec<InstanceId> = node.records.keys().cloned().collect();
        let late = ids.into_iter().find_map(|id| node.overdue(&id, now_ms).map(|what| (id, what)));
        late.map(|(id, what)| format!("node {}: {id} {what} beyond its deadline", node.number))
    })
}

/// A deadline that moves on and on is none: a state ends after its own time, and that of force behind it.
fn transitions_end(sim: &Sim, past: &mut Past) -> Verdict {
    if !sim.calm {
        return Ok(());
    }
    for row in sim.clc.rows.values() {
        let stay = past.stays.entry(row.id.clone()).or_insert((row.state, row.launched_ms, sim.now_ms));
        if (stay.0, stay.1) != (row.state, row.launched_ms) {
            *stay = (row.state, row.launched_ms, sim.now_ms);
        }
        let limits = &sim.clc.limits;
        let secs_max = match row.state {
            State::Pending => limits.pending_secs,
            State::Stopping => 2 * limits.stopping_secs,
            State::ShuttingDown => 2 * limits.shutting_down_secs,
            State::Running | State::Stopped | State::Terminated => continue,
        };
        let millis = sim.now_ms - stay.2;
        ensure(millis <= i64::try_from(secs_max * 1000).unwrap_or(i64::MAX), || {
            format!("clc: {} is {} for {millis} ms", row.id, row.state.as_str())
        })?;
    }
    Ok(())
}

fn numbers_grow(sim: &Sim, past: &mut Past) -> Verdict {
    for (id, row) in &sim.clc.rows {
        let now = (row.generation, row.state == State::Terminated);
        if let Some(before) = past.clc.insert(id.clone(), now) {
            ensure(now.0 >= before.0, || format!("clc: generation of {id} fell to {}", now.0))?;
            ensure(now.1 || !before.1, || format!("clc: {id} was terminated and is {:?}", row.state))?;
        }
    }
    for (id, row) in &sim.cc.disk.rows {
        let now = (row.generation, row.attempt, row.ran);
        if let Some(before) = past.cc.insert(id.clone(), now) {
            ensure(now >= before, || format!("cc: {id} fell from {before:?} to {now:?}"))?;
            ensure(now.1 >= before.1, || format!("cc: attempt of {id} fell to {}", now.1))?;
            ensure(now.1 == before.1 || !before.2, || format!("cc: {id} ran and was taken from its disk"))?;
        }
    }
    for node in sim.nodes.iter().filter(|node| !node.amnesiac) {
        for (id, record) in &node.records {
            let now = (record.intent.generation, record.intent.attempt);
            if let Some(before) = past.nodes.insert((node.number, id.clone()), now) {
                ensure(now >= before, || format!("node {}: {id} fell to {now:?}", node.number))?;
            }
        }
    }
    Ok(())
}

fn the_dead_stay_dead(sim: &Sim) -> Verdict {
    if let Some(run) = &sim.cc.run {
        for row in run.book.rows() {
            ensure(!run.book.is_tombstoned(&row.id), || format!("cc: {} lives under its tombstone", row.id))?;
        }
    }
    for node in &sim.nodes {
        for (id, record) in &node.records {
            let covers = |stone: &karri_nc::app::record::Tombstone| {
                stone.report.covers(record.intent.generation, record.intent.attempt)
            };
            let risen = node.tombstones.get(id).is_some_and(covers);
            ensure(!risen, || format!("node {}: {id} lives under its tombstone", node.number))?;
        }
    }
    Ok(())
}

/// What is counted as used is the sum of what is held.
fn accounts_are_right(sim: &Sim) -> Verdict {
    if let Some(run) = &sim.cc.run {
        for node in run.book.nodes() {
            let name = &node.record.facts.name;
            let held = run.book.rows().filter_map(|row| row.held()).filter(|(at, _)| at == name);
            let sum = held.fold(Need::default(), |sum, (_, need)| sum + need);
            ensure(node.used == sum, || format!("cc: {name} has {:?} used of {sum:?}", node.used))?;
        }
        for row in run.book.rows() {
            let stored = sim.cc.disk.rows.get(&row.id);
            ensure(stored.is_some_and(|stored| stored.is_durably(row)), || {
                format!("cc: {} not stored", row.id)
            })?;
        }
    }
    if let Some(run) = &sim.clc.run {
        let living = sim.clc.rows.values().filter(|row| row.state != State::Terminated).count();
        ensure(run.book.ledger.holds_count() == living, || {
            format!("clc: {} reservations for {living} instances", run.book.ledger.holds_count())
        })?;
        for node in &sim.nodes {
            let name = node_name(node.number);
            let used = run.book.ledger.used_on(CLUSTER, &name);
            if let Some(free) =
                run.book.ledger.free_on(CLUSTER, &name).filter(|free| *free != Need::default())
            {
                ensure(free == super::nc::CAPACITY - used, || {
                    format!("clc: {name} has {free:?} free with {used:?} used")
                })?;
            }
        }
        let range = Cidr::parse(SUBNET).expect("well-formed");
        let free = run.book.addresses.free_count(&network_name(0, "", CLUSTER), range);
        let taken = usize::try_from(range.size() - free).unwrap_or(0);
        ensure(taken == living, || format!("clc: {taken} addresses taken for {living} instances"))?;
    }
    Ok(())
}

fn addresses_are_unique(sim: &Sim) -> Verdict {
    let mut owners = BTreeMap::new();
    for row in sim.clc.rows.values().filter(|row| row.state != State::Terminated) {
        for port in &row.spec.ports {
            if let Some(other) = owners.insert(port.private_ip, &row.id) {
                return Err(format!("{} belongs to {other} and to {}", port.private_ip, row.id));
            }
        }
    }
    Ok(())
}

/// Everything that was wanted has come about, or has failed with a reason; nothing is left over.
pub fn rest(sim: &mut Sim) -> Verdict {
    let now_ms = sim.now_ms;
    for node in sim.nodes.iter_mut().filter(|node| !node.dead) {
        let ids: Vec<InstanceId> = node.records.keys().cloned().collect();
        for id in ids {
            ensure(node.rests(&id, now_ms), || format!("node {}: {id} is still busy", node.number))?;
        }
    }
    let sim = &*sim;
    for row in sim.clc.rows.values() {
        instance_rests(sim, row).map_err(|what| format!("{} ({}): {what}", row.id, row.state.as_str()))?;
    }
    nothing_leaked(sim)?;
    super::facts::rest(sim)?;
    if sim.gentle && !sim.node_lost {
        nothing_failed(sim)?;
    }
    ensure(sim.clc.is_idle(), || "clc: something is still to be told".to_owned())?;
    let book = &sim.cc.run.as_ref().ok_or("the cc is down")?.book;
    for node in sim.nodes.iter().filter(|node| !node.dead) {
        let name = node_name(node.number);
        let held = sim.clc.run.as_ref().map(|run| run.book.ledger.used_on(CLUSTER, &name));
        let used = book.node(&name).map(|known| known.used);
        // What is stopped and was never placed holds room at the clc alone.
        let placed = book.rows().all(|row| row.node.is_some());
        ensure(used == held || !placed, || format!("{name}: the cc counts {used:?}, the clc {held:?}"))?;
        let strays = book.node(&name).map_or(0, |known| known.strays.len());
        ensure(strays == 0, || format!("cc: {strays} strays on {name}"))?;
        let tasks = book.tasks(&name, 9);
        ensure(tasks.is_empty(), || format!("cc: {name} is still to be told {tasks:?}"))?;
    }
    Ok(())
}

fn instance_rests(sim: &Sim, row: &Instance) -> Verdict {
    let placed = sim.cc.disk.rows.get(&row.id);
    let home = placed.and_then(|placed| placed.node.clone());
    let at_home = |number: usize| home.as_deref() == Some(node_name(number).as_str());
    let home_is_dead = sim.nodes.iter().any(|node| node.dead && at_home(node.number));
    let live = sim.nodes.iter().filter(|node| !node.dead && node.is_running(&row.id));
    let live: Vec<usize> = live.map(|node| node.number).collect();
    let agrees = placed.is_none_or(|placed| placed.phase.satisfies(row.desired));
    ensure(agrees || home_is_dead, || {
        format!("the cc takes it for {:?}", placed.map(|placed| placed.phase))
    })?;
    let told = |number: usize| {
        let record = sim.nodes[number].records.get(&row.id);
        record.is_some_and(|record| record.intent.generation == row.generation)
    };
    match row.state {
        State::Pending | State::Stopping | State::ShuttingDown => Err("still under way".to_owned()),
        State::Running => {
            ensure(row.desired == Desired::Running, || format!("{:?} is wanted", row.desired))?;
            let alone = live.len() == 1 && at_home(live[0]);
            ensure(alone || (home_is_dead && live.is_empty()), || {
                format!("runs on {live:?}, is on {home:?}")
            })?;
            ensure(live.iter().all(|number| told(*number)), || "its node has another intent".to_owned())?;
            let rebooted =
                live.iter().all(|number| sim.nodes[*number].records[&row.id].reboots == row.reboots);
            ensure(rebooted, || "was not rebooted as often as asked".to_owned())
        }
        State::Stopped => {
            ensure(row.desired == Desired::Stopped, || format!("{:?} is wanted", row.desired))?;
            ensure(live.is_empty(), || format!("runs on {live:?}"))?;
            ensure(placed.is_some(), || "the cc does not know it".to_owned())?;
            let homes = sim.nodes.iter().filter(|node| !node.dead && at_home(node.number));
            let known = homes.map(|node| node.number).all(told);
            ensure(known, || "its node does not know it as stopped".to_owned())
        }
        State::Terminated => {
            ensure(row.reason.is_some(), || "has no reason".to_owned())?;
            ensure(live.is_empty(), || format!("runs on {live:?}"))?;
            ensure(row.forgotten && placed.is_none(), || "is not forgotten".to_owned())
        }
    }
}

/// Lost messages and dying processes are no reason to fail, nor to disobey.
fn nothing_failed(sim: &Sim) -> Verdict {
    for row in sim.clc.rows.values().filter(|row| row.state == State::Terminated) {
        let code = row.reason.as_ref().map(|reason| reason.code.as_str()).unwrap_or_default();
        // Crashes and plugs pulled behind our back end an instance whose owner wants it so.
        let fair = code.starts_with("Client.") || row.shutdown_behavior == ShutdownBehavior::Terminate;
        ensure(fair, || format!("{} failed without a cause: {:?}", row.id, row.reason))?;
    }
    for (id, wanted) in &sim.ordered {
        let Some(row) = sim.clc.rows.get(id) else { continue };
        ensure(row.desired == *wanted, || {
            format!("{id}: {wanted:?} was ordered, and {:?} came of it", row.desired)
        })?;
    }
    Ok(())
}

/// No guest, tap, disk, record or row without an instance that it belongs to.
fn nothing_leaked(sim: &Sim) -> Verdict {
    for row in sim.cc.disk.rows.values() {
        let known = sim.clc.rows.get(&row.id).is_some_and(|known| !known.forgotten);
        ensure(known, || format!("cc: {} is nobody's", row.id))?;
    }
    for node in sim.nodes.iter().filter(|node| !node.dead) {
        let name = node_name(node.number);
        let belongs = |id: &InstanceId| {
            let placed = sim.cc.disk.rows.get(id).and_then(|row| row.node.as_ref());
            placed == Some(&name)
        };
        let things = node.records.keys().map(|id| ("record", id));
        let things = things.chain(node.disks.iter().map(|id| ("disk", id)));
        let things = things.chain(node.guests.keys().map(|id| ("domain", id)));
        for (what, id) in things {
            ensure(belongs(id), || format!("{name}: the {what} of {id} is left over"))?;
        }
        for tap in &node.taps {
            let owner = sim.clc.rows.values().find(|row| row.spec.ports.iter().any(|p| p.id.as_str() == tap));
            let used = owner.is_some_and(|row| node.is_running(&row.id));
            ensure(used, || format!("{name}: the tap of {tap} is left over"))?;
        }
        for id in node.guests.keys() {
            ensure(node.amnesiac || node.disks.contains(id), || format!("{name}: {id} runs without a disk"))?;
            let record = node.records.get(id);
            let ports = record.is_none_or(|record| {
                record.intent.spec.ports.iter().all(|port| node.taps.contains(port.id.as_str()))
            });
            ensure(ports || node.amnesiac, || format!("{name}: {id} runs without a port"))?;
        }
    }
    Ok(())
}
