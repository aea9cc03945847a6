//! The examples of AWS's documentation: requests of both versions, framed bodies, a form's policy.

use bytes::Bytes;
use karri_proto::checksum::{Algorithm, Hasher, check_trailer};
use karri_proto::sign::{ChunkDecoder, Framing, PayloadSeal, Scheme};
use time::OffsetDateTime;
use time::macros::datetime;

use crate::support::{EMPTY, Request};

const V4_NOW: OffsetDateTime = datetime!(2013-05-24 00:05 UTC);
const HOST: (&str, &str) = ("Host", "examplebucket.s3.amazonaws.com");
const DATE: (&str, &str) = ("x-amz-date", "20130524T000000Z");

fn v4(method: &str, target: &str, signed: &str, signature: &str, headers: &[(&str, &str)]) -> Request {
    let authorization = format!(
        "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,\
         SignedHeaders={signed},Signature={signature}"
    );
    let mut request = Request::new(method, target, headers);
    request.set("Authorization", &authorization);
    request
}

fn v4_examples() -> Vec<Request> {
    let empty = ("x-amz-content-sha256", EMPTY);
    let list = "host;x-amz-content-sha256;x-amz-date";
    vec![
        v4(
            "GET",
            "/test.txt",
            "host;range;x-amz-content-sha256;x-amz-date",
            "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
            &[HOST, ("Range", "bytes=0-9"), empty, DATE],
        ),
        v4(
            "PUT",
            "/test$file.text",
            "date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class",
            "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
            &[
                HOST,
                ("Date", "Fri, 24 May 2013 00:00:00 GMT"),
                DATE,
                ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
                ("x-amz-content-sha256", "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072"),
            ],
        ),
        v4(
            "GET",
            "/?lifecycle",
            list,
            "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
            &[HOST, DATE, empty],
        ),
        v4(
            "GET",
            "/?max-keys=2&prefix=J",
            list,
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
            &[HOST, DATE, empty],
        ),
        Request::new(
            "GET",
            "/test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1\
             %2Fs3%2Faws4_request&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host&\
             X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404",
            &[HOST],
        ),
    ]
}

fn v2(method: &str, target: &str, date: &str, signature: &str, headers: &[(&str, &str)]) -> Request {
    let mut request = Request::new(method, target, headers);
    request.set("Date", date);
    request.set("Authorization", &format!("AWS AKIAIOSFODNN7EXAMPLE:{signature}"));
    request
}

