//! Instances: one file per group of actions, and the shape in which they are told.

mod control;
mod describe;
mod filter;
mod run;
mod shape;

pub use control::{
    get_console_output, of_console, of_reboot, of_start, of_stop, of_terminate, reboot_instances,
    start_instances, stop_instances, terminate_instances,
};
pub use describe::{describe_instance_status, describe_instances};
pub use run::{of_run, run_instances};
