//! EC2's actions: one line each, with the permission that it takes.

mod instance;

use super::table::{Table, action_alone};

pub fn table(table: Table) -> Table {
    table
        .on(instance::run_instances, instance::of_run)
        .on_encoded(instance::describe_instances, action_alone)
        .on(instance::describe_instance_status, action_alone)
        .on(instance::start_instances, instance::of_start)
        .on(instance::stop_instances, instance::of_stop)
        .on(instance::reboot_instances, instance::of_reboot)
        .on(instance::terminate_instances, instance::of_terminate)
        .on(instance::get_console_output, instance::of_console)
}
