//! Whole requests and answers, as the edge sees them. What every member's wire form is, botocore judges.

use super::*;
use crate::aws::s3::{
    self, CompleteMultipartUploadRequest, DeleteObjectsRequest, GetBucketLocationOutput,
    GetBucketLocationRequest, GetBucketPolicyOutput, GetBucketPolicyRequest, GetObjectOutput,
    GetObjectRequest, ListObjectsV2Output, ListObjectsV2Request, Object, PutBucketAclRequest,
    PutBucketPolicyRequest, PutBucketTaggingRequest, PutObjectRequest, S3Code, S3Fault,
};
use http::{HeaderName, HeaderValue};

fn asked<A: RestAction>(query: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<A, S3Fault> {
    let query = Query::parse(query)?;
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(name.parse::<HeaderName>().unwrap(), HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    let request =
        RestRequest { method: "PUT", bucket: Some("b"), key: Some("k"), query: &query, headers: &map };
    Ok(A::decode(&request, body)?)
}

fn refused<A: RestAction>(query: &str, headers: &[(&str, &str)], body: &[u8]) -> S3Fault {
    asked::<A>(query, headers, body).err().expect("it must be refused")
}

#[test]
fn a_put_is_read_from_its_headers() {
    let put: PutObjectRequest = asked(
        "",
        &[
            ("Content-Type", "text/plain"),
            ("Content-Length", "4096"),
            ("x-amz-acl", "public-read"),
            ("X-Amz-Meta-Color", "grün"),
            ("If-None-Match", "*"),
        ],
        b"not looked at",
    )
    .unwrap();
    assert_eq!((put.bucket.as_str(), put.key.as_str()), ("b", "k"));
    assert_eq!(put.content_type.as_deref(), Some("text/plain"));
    assert_eq!(put.content_length, Some(4096));
    assert_eq!(put.acl.as_deref(), Some(s3::ObjectCannedACL::PUBLIC_READ));
    assert_eq!(put.if_none_match.as_deref(), Some("*"));
    assert_eq!(put.metadata.get("color"), Some("grün".as_bytes()));
}

#[test]
fn the_transfers_coding_is_no_property_of_the_object() {
    for (headers, expected) in [
        (&["aws-chunked"][..], None),
        (&["gzip, aws-chunked"], Some("gzip")),
        (&["AWS-Chunked,gzip"], Some("gzip")),
        (&["aws-chunked", "gzip"], Some("gzip")),
        (&["gzip,br"], Some("gzip,br")),
        (&[], None),
    ] {
        let headers: Vec<_> = headers.iter().map(|value| ("content-encoding", *value)).collect();
        let put: PutObjectRequest = asked("", &headers, b"").unwrap();
        assert_eq!(put.content_encoding.as_deref(), expected, "{headers:?}");
    }
}

#[test]
fn a_condition_that_cannot_be_read_is_none() {
    let get: GetObjectRequest = asked(
        "",
        &[("If-Modified-Since", "soon"), ("If-Unmodified-Since", "Sun, 06 Nov 1994 08:49:37 GMT")],
        b"",
    )
    .unwrap();
    assert_eq!(get.if_modified_since, None);
    assert!(get.if_unmodified_since.is_some());
}

#[test]
fn wrong_values_are_refused_in_s3s_words() {
    let fault = refused::<ListObjectsV2Request>("max-keys=many", &[], b"");
    assert_eq!(fault.code(), S3Code::InvalidArgument);
    assert_eq!(fault.message(), "Provided max-keys not an integer or within integer range");
    assert_eq!(
        fault.elements(),
        [("ArgumentName", "max-keys".to_string()), ("ArgumentValue", "many".to_string())]
    );
    for (header, value, code) in [
        ("x-amz-acl", "everybody", S3Code::InvalidArgument),
        ("x-amz-storage-class", "FAST", S3Code::InvalidStorageClass),
        ("x-amz-object-lock-retain-until-date", "soon", S3Code::InvalidArgument),
        ("x-amz-server-side-encryption", "rot13", S3Code::InvalidArgument),
    ] {
        assert_eq!(refused::<PutObjectRequest>("", &[(header, value)], b"").code(), code, "{header}");
    }
    let list: ListObjectsV2Request = asked("max-keys=&prefix=&encoding-type=", &[], b"").unwrap();
    assert_eq!((list.max_keys, list.prefix.as_deref(), list.encoding_type), (None, Some(""), None));
}

#[test]
fn a_document_is_read_whatever_its_namespace_and_what_else_is_in_it() {
    for body in [
        "<Delete><Quiet>true</Quiet><Object><Key>a&amp;b</Key></Object><Object><Key> c </Key><VersionId>v</VersionId></Object></Delete>",
        "<?xml version='1.0' encoding='UTF-8'?>\n<!-- x --><Delete xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\n <Object>\n\
         <Key>a<![CDATA[&]]>b</Key></Object><New><Deep x='1'>y &lt;</Deep><Void/></New><Object><VersionId>v</VersionId><Key> c </Key></Object>\
         <Quiet>TRUE</Quiet></Delete>\n",
        "\u{feff}<n:Delete xmlns:n=\"urn:x\"><n:Object><n:Key>a&#38;b</n:Key></n:Object><n:Object><n:Key> c </n:Key>\
         <n:VersionId>v</n:VersionId></n:Object><n:Quiet>1</n:Quiet></n:Delete>",
    ] {
        let delete = asked::<DeleteObjectsRequest>("", &[], body.as_bytes()).unwrap().delete;
        let keys: Vec<_> = delete.objects.iter().map(|object| object.key.as_str()).collect();
        assert_eq!(keys, ["a&b", " c "], "{body}");
        assert_eq!(delete.objects[1].version_id.as_deref(), Some("v"));
        assert_eq!(delete.quiet, Some(true));
    }
}

#[test]
fn a_malformed_document_is_refused_whatever_is_wrong_with_it() {
    let deep = "<Delete>".to_string()
        + &"<a>".repeat(40)
        + &"</a>".repeat(40)
        + "<Object><Key>k</Key></Object></Delete>";
    let many = "<Delete>".to_string() + &"<Object><Key>k</Key></Object>".repeat(10_001) + "</Delete>";
    for body in [
        "<Delete>",
        "<Delete><Object><Key>k</Key></Object>",
        "<Delete></Object></Delete>",
        "<Delete><Object><Key>k</Object></Key></Delete>",
        "<Delete></Delete>",
        "<Delete><Object></Object></Delete>",
        "<Delete><Object><Key>k</Key><Key>l</Key></Object></Delete>",
        "<Delete><Object><Key><b>k</b></Key></Object></Delete>",
        "<Delete>text<Object><Key>k</Key></Object></Delete>",
        "<Delete><Quiet>perhaps</Quiet><Object><Key>k</Key></Object></Delete>",
        "<Remove><Object><Key>k</Key></Object></Remove>",
        "<Delete><Object><Key>k</Key></Object></Delete><Delete/>",
        "<Delete><Object><Key>k</Key></Object></Delete>text",
        "text<Delete><Object><Key>k</Key></Object></Delete>",
        "<Delete a=1><Object><Key>k</Key></Object></Delete>",
        "<Delete a='1' a='2'><Object><Key>k</Key></Object></Delete>",
        "<Delete><Object><Key>&unknown;</Key></Object></Delete>",
        "<Delete><Object><Key>a & b</Key></Object></Delete>",
        "<Delete><Object><Key>&#0;</Key></Object></Delete>",
        "<Delete><Object><Key>\u{1}</Key></Object></Delete>",
        "<Delete><Object><Key>]]></Key></Object></Delete>",
        "<Delete><1/><Object><Key>k</Key></Object></Delete>",
        "<!DOCTYPE Delete [<!ENTITY e \"e\">]><Delete><Object><Key>&e;</Key></Object></Delete>",
        "<!DOCTYPE Delete><Delete><Object><Key>k</Key></Object></Delete>",
        "<?xml version=\"1.0\" encoding=\"UTF-16\"?><Delete><Object><Key>k</Key></Object></Delete>",
        " <?xml version=\"1.0\"?><Delete><Object><Key>k</Key></Object></Delete>",
        "{}",
        deep.as_str(),
        many.as_str(),
    ] {
        let fault = refused::<DeleteObjectsRequest>("", &[], body.as_bytes());
        assert_eq!(fault.code(), S3Code::MalformedXml, "{body:.200}");
    }
    assert_eq!(
        refused::<DeleteObjectsRequest>("", &[], b"<Delete>\xff</Delete>").code(),
        S3Code::MalformedXml
    );
    assert_eq!(refused::<DeleteObjectsRequest>("", &[], b" \n").code(), S3Code::MissingRequestBody);
}

#[test]
fn a_key_that_only_a_reference_can_write_can_be_named() {
    let body = "<Delete><Object><Key>a&#x1;&#13;b\r\n</Key></Object></Delete>";
    let delete = asked::<DeleteObjectsRequest>("", &[], body.as_bytes()).unwrap().delete;
    assert_eq!(delete.objects[0].key, "a\u{1}\rb\n");
}

#[test]
fn ten_thousand_parts_fit() {
    let part = "<Part><PartNumber>1</PartNumber><ETag>\"d41d8cd98f00b204e9800998ecf8427e\"</ETag></Part>";
    let body = format!("<CompleteMultipartUpload>{}</CompleteMultipartUpload>", part.repeat(10_000));
    assert!(body.len() < CompleteMultipartUploadRequest::BODY_BYTES_MAX);
    let complete: CompleteMultipartUploadRequest = asked("uploadId=u", &[], body.as_bytes()).unwrap();
    assert_eq!(complete.multipart_upload.unwrap().parts.len(), 10_000);
}

#[test]
fn a_grantee_is_told_by_its_type() {
    let policy = |grantee: &str| {
        format!(
            "<AccessControlPolicy><Owner><ID>o</ID></Owner><AccessControlList><Grant>{grantee}\
             <Permission>READ</Permission></Grant></AccessControlList></AccessControlPolicy>"
        )
    };
    let xsi = "xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\"";
    let good = policy(&format!("<Grantee {xsi} xsi:type=\"Group\"><URI>u</URI></Grantee>"));
    let put: PutBucketAclRequest = asked("acl", &[], good.as_bytes()).unwrap();
    let grant = &put.access_control_policy.unwrap().grants[0];
    assert_eq!(grant.permission.as_deref(), Some("READ"));
    assert_eq!(grant.grantee.as_ref().map(|grantee| grantee.r#type.as_str()), Some("Group"));
    for bad in ["<Grantee><ID>i</ID></Grantee>".to_string(), format!("<Grantee {xsi} xsi:type=\"Robot\"/>")] {
        assert_eq!(
            refused::<PutBucketAclRequest>("acl", &[], policy(&bad).as_bytes()).code(),
            S3Code::MalformedXml
        );
    }
    assert!(asked::<PutBucketAclRequest>("acl", &[], b"").unwrap().access_control_policy.is_none());
}

#[test]
fn an_empty_list_is_not_a_missing_one() {
    let put: PutBucketTaggingRequest = asked("", &[], b"<Tagging><TagSet/></Tagging>").unwrap();
    assert!(put.tagging.tag_set.is_empty());
    assert_eq!(refused::<PutBucketTaggingRequest>("", &[], b"<Tagging/>").code(), S3Code::MalformedXml);
}

#[test]
fn a_policy_travels_as_it_stands() {
    let put: PutBucketPolicyRequest = asked("policy", &[], b"{\"a\": 1}\n").unwrap();
    assert_eq!(put.policy, "{\"a\": 1}\n");
    assert_eq!(refused::<PutBucketPolicyRequest>("policy", &[], b"\xff").code(), S3Code::MalformedPolicy);
    let answer = answer::<GetBucketPolicyRequest>(&GetBucketPolicyOutput { policy: put.policy });
    assert_eq!(answer.body, "{\"a\": 1}\n");
    assert_eq!(answer.headers["content-type"], "application/json");
}

#[test]
fn an_answer_to_a_range_is_partial() {
    let mut output = GetObjectOutput { etag: Some("\"e\"".into()), ..GetObjectOutput::default() };
    output.last_modified = Some(time::OffsetDateTime::UNIX_EPOCH);
    let whole = answer::<GetObjectRequest>(&output);
    assert_eq!((whole.status, whole.body.as_str()), (200, ""));
    assert_eq!(whole.headers["last-modified"], "Thu, 01 Jan 1970 00:00:00 GMT");
    output.content_range = Some("bytes 0-0/9".into());
    assert_eq!(answer::<GetObjectRequest>(&output).status, 206);
}

#[test]
fn a_listing_says_always_what_clients_count_on() {
    let output = ListObjectsV2Output {
        contents: vec![Object { key: Some("a\u{1}<".into()), ..Object::default() }],
        ..ListObjectsV2Output::default()
    };
    assert_eq!(
        answer::<ListObjectsV2Request>(&output).body,
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><IsTruncated>false</IsTruncated>\
         <KeyCount>0</KeyCount><MaxKeys>0</MaxKeys><Name></Name><Prefix></Prefix>\
         <Contents><Key>a&#x1;&lt;</Key></Contents></ListBucketResult>"
    );
}

#[test]
fn the_location_is_the_root_itself() {
    for (location, text) in [(None, ""), (Some("karri-1".to_string()), "karri-1")] {
        let output = GetBucketLocationOutput { location_constraint: location };
        let expected = format!(
            "<LocationConstraint xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">{text}</LocationConstraint>"
        );
        assert!(answer::<GetBucketLocationRequest>(&output).body.ends_with(&expected));
    }
}
