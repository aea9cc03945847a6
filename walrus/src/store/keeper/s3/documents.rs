//! The engine's documents, as far as they are read.

use super::fault::EngineError;
use karri_proto::aws::XmlWriter;
use karri_proto::aws::rest::read::{Element, document};
use karri_proto::aws::rest::{ReadXml, RestFault, XmlReader};

type Read<T> = Result<T, RestFault>;

/// The texts of an element's children, by name; what has children of its own is among `nested`.
macro_rules! texts {
    ($xml:ident, $into:ident, { $($name:literal => $field:ident),* $(,)? }) => {
        while let Some(child) = $xml.child()? {
            match child.name() {
                $($name => $into.$field = $xml.text()?,)*
                _ => $xml.skip()?,
            }
        }
    };
}

#[derive(Debug, Default)]
pub struct Failure {
    pub code: String,
    pub message: String,
}

impl ReadXml for Failure {
    fn read(xml: &mut XmlReader<'_>, _: &Element<'_>) -> Read<Self> {
        let mut failure = Self::default();
        texts!(xml, failure, { "Code" => code, "Message" => message });
        Ok(failure)
    }
}

#[derive(Debug, Default)]
struct Object {
    key: String,
}

impl ReadXml for Object {
    fn read(xml: &mut XmlReader<'_>, _: &Element<'_>) -> Read<Self> {
        let mut object = Self::default();
        texts!(xml, object, { "Key" => key });
        Ok(object)
    }
}

#[derive(Debug, Default)]
pub struct Listing {
    pub keys: Vec<String>,
    pub truncated: bool,
}

impl ReadXml for Listing {
    fn read(xml: &mut XmlReader<'_>, _: &Element<'_>) -> Read<Self> {
        let (mut objects, mut truncated) = (Vec::<Object>::new(), String::new());
        while let Some(child) = xml.child()? {
            match child.name() {
                "Contents" => xml.push(&child, &mut objects)?,
                "IsTruncated" => truncated = xml.text()?,
                _ => xml.skip()?,
            }
        }
        let keys = objects.into_iter().map(|object| object.key).collect();
        Ok(Self { keys, truncated: truncated == "true" })
    }
}

#[derive(Debug, Default, PartialEq, Eq)]
pub struct Upload {
    pub key: String,
    pub id: String,
}

impl ReadXml for Upload {
    fn read(xml: &mut XmlReader<'_>, _: &Element<'_>) -> Read<Self> {
        let mut upload = Self::default();
        texts!(xml, upload, { "Key" => key, "UploadId" => id });
        Ok(upload)
    }
}

#[derive(Debug, Default)]
pub struct Uploads {
    pub uploads: Vec<Upload>,
    pub truncated: bool,
    pub next_key: String,
    pub next_id: String,
}

impl ReadXml for Uploads {
    fn read(xml: &mut XmlReader<'_>, _: &Element<'_>) -> Read<Self> {
        let (mut page, mut truncated) = (Self::default(), String::new());
        while let Some(child) = xml.child()? {
            match child.name() {
                "Upload" => xml.push(&child, &mut page.uploads)?,
                "IsTruncated" => truncated = xml.text()?,
                "NextKeyMarker" => page.next_key = xml.text()?,
                "NextUploadIdMarker" => page.next_id = xml.text()?,
                _ => xml.skip()?,
            }
        }
        page.truncated = truncated == "true";
        Ok(page)
    }
}

#[derive(Debug, Default)]
pub struct Initiated {
    pub upload: String,
}

impl ReadXml for Initiated {
    fn read(xml: &mut XmlReader<'_>, _: &Element<'_>) -> Read<Self> {
        let mut initiated = Self::default();
        texts!(xml, initiated, { "UploadId" => upload });
        Ok(initiated)
    }
}

/// What was made of something: all that matters is its entity tag.
#[derive(Debug, Default)]
pub struct Made {
    pub etag: String,
}

impl ReadXml for Made {
    fn read(xml: &mut XmlReader<'_>, _: &Element<'_>) -> Read<Self> {
        let mut made = Self::default();
        texts!(xml, made, { "ETag" => etag });
        Ok(made)
    }
}

/// A document of that root, or the failure that an answer of 200 may turn out to be.
pub fn read<T: ReadXml>(body: &[u8], root: &str) -> Result<T, EngineError> {
    document(body, root).map_err(|fault| match document::<Failure>(body, "Error") {
        Ok(failure) => EngineError::refused(200, failure.code, failure.message),
        Err(_) => EngineError::Nonsense(format!("expecting {root}: {fault:?}")),
    })
}

/// The body of CompleteMultipartUpload: the entity tags of parts 1 and on.
pub fn parts(etags: &[String]) -> String {
    let mut xml = XmlWriter::new();
    xml.open_in("CompleteMultipartUpload", "http://s3.amazonaws.com/doc/2006-03-01/");
    for (number, etag) in etags.iter().enumerate() {
        xml.open("Part");
        xml.element("PartNumber", &(number + 1).to_string());
        xml.element("ETag", etag);
        xml.close("Part");
    }
    xml.close("CompleteMultipartUpload");
    xml.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_200_that_is_an_error_is_one() {
        let body = b"  <?xml version=\"1.0\"?><Error><Code>InternalError</Code><Message>x</Message></Error>"
            .trim_ascii();
        let error = read::<Made>(body, "CompleteMultipartUploadResult").unwrap_err();
        assert!(matches!(&error, EngineError::Refused { code, .. } if code == "InternalError"), "{error}");
        let half = read::<Made>(b"<CompleteMultipartUploadResult><ETag>x", "CompleteMultipartUploadResult");
        assert!(matches!(half, Err(EngineError::Nonsense(_))));
        assert!(matches!(read::<Made>(b"", "CopyObjectResult"), Err(EngineError::Nonsense(_))));
    }

    #[test]
    fn a_listing_is_its_keys_and_whether_there_is_more() {
        let body = b"<ListBucketResult xmlns='x'><Name>b</Name><IsTruncated>true</IsTruncated>\
            <Contents><Key>a&amp;b</Key><Size>1</Size><Owner><ID>o</ID></Owner></Contents>\
            <Contents><Key>c</Key></Contents></ListBucketResult>";
        let listing: Listing = read(body, "ListBucketResult").unwrap();
        assert_eq!((listing.keys, listing.truncated), (vec!["a&b".to_owned(), "c".to_owned()], true));
        let body =
            b"<ListMultipartUploadsResult><NextKeyMarker>k</NextKeyMarker><IsTruncated>false</IsTruncated>\
            <Upload><Key>k</Key><UploadId>u</UploadId><Initiator><ID>i</ID></Initiator></Upload>\
            </ListMultipartUploadsResult>";
        let page: Uploads = read(body, "ListMultipartUploadsResult").unwrap();
        assert_eq!(page.uploads, [Upload { key: "k".into(), id: "u".into() }]);
        assert_eq!((page.truncated, page.next_key.as_str()), (false, "k"));
    }

    #[test]
    fn parts_are_numbered_from_one() {
        let xml = parts(&["\"a\"".into(), "\"b\"".into()]);
        assert!(xml.contains("<Part><PartNumber>2</PartNumber><ETag>&quot;b&quot;</ETag></Part>"), "{xml}");
    }
}
