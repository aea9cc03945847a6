//! Instances: one file per group of actions, and the shape in which they are told.

mod attribute;
mod control;
mod credit;
mod describe;
mod filter;
mod interfaces;
mod parts;
mod run;
mod shape;
mod unsupported;

pub use attribute::{
    describe_instance_attribute, modify_instance_attribute, modify_instance_metadata_options,
    of_describe_attribute, of_modify_attribute, of_modify_metadata,
};
pub use control::{
    get_console_output, of_console, of_reboot, of_start, of_stop, of_terminate, reboot_instances,
    start_instances, stop_instances, terminate_instances,
};
pub use credit::describe_instance_credit_specifications;
pub use describe::{describe_instance_status, describe_instances};
pub use run::{of_run, run_instances};
pub use shape::{address_owner, private_address, private_name};
pub use unsupported::{GP3_IOPS, GP3_THROUGHPUT_MIB, VOLUME_TYPES};
