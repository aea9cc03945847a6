//! The cloud controller over HTTP, with a real database (SQLite and PostgreSQL) and a simulated cluster
//! behind real mutual TLS. Requests are signed by the `aws-sigv4` crate.
//!
//! A test is a function of a running [`support::Cloud`]; `on_both!` runs it on each engine.

#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test

#[macro_use]
mod support;

mod addresses;
mod attributes;
mod bundle_tasks;
mod bundles;
mod databases;
mod default_vpcs;
mod detaching;
mod dhcp_options;
mod dry_run;
mod edge;
mod image_deletion;
mod image_tasks;
mod images;
mod instance_filters;
mod internal;
mod key_pairs;
mod launch_options;
mod launches;
mod lifecycle;
mod listing;
mod migrations;
mod network;
mod network_acls;
mod network_filters;
mod network_interfaces;
mod network_modes;
mod packet_path;
mod pages;
mod permission_keys;
mod permissions;
mod places;
mod prefix_lists;
mod public_addresses;
mod purged;
mod restart;
mod route_tables;
mod security_group_facts;
mod security_group_rules;
mod security_groups;
mod served;
mod sessions;
mod shared;
mod signers;
mod snapshots;
mod subnets;
mod tags;
mod vpc_facts;
mod vpc_ranges;
mod vpcs;
mod zones;
