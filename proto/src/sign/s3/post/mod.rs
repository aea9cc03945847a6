//! Uploads by a browser's form: `POST /bucket` with `multipart/form-data`, and a policy instead of a signature
//! over the request.
//!
//! In order: [`boundary`] of the `Content-Type`; a [`FormReader`] over the body until it says
//! [`FormStep::File`]; then its [`Form`] is whole, since what follows the file does not count. The form's
//! [`claim`](Form::claim) is checked by [`Verifier::verify_form`](crate::sign::Verifier::verify_form) and its
//! [`PostPolicy`] by [`PostPolicy::check`]. Then the file's bytes are taken as they come, held against
//! [`PostPolicy::check_size`].
//!
//! Must not: hold the file, or more of a form than [`FIELDS_BYTES_MAX`].

mod condition;
mod form;
mod head;
mod policy;
mod reader;
mod verify;

pub use form::{FileHead, Form};
pub use head::boundary;
pub use policy::PostPolicy;
pub use reader::{FIELDS_BYTES_MAX, FormReader, FormStep};
