//! S3's words for a request whose form is wrong.

use super::code::S3Code::{self, InvalidArgument, InvalidRequest};
use super::fault::S3Fault;
use crate::aws::rest::RestFault;

impl From<RestFault> for S3Fault {
    fn from(fault: RestFault) -> Self {
        match fault {
            RestFault::MalformedXml(why) => S3Fault::new(S3Code::MalformedXml).because(why),
            RestFault::MissingBody => S3Fault::new(S3Code::MissingRequestBody),
            RestFault::Missing(name) => missing(name),
            RestFault::Invalid { name, value } => {
                let (code, message) = words(name);
                S3Fault::saying(code, message).about_argument(name, &value)
            }
            RestFault::Uri | RestFault::TooManyParameters => S3Fault::new(S3Code::InvalidUri),
        }
    }
}

fn missing(name: &'static str) -> S3Fault {
    match name {
        "x-amz-object-attributes" => S3Fault::saying(
            InvalidRequest,
            "The x-amz-object-attributes header specifying the attributes to be retrieved is either missing or empty",
        ),
        _ => S3Fault::saying(InvalidRequest, format!("Missing required header for this request: {name}")),
    }
}

/// What S3 says of a header or parameter that has a wrong value.
fn words(name: &str) -> (S3Code, &'static str) {
    match name {
        "max-keys" => (InvalidArgument, "Provided max-keys not an integer or within integer range"),
        "max-uploads" => (InvalidArgument, "Provided max-uploads not an integer or within integer range"),
        "max-parts" | "x-amz-max-parts" => {
            (InvalidArgument, "Provided max-parts not an integer or within integer range")
        }
        "max-buckets" => (InvalidArgument, "Provided max-buckets not an integer or within integer range"),
        "part-number-marker" | "x-amz-part-number-marker" => {
            (InvalidArgument, "Provided part-number-marker not an integer or within integer range")
        }
        "partNumber" => (InvalidArgument, "Part number must be an integer between 1 and 10000, inclusive"),
        "encoding-type" => (InvalidArgument, "Invalid Encoding Method specified in Request"),
        "x-amz-acl" => (InvalidArgument, ""),
        "x-amz-checksum-algorithm" | "x-amz-sdk-checksum-algorithm" => (
            InvalidRequest,
            "Checksum algorithm provided is unsupported. Please try again with any of the valid types: \
             [CRC32, CRC32C, CRC64NVME, SHA1, SHA256]",
        ),
        "x-amz-checksum-type" => (InvalidRequest, "Value for x-amz-checksum-type header is invalid."),
        "x-amz-metadata-directive" => (InvalidArgument, "Unknown metadata directive."),
        "x-amz-tagging-directive" => (InvalidArgument, "Unknown tagging directive."),
        "x-amz-object-attributes" => (InvalidArgument, "Invalid attribute name specified."),
        "x-amz-object-lock-mode" => (InvalidArgument, "Unknown wormMode directive."),
        "x-amz-object-lock-legal-hold" => (InvalidArgument, "Legal Hold must be either of 'ON' or 'OFF'"),
        "x-amz-object-lock-retain-until-date" => {
            (InvalidArgument, "The retain until date must be provided in ISO 8601 format")
        }
        "x-amz-object-ownership" => (InvalidArgument, "Invalid x-amz-object-ownership header"),
        "x-amz-server-side-encryption" => {
            (InvalidArgument, "The encryption method specified is not supported")
        }
        "x-amz-storage-class" => (S3Code::InvalidStorageClass, S3Code::InvalidStorageClass.message()),
        // A policy is the one body that is text.
        "body" => (S3Code::MalformedPolicy, S3Code::MalformedPolicy.message()),
        _ => (InvalidArgument, InvalidArgument.message()),
    }
}
