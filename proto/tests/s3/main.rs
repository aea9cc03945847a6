//! S3's signatures, framed bodies and forms, judged by what AWS publishes, by requests of real clients, and
//! by what AWS was seen to answer.

#![allow(clippy::unwrap_used)] // helpers of tests, which the lint takes for code

mod answers;
mod chunks;
mod clients;
mod forms;
mod published;
mod support;
mod version_2;
