//! What a node decides, as functions of values: no IO, no clock, no randomness.

pub mod domain_xml;
pub mod interface_xml;
pub mod metadata;
pub mod owner_tag;
pub mod plan;
pub mod qcow2;
pub mod record;
pub mod sample;
pub mod token;
pub mod user_network;
