//! Pages of other sites: what a browser asks beforehand, and what it reads in answers.

use crate::harness::{Answer, Server, User, server};

const RULES: &str = "<CORSConfiguration><CORSRule><ID>one</ID><AllowedOrigin>https://*.example.com</AllowedOrigin>\
    <AllowedMethod>GET</AllowedMethod><AllowedMethod>PUT</AllowedMethod><AllowedHeader>x-amz-*</AllowedHeader>\
    <ExposeHeader>ETag</ExposeHeader><MaxAgeSeconds>60</MaxAgeSeconds></CORSRule></CORSConfiguration>";

async fn with_rules() -> Server {
    let server = server().await;
    server.bucket("b-1").await;
    server.put("/b-1/k", b"x").await;
    server.call("PUT", "/b-1?cors").body(RULES.as_bytes()).expect(200).await;
    server
}

async fn preflight(server: &Server, path: &str, origin: &str, method: &str, headers: &str) -> Answer {
    let call = server.call("OPTIONS", path).by(User::Nobody).header("origin", origin);
    let call = call.header("access-control-request-method", method);
    let call = if headers.is_empty() { call } else { call.header("access-control-request-headers", headers) };
    call.send().await
}

#[tokio::test]
async fn a_browser_that_asks_is_told_what_a_page_may() {
    let server = with_rules().await;
    let allowed = preflight(&server, "/b-1/k", "https://a.example.com", "PUT", "X-Amz-Date").await;
    assert_eq!(allowed.status, 200, "{}", allowed.text());
    for (name, value) in [
        ("access-control-allow-origin", "https://a.example.com"),
        ("access-control-allow-methods", "GET, PUT"),
        ("access-control-allow-headers", "x-amz-date"),
        ("access-control-expose-headers", "ETag"),
        ("access-control-max-age", "60"),
        ("access-control-allow-credentials", "true"),
    ] {
        assert_eq!(allowed.header(name), value, "{name}");
    }
    for (origin, method, headers) in [
        ("https://example.org", "PUT", ""),
        ("http://a.example.com", "PUT", ""),
        ("https://a.example.com", "DELETE", ""),
        ("https://a.example.com", "PUT", "x-amz-date, cookie"),
    ] {
        let refused = preflight(&server, "/b-1/k", origin, method, headers).await;
        assert_eq!(
            (refused.status, &*refused.code()),
            (403, "AccessForbidden"),
            "{origin} {method} {headers}"
        );
        assert_eq!(refused.header("access-control-allow-origin"), "");
    }
    let bare = server.call("OPTIONS", "/b-1/k").by(User::Nobody).send().await;
    assert_eq!((bare.status, &*bare.code()), (400, "BadRequest"));
    server.call("DELETE", "/b-1?cors").expect(204).await;
    let off = preflight(&server, "/b-1/k", "https://a.example.com", "GET", "").await;
    assert_eq!((off.status, &*off.code()), (403, "AccessForbidden"));
}

#[tokio::test]
async fn an_answer_says_who_may_read_it_also_one_that_refuses() {
    let server = with_rules().await;
    let get = |path: &'static str, origin| server.call("GET", path).header("origin", origin).send();
    for (path, status) in [("/b-1/k", 200), ("/b-1/l", 404)] {
        let answer = get(path, "https://a.example.com").await;
        assert_eq!(
            (answer.status, answer.header("access-control-allow-origin")),
            (status, "https://a.example.com")
        );
        assert!(answer.header("vary").contains("Origin"));
        let other = get(path, "https://example.org").await;
        assert_eq!(
            (other.status, other.header("access-control-allow-origin")),
            (status, ""),
            "it is served anyway"
        );
    }
}

#[tokio::test]
async fn rules_that_mean_nothing_are_refused() {
    let server = with_rules().await;
    for (from, to, code) in [
        ("<AllowedMethod>PUT</AllowedMethod>", "<AllowedMethod>PATCH</AllowedMethod>", "InvalidRequest"),
        ("https://*.example.com", "https://*.*.com", "InvalidRequest"),
        ("<ExposeHeader>ETag", "<ExposeHeader>*", "InvalidRequest"),
        ("<AllowedOrigin>https://*.example.com</AllowedOrigin>", "", "MalformedXML"),
    ] {
        let document = RULES.replace(from, to);
        assert_eq!(
            server.call("PUT", "/b-1?cors").body(document.as_bytes()).send().await.code(),
            code,
            "{to}"
        );
    }
    let kept = server.get("/b-1?cors").await;
    assert_eq!((kept.element("ID").as_str(), kept.element("MaxAgeSeconds").as_str()), ("one", "60"));
}