/// With the time of day, in minutes, at which each is right, and the bucket that its host names.
type V2Example = (Request, i64, Option<&'static str>);

fn v2_examples_with_host_buckets() -> Vec<V2Example> {
    let host = ("Host", "johnsmith.s3.amazonaws.com");
    let bucket = Some("johnsmith");
    let puppy = "/photos/puppy.jpg";
    let typed = [host, ("Content-Type", "image/jpeg")];
    let list = "/?prefix=photos&max-keys=50&marker=puppy";
    let upload = [
        ("Host", "static.johnsmith.net:8080"),
        ("x-amz-acl", "public-read"),
        ("content-type", "application/x-download"),
        ("Content-MD5", "4gJE4saaMU4BqNR0kLY+lw=="),
        ("X-Amz-Meta-ReviewedBy", "joe@johnsmith.net"),
        ("X-Amz-Meta-ReviewedBy", "jane@johnsmith.net"),
        ("X-Amz-Meta-FileChecksum", "0x02661779"),
        ("X-Amz-Meta-ChecksumAlgorithm", "crc32"),
        ("Content-Disposition", "attachment; filename=database.dat"),
    ];
    let get = v2("GET", puppy, "Tue, 27 Mar 2007 19:36:42 +0000", "bWq2s1WEIj+Ydj0vQ697zp+IXMU=", &[host]);
    let put = v2("PUT", puppy, "Tue, 27 Mar 2007 21:15:45 +0000", "MyyxeRY7whkBe+bq8fHCL/2kKUg=", &typed);
    let list = v2("GET", list, "Tue, 27 Mar 2007 19:42:41 +0000", "htDYFYduRNen8P9ZfE/s9SuKy0U=", &[host]);
    let acl = v2("GET", "/?acl", "Tue, 27 Mar 2007 19:44:46 +0000", "c2WLPFtWHVgbEmeEG93a4cG37dM=", &[host]);
    let upload = v2(
        "PUT",
        "/db-backup.dat.gz",
        "Tue, 27 Mar 2007 21:06:08 +0000",
        "ilyl83RwaSoYIEdixDQcA4OnAnc=",
        &upload,
    );
    vec![
        (get, 19 * 60 + 37, bucket),
        (put, 21 * 60 + 16, bucket),
        (list, 19 * 60 + 43, bucket),
        (acl, 19 * 60 + 45, bucket),
        (upload, 21 * 60 + 6, Some("static.johnsmith.net")),
        (Request::new("GET", V2_URL, &[host]), 24 * 60, bucket),
    ]
}

const V2_URL: &str = "/photos/puppy.jpg?AWSAccessKeyId=AKIAIOSFODNN7EXAMPLE&Signature=NpgCjnDzrM%2BWFzoENXmpNDUsSn8%3D&\
    Expires=1175139620";

fn v2_examples_with_paths() -> Vec<V2Example> {
    let host = [("Host", "s3.amazonaws.com")];
    let puppy = "/johnsmith/photos/puppy.jpg";
    let delete =
        v2("DELETE", puppy, "Tue, 27 Mar 2007 21:20:26 +0000", "lx3byBScXR6KzyMaifNkardMwNk=", &host);
    let buckets = v2("GET", "/", "Wed, 28 Mar 2007 01:29:59 +0000", "qGdzdERIC03wnaRNKh6OqZehG9s=", &host);
    let unicode = "/dictionary/fran%C3%A7ais/pr%c3%a9f%c3%a8re";
    let unicode =
        v2("GET", unicode, "Wed, 28 Mar 2007 01:49:49 +0000", "DNEZGsoieTZ92F3bUfSPQcbGmlM=", &host);
    vec![(delete, 21 * 60 + 20, None), (buckets, 25 * 60 + 30, None), (unicode, 25 * 60 + 50, None)]
}

#[test]
fn every_version_4_example_verifies_and_not_when_changed() {
    for request in v4_examples() {
        let verified = request.verify(V4_NOW).unwrap_or_else(|e| panic!("{}: {e}", request.name));
        assert_eq!(verified.access_key_id, "AKIAIOSFODNN7EXAMPLE");
        each_change_is_refused(&request, V4_NOW);
    }
}

#[test]
fn every_version_2_example_verifies_and_not_when_changed() {
    for (mut request, minute, bucket) in [v2_examples_with_host_buckets(), v2_examples_with_paths()].concat()
    {
        request.bucket = bucket.map(str::to_owned);
        let now = datetime!(2007-03-27 00:00 UTC) + time::Duration::minutes(minute);
        let verified = request.verify(now).unwrap_or_else(|e| panic!("{}: {e:?}", request.name));
        assert!(matches!(verified.scheme, Scheme::V2Header | Scheme::V2Presigned));
        each_change_is_refused(&request, now);
    }
}

fn each_change_is_refused(request: &Request, now: OffsetDateTime) {
    type Change = (&'static str, fn(&mut Request));
    let changes: [Change; 4] = [
        ("method", |r| r.method = "POST".into()),
        ("path", |r| r.path.push('x')),
        ("sub-resource", |r| r.query += "&tagging"),
        ("added header", |r| r.set("x-amz-added", "1")),
    ];
    for (what, change) in changes {
        let mut changed = request.clone();
        change(&mut changed);
        let refusal = changed.verify(now).unwrap_err();
        assert_eq!(refusal.status, 403, "{} with another {what}: {refusal}", request.name);
    }
    assert_eq!(request.verify_with("x", now).unwrap_err().code, "SignatureDoesNotMatch");
}

/// The example of 66,560 bytes in chunks of 64 KiB; with a trailer it has another seed and other signatures.
fn chunked(trailer: bool) -> (Request, Vec<u8>) {
    let (seal, seed) = if trailer {
        (
            "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
            "106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e",
        )
    } else {
        (
            "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
            "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9",
        )
    };
    let mut headers = vec![
        ("Host", "s3.amazonaws.com"),
        DATE,
        ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
        ("x-amz-content-sha256", seal),
        ("Content-Encoding", "aws-chunked"),
        ("x-amz-decoded-content-length", "66560"),
    ];
    let signed = if trailer {
        headers.push(("x-amz-trailer", "x-amz-checksum-crc32c"));
        "content-encoding;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;x-amz-storage-class;x-amz-trailer"
    } else {
        headers.push(("Content-Length", "66824"));
        "content-encoding;content-length;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;x-amz-storage-class"
    };
    let signatures = if trailer {
        [
            "b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2",
            "1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7",
            "2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992",
        ]
    } else {
        [
            "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648",
            "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497",
            "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9",
        ]
    };
    let mut body = Vec::new();
    for (size, signature) in [65_536, 1024, 0].into_iter().zip(signatures) {
        body.extend_from_slice(format!("{size:x};chunk-signature={signature}\r\n").as_bytes());
        body.extend(std::iter::repeat_n(b'a', size));
        if size > 0 || !trailer {
            body.extend_from_slice(b"\r\n");
        }
    }
    if trailer {
        body.extend_from_slice(
            b"x-amz-checksum-crc32c:sOO8/Q==\r\n\
              x-amz-trailer-signature:d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435\r\n\r\n",
        );
    }
    (v4("PUT", "/examplebucket/chunkObject.txt", signed, seed, &headers), body)
}

fn framing(request: &Request) -> Framing {
    match request.verify(V4_NOW).unwrap().payload {
        PayloadSeal::Framed(framing) => framing,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_chunked_upload_example_verifies() {
    let (request, body) = chunked(false);
    let mut decoder = ChunkDecoder::new(framing(&request), 66_560, None);
    let mut input = Bytes::from(body);
    let mut length = 0;
    while let Some(data) = decoder.decode(&mut input).unwrap() {
        length += data.len();
    }
    assert_eq!((length, decoder.finish()), (66_560, Ok(Vec::new())));
}

#[test]
fn the_trailer_example_verifies() {
    let (request, body) = chunked(true);
    let mut decoder = ChunkDecoder::new(framing(&request), 66_560, Some(Algorithm::Crc32c));
    let mut input = Bytes::from(body);
    let mut hasher = Hasher::new(Algorithm::Crc32c);
    while let Some(data) = decoder.decode(&mut input).unwrap() {
        hasher.update(&data);
    }
    let trailers = decoder.finish().unwrap();
    check_trailer(&trailers, &hasher.finish()).unwrap();
}

#[test]
fn a_chunk_that_is_changed_is_refused() {
    let (request, body) = chunked(true);
    for at in [0, 20, 90, 65_600, body.len() - 10, body.len() - 120] {
        let mut changed = body.clone();
        changed[at] ^= 1;
        let mut decoder = ChunkDecoder::new(framing(&request), 66_560, Some(Algorithm::Crc32c));
        let mut input = Bytes::from(changed);
        let outcome = loop {
            match decoder.decode(&mut input) {
                Ok(Some(_)) => {}
                Ok(None) => break decoder.finish().map(drop),
                Err(refusal) => break Err(refusal),
            }
        };
        assert!(outcome.is_err(), "byte {at}");
    }
}
