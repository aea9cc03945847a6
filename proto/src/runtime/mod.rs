//! What every controller process needs and none should write twice: configuration, logs, trust,
//! serving, calling, metrics, health, shutting down.

pub mod client;
pub mod clock;
pub mod config;
pub mod endpoint;
pub mod files;
pub mod health;
pub mod lasting;
mod linger;
pub mod metrics;
pub mod outage;
mod patience;
mod peers;
pub mod pki;
pub mod process;
pub mod revoked;
pub mod rsa_pair;
pub mod server;
pub mod spelling;
pub mod state_lock;
pub mod story_log;
pub mod telemetry;
pub mod tls;
