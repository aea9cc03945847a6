//! The loops: each re-reads the book, does its steps, and is woken by a bell and by a timer.

pub mod facts;
pub mod heartbeat;
pub mod network;
pub mod node;
pub mod tick;
