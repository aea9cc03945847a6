//! EC2's actions: one line each.

mod instance;

use super::table::{Table, action_alone};

pub fn table(table: Table) -> Table {
    table.on_encoded(instance::describe_instances, action_alone)
}
