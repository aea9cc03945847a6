//! What is refused before there is a handler, as a fault of the same form as all others.

use super::code::S3Code;
use super::fault::S3Fault;
use crate::refusal::S3Refusal;

impl From<S3Refusal> for S3Fault {
    fn from(refusal: S3Refusal) -> Self {
        let Some(code) = S3Code::from_wire(refusal.code) else {
            return S3Fault::internal(format!("a refusal with an unknown code: {refusal}"));
        };
        let fault = S3Fault::saying(code, refusal.message);
        refusal.fields.into_iter().fold(fault, |fault, (name, text)| fault.with(name, text))
    }
}
