//! EC2's actions: one line each.

mod account;
mod image;
mod instance;
mod instance_type;
mod key_pair;
mod listing;
mod region;
mod tag;

use super::table::{Table, action_alone};

pub fn table(table: Table) -> Table {
    let table = table.on_encoded(instance::describe_instances, action_alone);
    let table = cloud(table);
    let table = images(table);
    let table = key_pairs(table);
    tags(table)
}

fn cloud(table: Table) -> Table {
    table
        .on(region::describe_regions, action_alone)
        .on(region::describe_availability_zones, action_alone)
        .on(account::describe_account_attributes, action_alone)
        .on(instance_type::describe_instance_types, action_alone)
        .on(instance_type::describe_instance_type_offerings, action_alone)
}

fn images(table: Table) -> Table {
    table
        .on(image::register_image, action_alone)
        .on(image::deregister_image, image::deregister_asks)
        .on(image::describe_images, action_alone)
        .on(image::describe_image_attribute, action_alone)
}

fn key_pairs(table: Table) -> Table {
    table
        .on(key_pair::create_key_pair, key_pair::create_asks)
        .on(key_pair::import_key_pair, key_pair::import_asks)
        .on(key_pair::describe_key_pairs, action_alone)
        .on(key_pair::delete_key_pair, key_pair::delete_asks)
}

fn tags(table: Table) -> Table {
    table
        .on(tag::create_tags, tag::create_asks)
        .on(tag::delete_tags, tag::delete_asks)
        .on(tag::describe_tags, action_alone)
}
