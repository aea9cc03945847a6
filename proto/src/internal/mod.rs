//! The internal APIs, one file each: a trait, its HTTP face and its client.
//!
//! ```text
//!   clc ──InstanceService──► cc ──InstanceService──► nc        intents down, reports up (cursor)
//!   cc  ──ClusterService───► clc                               a cluster makes itself known
//!   nc  ──NodeService──────► cc                                a node makes itself known
//!   nc, cli ──BlobService──► walrus                            image blobs by digest
//!   clc ──BundleService──► walrus                            bundles and disks in S3, made into blobs
//!   clc ──ExportService──► walrus                            blobs, written to buckets as disk images
//!   clc ──InstanceBundleService──► walrus ◄── nc             root disks, written to buckets as bundles
//!   cli ──AdminService─────► clc                               accounts, users, keys, tokens, status, `karri net`
//!   cli ──────────────────► walrus                            the store of objects: backups (`objects`)
//!   walrus ──SignerService─► clc                               who signs S3 requests
//!   clc ──FleetService─────► cc                                nodes that are gone for good
//!   clc ──FactService──────► cc ──FactService────► nc          what networks let through
//!   clc ──StoryService─────► cc ──StoryService──► nc           `karri why`
//!   clc ──KernelService────► cc ──KernelService─► nc           what is in kernels, for `karri net show`
//! ```
//!
//! All of it is HTTP/JSON under `/v1` over mutual TLS. A fake is one more `impl` of the trait.

pub mod admin;
pub mod blobs;
pub mod buckets;
pub mod bundles;
pub mod caller;
pub mod clusters;
pub mod error;
pub mod exports;
pub mod facts;
pub mod fleet;
pub mod instance_bundles;
pub mod instances;
pub mod join;
pub mod kernel;
pub mod nodes;
pub mod objects;
pub mod openapi;
pub mod path;
pub mod signers;
pub mod story;

pub use caller::{Caller, Identity, Role};
pub use error::ApiError;
