pub mod policy;
pub mod sign;
