//! Keys of every kind: none means anything to the disk, and all come back as they went in.

use crate::harness::{Server, server};
use crate::pen::{Pen, quoted};
use karri_proto::checksum::{Algorithm, Hasher};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Over a connection of our own: clients fold `..` away. The status and the body.
async fn raw(server: &Server, method: &str, key: &str, body: &[u8]) -> (u16, String) {
    let host = server.url.trim_start_matches("http://");
    let url = Pen::now().url(method, host, &format!("/b-1/{}", quoted(key)), &[], 60);
    let length = body.len();
    let head = format!(
        "{method} {url} HTTP/1.1\r\nhost: {host}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
    );
    let mut stream = TcpStream::connect(host).await.unwrap();
    stream.write_all(&[head.as_bytes(), body].concat()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head["HTTP/1.1 ".len()..][..3].parse().unwrap(), body.to_owned())
}

#[tokio::test]
async fn every_key_of_up_to_1024_bytes_is_a_key() {
    let server = server().await;
    server.bucket("b-1").await;
    let long = ["k".repeat(1024), "ü".repeat(512), format!("{}/", "a/".repeat(511))];
    let odd = [
        "../../etc/passwd",
        "..",
        ".",
        "/",
        "//",
        "/etc/passwd",
        "a/../b",
        "a/./b",
        "a//b",
        "a/",
        " ",
        "a b",
        "+",
        "%",
        "%2F",
        "%00",
        "\0",
        "a\0b",
        "\u{1}",
        "\n",
        "\r\n",
        "\t",
        "\\",
        "..\\x",
        "?",
        "#",
        "&",
        "a=b&c",
        ";",
        "'",
        "\"",
        "<>&",
        "*",
        "?versions",
        "é",
        "e\u{301}",
        "日本",
        "🪵",
        "\u{feff}",
        "\u{202e}",
        "\u{7f}",
        "~",
        "con",
        "walrus.db",
        "blobs/00",
    ];
    let mut keys: Vec<&str> = odd.iter().copied().chain(long.iter().map(String::as_str)).collect();
    for (number, key) in keys.iter().enumerate() {
        let body = number.to_string();
        assert_eq!(raw(&server, "PUT", key, body.as_bytes()).await.0, 200, "{key:?}");
    }
    for (number, key) in keys.iter().enumerate() {
        assert_eq!(raw(&server, "GET", key, b"").await, (200, number.to_string()), "{key:?}");
    }
    let listed = server.get("/b-1?list-type=2&encoding-type=url").await.text();
    let listed: Vec<String> = listed
        .split("<Key>")
        .skip(1)
        .map(|rest| {
            percent_encoding::percent_decode_str(rest.split("</Key>").next().unwrap())
                .decode_utf8()
                .unwrap()
                .into_owned()
        })
        .collect();
    keys.sort_unstable();
    assert_eq!(listed, keys, "in the order of their bytes");
    for key in &keys {
        assert_eq!(raw(&server, "DELETE", key, b"").await.0, 204, "{key:?}");
    }
    assert!(!server.get("/b-1").await.text().contains("<Key>"));
}

#[tokio::test]
async fn what_is_longer_or_no_text_is_no_key() {
    let server = server().await;
    server.bucket("b-1").await;
    for key in ["k".repeat(1025), "ü".repeat(513)] {
        let (status, told) = raw(&server, "PUT", &key, b"x").await;
        assert_eq!(status, 400);
        assert!(
            told.contains("<Code>KeyTooLongError</Code>") && told.contains("<MaxSizeAllowed>1024<"),
            "{told}"
        );
    }
    assert_eq!(server.call("PUT", "/b-1/%ff").body(b"x").send().await.code(), "InvalidURI");
}

#[tokio::test]
async fn a_thousand_go_at_once_and_not_one_more() {
    let server = server().await;
    server.bucket("b-1").await;
    server.put("/b-1/999", b"x").await;
    server.put("/b-1/a%26b", b"x").await;
    let delete = |count: usize, more: &str| {
        let objects: String = (0..count).map(|at| format!("<Object><Key>{at}</Key></Object>")).collect();
        let document = format!("<Delete>{objects}{more}</Delete>").into_bytes();
        let md5 = Hasher::digest(Algorithm::Md5, &document).to_base64();
        server.call("POST", "/b-1?delete").header("content-md5", &md5).body(&document).send()
    };
    let refused = delete(1001, "").await;
    assert_eq!((refused.status, &*refused.code()), (400, "MalformedXML"));
    assert_eq!(server.get("/b-1/999").await.status, 200);
    let done = delete(1000, "").await;
    assert_eq!((done.status, done.text().matches("<Deleted>").count()), (200, 1000));
    assert_eq!(server.get("/b-1/999").await.status, 404);
    let quiet = delete(3, "<Object><Key>a&amp;b</Key></Object><Quiet>true</Quiet>").await;
    assert_eq!((quiet.status, quiet.text().matches("<Deleted>").count()), (200, 0));
    assert_eq!(server.get("/b-1/a%26b").await.status, 404);
}
