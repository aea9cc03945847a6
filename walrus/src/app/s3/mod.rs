//! S3's rules as functions of values: what a request's address names, which names are allowed, whether
//! conditions hold, what an access control list grants.
//!
//! Must not: do IO, read a clock, or know of HTTP beyond the text of headers.

pub mod access_log;
pub mod acl;
pub mod address;
pub mod bucket_settings;
pub mod checksum;
pub mod condition;
pub mod copy_source;
pub mod cors;
pub mod encryption;
pub mod expiry;
pub mod lifecycle;
pub mod lock;
pub mod names;
pub mod notification;
pub mod parts;
pub mod range;
pub mod tags;
pub mod website;
