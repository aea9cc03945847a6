//! S3's error codes, each with its status and the sentence that S3 says with it.
//!
//! The list is closed, so that every code is spelled once. Where S3 says more than one thing with a
//! code, the most common one stands here and `S3Fault::saying` says the others.

/// One line per code: name, wire form, HTTP status, message.
macro_rules! s3_codes {
    ($($name:ident = $wire:literal, $status:literal, $message:literal;)*) => {
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum S3Code { $($name,)* }

        impl S3Code {
            pub const ALL: &'static [S3Code] = &[$(S3Code::$name,)*];

            pub fn as_str(self) -> &'static str {
                match self { $(S3Code::$name => $wire,)* }
            }

            pub fn status(self) -> u16 {
                match self { $(S3Code::$name => $status,)* }
            }

            pub fn message(self) -> &'static str {
                match self { $(S3Code::$name => $message,)* }
            }

            /// The code of that wire form, for faults that arrive as text.
            pub fn from_wire(code: &str) -> Option<Self> {
                match code { $($wire => Some(S3Code::$name),)* _ => None }
            }
        }
    };
}

s3_codes! {
    AccessControlListNotSupported = "AccessControlListNotSupported", 400, "The bucket does not allow ACLs";
    AccessDenied = "AccessDenied", 403, "Access Denied";
    AccessForbidden = "AccessForbidden", 403, "Access Forbidden";
    AccountProblem = "AccountProblem", 403, "There is a problem with your AWS account that prevents the operation from completing successfully.";
    AllAccessDisabled = "AllAccessDisabled", 403, "All access to this object has been disabled";
    AmbiguousGrantByEmailAddress = "AmbiguousGrantByEmailAddress", 400, "The email address you provided is associated with more than one account.";
    AuthorizationHeaderMalformed = "AuthorizationHeaderMalformed", 400, "The authorization header that you provided is not valid.";
    AuthorizationQueryParametersError = "AuthorizationQueryParametersError", 400, "The authorization query parameters that you provided are not valid.";
    BadDigest = "BadDigest", 400, "The Content-MD5 you specified did not match what we received.";
    BadRequest = "BadRequest", 400, "An error occurred when parsing the HTTP request.";
    BucketAlreadyExists = "BucketAlreadyExists", 409, "The requested bucket name is not available. The bucket namespace is shared by all users of the system. Please select a different name and try again.";
    BucketAlreadyOwnedByYou = "BucketAlreadyOwnedByYou", 409, "Your previous request to create the named bucket succeeded and you already own it.";
    BucketNotEmpty = "BucketNotEmpty", 409, "The bucket you tried to delete is not empty";
    ConditionalRequestConflict = "ConditionalRequestConflict", 409, "The conditional request cannot succeed due to a conflicting operation against this resource.";
    CredentialsNotSupported = "CredentialsNotSupported", 400, "This request does not support credentials.";
    CrossLocationLoggingProhibited = "CrossLocationLoggingProhibited", 403, "Cross S3 location logging not allowed.";
    EntityTooLarge = "EntityTooLarge", 400, "Your proposed upload exceeds the maximum allowed size";
    EntityTooSmall = "EntityTooSmall", 400, "Your proposed upload is smaller than the minimum allowed size";
    ExpiredToken = "ExpiredToken", 400, "The provided token has expired.";
    IllegalLocationConstraint = "IllegalLocationConstraintException", 400, "The unspecified location constraint is incompatible for the region specific endpoint this request was sent to.";
    IllegalVersioningConfiguration = "IllegalVersioningConfigurationException", 400, "The versioning configuration specified in the request is invalid.";
    IncompleteBody = "IncompleteBody", 400, "You did not provide the number of bytes specified by the Content-Length HTTP header";
    IncorrectNumberOfFilesInPostRequest = "IncorrectNumberOfFilesInPostRequest", 400, "POST requires exactly one file upload per request.";
    InlineDataTooLarge = "InlineDataTooLarge", 400, "Inline data exceeds the maximum allowed size.";
    InsufficientStorage = "InsufficientStorage", 507, "There is not enough space left to store what you sent.";
    InternalError = "InternalError", 500, "We encountered an internal error. Please try again.";
    InvalidAccessKeyId = "InvalidAccessKeyId", 403, "The AWS Access Key Id you provided does not exist in our records.";
    InvalidArgument = "InvalidArgument", 400, "Invalid Argument";
    InvalidBucketAclWithObjectOwnership = "InvalidBucketAclWithObjectOwnership", 400, "Bucket cannot have ACLs set with ObjectOwnership's BucketOwnerEnforced setting";
    InvalidBucketName = "InvalidBucketName", 400, "The specified bucket is not valid.";
    InvalidBucketOwnerAccountId = "InvalidBucketOwnerAWSAccountID", 400, "The value of the expected bucket owner parameter must be an AWS account ID";
    InvalidBucketState = "InvalidBucketState", 409, "The request is not valid with the current state of the bucket.";
    InvalidChunkSize = "InvalidChunkSizeError", 403, "Only the last chunk is allowed to have a size less than 8192 bytes";
    InvalidDigest = "InvalidDigest", 400, "The Content-MD5 you specified was invalid.";
    InvalidEncryptionAlgorithm = "InvalidEncryptionAlgorithmError", 400, "The encryption request you specified is not valid. Supported value: AES256.";
    InvalidHostHeader = "InvalidHostHeader", 400, "The host headers provided in the request used the incorrect style addressing.";
    InvalidLocationConstraint = "InvalidLocationConstraint", 400, "The specified location-constraint is not valid";
    InvalidObjectState = "InvalidObjectState", 403, "The operation is not valid for the object's storage class";
    InvalidPart = "InvalidPart", 400, "One or more of the specified parts could not be found.  The part may not have been uploaded, or the specified entity tag may not match the part's entity tag.";
    InvalidPartNumber = "InvalidPartNumber", 416, "The requested partnumber is not satisfiable";
    InvalidPartOrder = "InvalidPartOrder", 400, "The list of parts was not in ascending order. Parts must be ordered by part number.";
    InvalidPayer = "InvalidPayer", 403, "All access to this object has been disabled.";
    InvalidPolicyDocument = "InvalidPolicyDocument", 400, "The content of the form does not meet the conditions specified in the policy document.";
    InvalidRange = "InvalidRange", 416, "The requested range is not satisfiable";
    InvalidRequest = "InvalidRequest", 400, "Invalid Request";
    InvalidRetentionPeriod = "InvalidRetentionPeriod", 400, "Default retention period must be a positive integer value.";
    InvalidSecurity = "InvalidSecurity", 403, "The provided security credentials are not valid.";
    InvalidStorageClass = "InvalidStorageClass", 400, "The storage class you specified is not valid";
    InvalidTag = "InvalidTag", 400, "The TagValue you have provided is invalid";
    InvalidTargetBucketForLogging = "InvalidTargetBucketForLogging", 400, "The target bucket for logging does not exist, is not owned by you, or does not have the appropriate grants for the log-delivery group.";
    InvalidToken = "InvalidToken", 400, "The provided token is malformed or otherwise invalid.";
    InvalidUri = "InvalidURI", 400, "Couldn't parse the specified URI.";
    KeyTooLong = "KeyTooLongError", 400, "Your key is too long";
    KmsKeyNotFound = "KMS.NotFoundException", 400, "Invalid keyId";
    MalformedAcl = "MalformedACLError", 400, "The XML you provided was not well-formed or did not validate against our published schema";
    MalformedPolicy = "MalformedPolicy", 400, "Policies must be valid JSON and the first byte must be '{'";
    MalformedPostRequest = "MalformedPOSTRequest", 400, "The body of your POST request is not well-formed multipart/form-data.";
    MalformedTrailer = "MalformedTrailerError", 400, "The request contained trailing data that was not well-formed or did not conform to our published schema.";
    MalformedXml = "MalformedXML", 400, "The XML you provided was not well-formed or did not validate against our published schema";
    MaxMessageLengthExceeded = "MaxMessageLengthExceeded", 400, "Your request was too big.";
    MaxPostPreDataLengthExceeded = "MaxPostPreDataLengthExceededError", 400, "Your POST request fields preceding the upload file were too large.";
    MetadataTooLarge = "MetadataTooLarge", 400, "Your metadata headers exceed the maximum allowed metadata size";
    MethodNotAllowed = "MethodNotAllowed", 405, "The specified method is not allowed against this resource.";
    MissingAuthenticationToken = "MissingAuthenticationToken", 403, "The request was not signed.";
    MissingContentLength = "MissingContentLength", 411, "You must provide the Content-Length HTTP header.";
    MissingRequestBody = "MissingRequestBodyError", 400, "Request Body is empty";
    MissingSecurityHeader = "MissingSecurityHeader", 400, "Your request was missing a required header";
    NoSuchBucket = "NoSuchBucket", 404, "The specified bucket does not exist";
    NoSuchBucketPolicy = "NoSuchBucketPolicy", 404, "The bucket policy does not exist";
    NoSuchConfiguration = "NoSuchConfiguration", 404, "The specified configuration does not exist.";
    NoSuchCorsConfiguration = "NoSuchCORSConfiguration", 404, "The CORS configuration does not exist";
    NoSuchKey = "NoSuchKey", 404, "The specified key does not exist.";
    NoSuchLifecycleConfiguration = "NoSuchLifecycleConfiguration", 404, "The lifecycle configuration does not exist";
    NoSuchObjectLockConfiguration = "NoSuchObjectLockConfiguration", 404, "The specified object does not have a ObjectLock configuration";
    NoSuchPublicAccessBlockConfiguration = "NoSuchPublicAccessBlockConfiguration", 404, "The public access block configuration was not found";
    NoSuchTagSet = "NoSuchTagSet", 404, "The TagSet does not exist";
    NoSuchUpload = "NoSuchUpload", 404, "The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or completed.";
    NoSuchVersion = "NoSuchVersion", 404, "The specified version does not exist.";
    NoSuchWebsiteConfiguration = "NoSuchWebsiteConfiguration", 404, "The specified bucket does not have a website configuration";
    NotImplemented = "NotImplemented", 501, "A header you provided implies functionality that is not implemented";
    NotModified = "NotModified", 304, "Not Modified";
    NotSignedUp = "NotSignedUp", 403, "Your account is not signed up for the Amazon S3 service.";
    ObjectLockConfigurationNotFound = "ObjectLockConfigurationNotFoundError", 404, "Object Lock configuration does not exist for this bucket";
    ObjectNotInActiveTier = "ObjectNotInActiveTierError", 403, "The source object of the COPY action is not in the active tier and is only stored in Amazon S3 Glacier.";
    OperationAborted = "OperationAborted", 409, "A conflicting conditional operation is currently in progress against this resource. Please try again.";
    OwnershipControlsNotFound = "OwnershipControlsNotFoundError", 404, "The bucket ownership controls were not found";
    PermanentRedirect = "PermanentRedirect", 301, "The bucket you are attempting to access must be addressed using the specified endpoint. Please send all future requests to this endpoint.";
    PreconditionFailed = "PreconditionFailed", 412, "At least one of the pre-conditions you specified did not hold";
    Redirect = "Redirect", 307, "Please re-send this request to the specified temporary endpoint. Continue to use the original request endpoint for future requests.";
    ReplicationConfigurationNotFound = "ReplicationConfigurationNotFoundError", 404, "The replication configuration was not found";
    RequestHeaderSectionTooLarge = "RequestHeaderSectionTooLarge", 400, "Your request header section exceeds the maximum allowed size.";
    RequestIsNotMultiPartContent = "RequestIsNotMultiPartContent", 412, "Bucket POST must be of the enclosure-type multipart/form-data.";
    RequestTimeTooSkewed = "RequestTimeTooSkewed", 403, "The difference between the request time and the current time is too large.";
    RequestTimeout = "RequestTimeout", 400, "Your socket connection to the server was not read from or written to within the timeout period. Idle connections will be closed.";
    RestoreAlreadyInProgress = "RestoreAlreadyInProgress", 409, "Object restore is already in progress";
    ServerSideEncryptionConfigurationNotFound = "ServerSideEncryptionConfigurationNotFoundError", 404, "The server side encryption configuration was not found";
    ServiceUnavailable = "ServiceUnavailable", 503, "Service is unable to handle request.";
    SignatureDoesNotMatch = "SignatureDoesNotMatch", 403, "The request signature we calculated does not match the signature you provided. Check your key and signing method.";
    SlowDown = "SlowDown", 503, "Please reduce your request rate.";
    TemporaryRedirect = "TemporaryRedirect", 307, "You are being redirected to the bucket while the DNS server is being updated.";
    TokenRefreshRequired = "TokenRefreshRequired", 400, "The provided token must be refreshed.";
    TooManyBuckets = "TooManyBuckets", 400, "You have attempted to create more buckets than allowed";
    UnexpectedContent = "UnexpectedContent", 400, "This request contains unsupported content.";
    UnresolvableGrantByEmailAddress = "UnresolvableGrantByEmailAddress", 400, "The e-mail address you provided does not match any account on record.";
    UnsupportedArgument = "UnsupportedArgument", 400, "The request contained an unsupported argument.";
    UnsupportedSignature = "UnsupportedSignature", 400, "The provided request is signed with an unsupported STS Token version or the signature version is not supported.";
    UserKeyMustBeSpecified = "UserKeyMustBeSpecified", 400, "The bucket POST must contain the specified field name. If it is specified, check the order of the fields.";
    ContentSha256Mismatch = "XAmzContentSHA256Mismatch", 400, "The provided 'x-amz-content-sha256' header does not match what was computed.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_found_by_its_wire_form_and_has_a_status_and_a_sentence() {
        for code in S3Code::ALL {
            assert_eq!(S3Code::from_wire(code.as_str()), Some(*code));
            assert!((300..600).contains(&code.status()), "{code:?}");
            assert!(code.message().len() > 8, "{code:?}");
        }
        assert_eq!(S3Code::from_wire("NoSuchThing"), None);
    }
}
