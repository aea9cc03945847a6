//! The loops: a worker per instance with something to do, the watch over guests, the heartbeat.

pub mod addresses;
pub mod adopt;
pub mod groups;
pub mod heartbeat;
pub mod instance;
pub mod observe;
pub mod ports;
mod ports_change;
pub mod starved;
pub mod step;
pub mod watch;

#[cfg(test)]
mod tests;
