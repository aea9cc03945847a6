//! Lists: of keys in both versions, of versions, of uploads and of parts; paged, grouped, spelled.

use crate::harness::{Answer, Server, server};

async fn with_keys(keys: &[&str]) -> Server {
    let server = server().await;
    server.bucket("b-1").await;
    for key in keys {
        server.put(&format!("/b-1/{}", crate::pen::quoted(key).replace("%2F", "/")), b"").await;
    }
    server
}

/// The texts of all elements of that name.
fn all(answer: &Answer, name: &str) -> Vec<String> {
    let (text, open) = (answer.text(), format!("<{name}>"));
    let rest = text.split(&open).skip(1);
    rest.map(|rest| rest.split("</").next().unwrap_or_default().to_owned()).collect()
}

#[tokio::test]
async fn keys_that_xml_cannot_hold_are_spelled_where_that_is_asked_for() {
    let server = with_keys(&["a b/\u{1}", "a b/ü+%&", "c"]).await;
    let plain = server.get("/b-1").await;
    assert_eq!(all(&plain, "Key")[1], "a b/ü+%&amp;");
    for list in ["list-type=2&", ""] {
        let spelled = server.get(&format!("/b-1?{list}encoding-type=url&prefix=a%20b%2F")).await;
        assert_eq!(all(&spelled, "Key"), ["a%20b/%01", "a%20b/%C3%BC%2B%25%26"], "{list}");
        assert_eq!(spelled.element("EncodingType"), "url", "{list}");
        let rolled = server.get(&format!("/b-1?{list}encoding-type=url&delimiter=%2F")).await;
        assert_eq!(all(&rolled, "Prefix").last().unwrap(), "a%20b/", "{list}: {}", rolled.text());
    }
    assert_eq!(server.get("/b-1?encoding-type=rot13").await.code(), "InvalidArgument");
}

#[tokio::test]
async fn a_list_begins_where_it_is_told_to() {
    let server = with_keys(&["a", "b", "c", "d"]).await;
    let keys = async |query: &str| all(&server.get(&format!("/b-1?{query}")).await, "Key");
    assert_eq!(keys("list-type=2&start-after=b").await, ["c", "d"]);
    assert_eq!(keys("list-type=2&start-after=bb").await, ["c", "d"]);
    assert_eq!(keys("marker=c").await, ["d"]);
    let first = server.get("/b-1?list-type=2&max-keys=2").await;
    assert_eq!((all(&first, "Key"), &*first.element("IsTruncated")), (vec!["a".into(), "b".into()], "true"));
    let token = first.element("NextContinuationToken");
    assert_eq!(keys(&format!("list-type=2&continuation-token={token}&start-after=z")).await, ["c", "d"]);
    assert_eq!(keys("list-type=2&max-keys=0").await, [""; 0]);
    let wrong = server.get("/b-1?list-type=2&continuation-token=x%2Fy").await;
    assert_eq!((wrong.status, &*wrong.code()), (400, "InvalidArgument"));
    assert_eq!(server.get("/b-1?list-type=2&max-keys=x").await.code(), "InvalidArgument");
}

#[tokio::test]
async fn owners_are_told_where_they_are_asked_for() {
    let server = with_keys(&["a"]).await;
    assert!(!server.get("/b-1?list-type=2").await.text().contains("<Owner>"));
    for list in ["list-type=2&fetch-owner=true", ""] {
        let owner = server.get(&format!("/b-1?{list}")).await.element("ID");
        assert_eq!(owner.len(), 64, "{list}: {owner}");
    }
}

#[tokio::test]
async fn versions_are_paged_and_grouped_the_newest_of_a_key_first() {
    let server = server().await;
    server.bucket("b-1").await;
    server.keep_versions("b-1").await;
    let mut ids = Vec::new();
    for key in ["a/1", "a/2", "b", "b", "c"] {
        ids.push(server.put(&format!("/b-1/{key}"), b"x").await.header("x-amz-version-id").to_owned());
    }
    ids.push(server.call("DELETE", "/b-1/b").expect(204).await.header("x-amz-version-id").to_owned());
    let whole = server.get("/b-1?versions").await;
    let in_order: Vec<&String> = [0, 1, 5, 3, 2, 4].iter().map(|at| &ids[*at]).collect();
    let told = all(&whole, "VersionId");
    assert_eq!(told.len(), 6, "{}", whole.text());
    assert!(in_order.iter().all(|id| told.contains(id)));
    assert_eq!(all(&whole, "IsLatest").iter().filter(|latest| *latest == "true").count(), 4);

    let (mut seen, mut next) = (Vec::new(), String::new());
    loop {
        let page = server.get(&format!("/b-1?versions&max-keys=1{next}")).await;
        seen.extend(all(&page, "VersionId"));
        if page.element("IsTruncated") == "false" {
            break;
        }
        let (key, id) = (page.element("NextKeyMarker"), page.element("NextVersionIdMarker"));
        next = format!("&key-marker={}&version-id-marker={id}", crate::pen::quoted(&key));
    }
    assert_eq!(seen.iter().collect::<Vec<_>>(), in_order);
    let grouped = server.get("/b-1?versions&delimiter=%2F&prefix=").await;
    assert!(grouped.text().contains("<CommonPrefixes><Prefix>a/</Prefix>"), "{}", grouped.text());
    assert_eq!(all(&grouped, "VersionId").len(), 4);
    assert_eq!(server.get("/b-1?versions&version-id-marker=x").await.code(), "InvalidArgument");
}

#[tokio::test]
async fn uploads_and_their_parts_are_paged() {
    let server = with_keys(&[]).await;
    let mut ids = Vec::new();
    for key in ["a/k", "b", "b"] {
        ids.push(server.call("POST", &format!("/b-1/{key}?uploads")).expect(200).await.element("UploadId"));
    }
    let (mut seen, mut next) = (Vec::new(), String::new());
    loop {
        let page = server.get(&format!("/b-1?uploads&max-uploads=1{next}")).await;
        seen.extend(all(&page, "UploadId"));
        if page.element("IsTruncated") == "false" {
            break;
        }
        let (key, id) = (page.element("NextKeyMarker"), page.element("NextUploadIdMarker"));
        next = format!("&key-marker={}&upload-id-marker={id}", crate::pen::quoted(&key));
    }
    let (mut sorted, mut told) = (ids.clone(), seen.clone());
    sorted.sort();
    told.sort();
    assert_eq!((told, &seen[0]), (sorted, &ids[0]), "each once, by key");
    let grouped = server.get("/b-1?uploads&delimiter=%2F").await;
    assert!(grouped.text().contains("<CommonPrefixes><Prefix>a/</Prefix>"), "{}", grouped.text());

    let id = &ids[0];
    for number in [1, 2, 7] {
        server.put(&format!("/b-1/a/k?partNumber={number}&uploadId={id}"), b"part").await;
    }
    let first = server.get(&format!("/b-1/a/k?uploadId={id}&max-parts=2")).await;
    assert_eq!(
        (all(&first, "PartNumber"), &*first.element("IsTruncated")),
        (vec!["1".into(), "2".into()], "true")
    );
    let marker = first.element("NextPartNumberMarker");
    let rest = server.get(&format!("/b-1/a/k?uploadId={id}&part-number-marker={marker}")).await;
    assert_eq!((all(&rest, "PartNumber"), &*rest.element("IsTruncated")), (vec!["7".into()], "false"));
    assert_eq!(rest.element("Size"), "4");
}
