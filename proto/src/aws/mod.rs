//! AWS's wires: the Query protocol of EC2 and STS (requests as forms, answers as XML), and S3's restXml.
//!
//! `ec2::generated`, `sts::generated` and `s3::generated` hold the types, written by `cargo xtask codegen`
//! from `proto/model`; `rest` is the runtime that S3's call, the other modules are that of the Query
//! protocol. Nothing here knows HTTP's connections, accounts or storage, and nothing here may panic on what
//! a client sends.
//!
//! Enum members are `String`, not Rust enums. Their known values are constants beside the types
//! (`InstanceStateName::RUNNING`) and requests are checked against them while they are decoded, so a
//! handler never sees an unknown one. Real enums would double the generated code, and would have to
//! carry an "other" arm anyhow, for values that newer or older clients use and pass on.

pub mod action;
pub mod ec2;
pub mod envelope;
pub mod fault;
pub mod filter;
#[cfg(feature = "judge")]
pub mod judge;
pub mod paging;
pub mod query;
pub mod rest;
pub mod s3;
pub mod scalar;
pub mod sts;
pub mod xml;

pub use action::{Action, Service, decode};
pub use fault::WireFault;
pub use query::Params;
pub use scalar::{Decode, Done, Encode, Fragment};
pub use xml::XmlWriter;

/// For a fuzz loop: whatever the bytes are, decoding them must neither panic nor hang.
pub fn fuzz_query(data: &[u8]) {
    let Ok(params) = Params::parse(data) else { return };
    let _ = decode::<ec2::RunInstancesRequest>(params.clone());
    let _ = decode::<ec2::DescribeInstancesRequest>(params.clone());
    let _ = decode::<ec2::ModifyInstanceAttributeRequest>(params.clone());
    let _ = decode::<ec2::ImportKeyPairRequest>(params);
}
