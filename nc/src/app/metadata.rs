//! What an instance may read about itself: EC2's metadata tree, made from the intent alone.
//!
//! All leaves are put into one sorted map and every listing is derived from it, so a listing cannot
//! name what would not be answered (cloud-init gives up on the whole crawl at the first such path).

use crate::app::token::{TTL_SECS_MAX, TokenKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use karri_proto::instance::{InstanceIntent, InstanceSpec, PortSpec};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

pub const VERSIONS: [&str; 17] = [
    "1.0",
    "2007-01-19",
    "2007-03-01",
    "2007-08-29",
    "2007-10-10",
    "2007-12-15",
    "2008-02-01",
    "2008-09-01",
    "2009-04-04",
    "2011-01-01",
    "2014-02-25",
    "2016-09-02",
    "2018-09-24",
    "2019-10-01",
    "2020-10-27",
    "2021-03-23",
    "latest",
];
const PATH_BYTES_MAX: usize = 1024;
const TEXT: &str = "text/plain";
const OCTETS: &str = "application/octet-stream";

/// A request as far as the answer depends on it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Request<'a> {
    pub method: &'a str,
    /// Path and query as sent.
    pub target: &'a str,
    pub token: Option<&'a str>,
    pub token_ttl: Option<&'a str>,
    /// It came through a proxy.
    pub forwarded: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub content_type: &'static str,
    pub body: Vec<u8>,
    /// Set on the answer that carries a token: only that one is kept to the hop limit.
    pub token_ttl: Option<u64>,
}

impl Answer {
    fn ok(content_type: &'static str, body: impl Into<Vec<u8>>) -> Self {
        Self { status: 200, content_type, body: body.into(), token_ttl: None }
    }

    fn refused(status: u16, title: &str) -> Self {
        let body = format!(
            "<?xml version=\"1.0\" encoding=\"iso-8859-1\"?>\n<html><head><title>{status} - {title}</title></head>\n\
             <body><h1>{status} - {title}</h1></body></html>\n"
        );
        Self { status, content_type: "text/html", body: body.into_bytes(), token_ttl: None }
    }

    fn not_found() -> Self {
        Self::refused(404, "Not Found")
    }
}

/// The answer to any request of the instance.
pub fn answer(intent: &InstanceIntent, key: &TokenKey, request: &Request, now_unix_secs: u64) -> Answer {
    let options = &intent.spec.metadata;
    if !options.enabled {
        return Answer::refused(403, "Forbidden");
    }
    let Some(segments) = segments(request.target) else { return Answer::refused(400, "Bad Request") };
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    match request.method {
        "PUT" if segments == ["latest", "api", "token"] => token(intent, key, request, now_unix_secs),
        "GET" | "HEAD" => {
            let valid = request.token.map(|token| key.is_valid(&intent.id, now_unix_secs, token));
            match valid {
                Some(false) => Answer::refused(401, "Unauthorized"),
                None if options.tokens_required => Answer::refused(401, "Unauthorized"),
                Some(true) | None => read(intent, &segments),
            }
        }
        _ => Answer::refused(405, "Method Not Allowed"),
    }
}

fn token(intent: &InstanceIntent, key: &TokenKey, request: &Request, now_unix_secs: u64) -> Answer {
    if request.forwarded {
        return Answer::refused(403, "Forbidden");
    }
    let ttl = request.token_ttl.and_then(|text| text.trim().parse().ok());
    match ttl.filter(|ttl| (1..=TTL_SECS_MAX).contains(ttl)) {
        None => Answer::refused(400, "Bad Request"),
        Some(ttl) => {
            Answer { token_ttl: Some(ttl), ..Answer::ok(TEXT, key.issue(&intent.id, now_unix_secs, ttl)) }
        }
    }
}

/// The path in pieces, percent-decoded; none: it is no path.
fn segments(target: &str) -> Option<Vec<String>> {
    let path = target.split(['?', '#']).next().unwrap_or_default();
    if target.len() > PATH_BYTES_MAX {
        return None;
    }
    path.split('/').filter(|segment| !segment.is_empty()).map(percent_decode).collect()
}

fn percent_decode(segment: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |b: Option<u8>| char::from(b?).to_digit(16).and_then(|d| u8::try_from(d).ok());
        bytes.push(digit(rest.next())? << 4 | digit(rest.next())?);
    }
    String::from_utf8(bytes).ok()
}

fn read(intent: &InstanceIntent, segments: &[&str]) -> Answer {
    let Some((version, rest)) = segments.split_first() else {
        return Answer::ok(TEXT, VERSIONS.join("\n"));
    };
    if !VERSIONS.contains(version) {
        return Answer::not_found();
    }
    match rest {
        [] => Answer::ok(TEXT, top_level(intent).join("\n")),
        ["user-data"] => match user_data(&intent.spec) {
            Some(bytes) => Answer::ok(OCTETS, bytes),
            None => Answer::not_found(),
        },
        ["meta-data", "public-keys"] => match &intent.spec.key {
            Some(key) => Answer::ok(TEXT, format!("0={}", one_line(&key.name))),
            None => Answer::not_found(),
        },
        _ => leaf_or_listing(&leaves(intent), rest),
    }
}

fn top_level(intent: &InstanceIntent) -> Vec<&'static str> {
    let mut names = vec!["dynamic", "meta-data"];
    names.extend(user_data(&intent.spec).is_some().then_some("user-data"));
    names
}

fn leaf_or_listing(leaves: &BTreeMap<String, String>, rest: &[&str]) -> Answer {
    let path = rest.join("/");
    if let Some(value) = leaves.get(&path) {
        return Answer::ok(TEXT, value.as_str());
    }
    let directory = format!("{path}/");
    let below = leaves.range(directory.clone()..).take_while(|(path, _)| path.starts_with(&directory));
    let names: BTreeSet<String> = below
        .map(|(path, _)| match path[directory.len()..].split_once('/') {
            Some((name, _)) => format!("{name}/"),
            None => path[directory.len()..].to_owned(),
        })
        .collect();
    if names.is_empty() {
        return Answer::not_found();
    }
    Answer::ok(TEXT, names.into_iter().collect::<Vec<_>>().join("\n"))
}

fn user_data(spec: &InstanceSpec) -> Option<Vec<u8>> {
    STANDARD.decode(spec.user_data_base64.as_ref()?).ok()
}

fn one_line(text: &str) -> String {
    text.replace(|c: char| c.is_control(), " ")
}

/// Everything below a version, but for user data and the listing of keys.
fn leaves(intent: &InstanceIntent) -> BTreeMap<String, String> {
    let mut leaves = BTreeMap::new();
    let mut put = |path: &str, value: &str| drop(leaves.insert(path.to_owned(), value.to_owned()));
    put("dynamic/instance-identity/document", &identity_document(intent));
    let mut meta = |path: &str, value: &str| put(&format!("meta-data/{path}"), value);
    instance_leaves(intent, &mut meta);
    for port in &intent.spec.ports {
        port_leaves(intent, port, &mut meta);
    }
    if intent.spec.metadata.tags_shown {
        for (name, value) in intent.spec.tags.iter().filter(|(name, _)| tag_may_be_shown(name)) {
            meta(&format!("tags/instance/{name}"), value);
        }
    }
    leaves
}

/// EC2 shows only tags whose names are plain words of a path. A number before `=` would be taken for
/// a public key by crawlers.
fn tag_may_be_shown(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "+-=.,_:@".contains(c);
    let key_like = name.split_once('=').is_some_and(|(number, _)| number.parse::<u64>().is_ok());
    !name.is_empty() && name.chars().all(plain) && !matches!(name, "." | ".." | "_index") && !key_like
}

fn instance_leaves(intent: &InstanceIntent, meta: &mut impl FnMut(&str, &str)) {
    let spec = &intent.spec;
    meta("ami-id", spec.image_id.as_str());
    meta("ami-launch-index", &spec.launch_index.to_string());
    meta("ami-manifest-path", "(unknown)");
    meta("block-device-mapping/ami", &spec.root_device_name);
    meta("block-device-mapping/root", &spec.root_device_name);
    meta("hostname", &spec.hostname);
    meta("instance-action", "none");
    meta("instance-id", intent.id.as_str());
    meta("instance-life-cycle", "on-demand");
    meta("instance-type", &spec.instance_type);
    meta("local-hostname", &spec.hostname);
    meta("placement/availability-zone", &spec.zone);
    meta("placement/availability-zone-id", &spec.zone); // a zone has one name, whoever asks
    meta("placement/region", &spec.region);
    meta("profile", if spec.paravirtual { "default-paravirtual" } else { "default-hvm" });
    meta("reservation-id", spec.reservation_id.as_str());
    meta("services/domain", "karri.internal");
    meta("services/partition", "aws");
    for (name, id) in [("kernel-id", &spec.kernel_id), ("ramdisk-id", &spec.ramdisk_id)] {
        if let Some(id) = id {
            meta(name, id);
        }
    }
    if let Some(key) = &spec.key {
        meta("public-keys/0/openssh-key", &format!("{}\n", one_line(key.openssh.trim_end())));
    }
    if let Some(port) = spec.ports.first() {
        meta("local-ipv4", &port.private_ip.to_string());
        meta("mac", &port.mac);
        if let Some(public) = &port.public {
            meta("public-ipv4", &public.address.to_string());
            public.name.iter().for_each(|name| meta("public-hostname", name));
        }
        meta("security-groups", &group_names(port));
    }
}

fn group_names(port: &PortSpec) -> String {
    port.groups.iter().map(|(_, name)| one_line(name)).collect::<Vec<_>>().join("\n")
}

fn port_leaves(intent: &InstanceIntent, port: &PortSpec, meta: &mut impl FnMut(&str, &str)) {
    let lines = |lines: Vec<String>| lines.join("\n");
    let group_ids: Vec<&str> = port.groups.iter().map(|(id, _)| id.as_str()).collect();
    let values: [(&str, &str); 13] = [
        ("device-number", &port.device_index.to_string()),
        ("interface-id", port.id.as_str()),
        ("local-hostname", &intent.spec.name_of(port.private_ip)),
        ("local-ipv4s", &lines(port.addresses().map(|(address, _)| address.to_string()).collect())),
        ("mac", &port.mac),
        ("owner-id", &intent.account),
        ("security-group-ids", &group_ids.join("\n")),
        ("security-groups", &group_names(port)),
        ("subnet-id", port.subnet_id.as_str()),
        ("subnet-ipv4-cidr-block", &port.subnet_cidr),
        ("vpc-id", port.vpc_id.as_str()),
        ("vpc-ipv4-cidr-block", &port.vpc_cidr),
        ("vpc-ipv4-cidr-blocks", &lines(port.vpc_ranges().map(str::to_owned).collect())),
    ];
    let mut of_port =
        |name: &str, value: &str| meta(&format!("network/interfaces/macs/{}/{name}", port.mac), value);
    for (name, value) in values {
        of_port(name, value);
    }
    let mut public_addresses = Vec::new();
    for (private, public) in port.addresses() {
        let Some(public) = public else { continue };
        of_port(&format!("ipv4-associations/{}", public.address), &private.to_string());
        public_addresses.push(public.address.to_string());
    }
    if !public_addresses.is_empty() {
        of_port("public-ipv4s", &lines(public_addresses));
    }
    if let Some(public) = &port.public {
        public.name.iter().for_each(|name| of_port("public-hostname", name));
    }
}

fn identity_document(intent: &InstanceIntent) -> String {
    let spec = &intent.spec;
    let launched = OffsetDateTime::from_unix_timestamp(spec.launched_at_unix_ms.div_euclid(1000));
    let pending_time = launched.ok().and_then(|time| time.format(&Rfc3339).ok());
    let document = json!({
        "accountId": intent.account,
        "architecture": spec.architecture,
        "availabilityZone": spec.zone,
        "billingProducts": null,
        "devpayProductCodes": null,
        "marketplaceProductCodes": null,
        "imageId": spec.image_id.as_str(),
        "instanceId": intent.id.as_str(),
        "instanceType": spec.instance_type,
        "kernelId": spec.kernel_id,
        "pendingTime": pending_time,
        "privateIp": spec.ports.first().map(|port| port.private_ip.to_string()),
        "ramdiskId": spec.ramdisk_id,
        "region": spec.region,
        "version": "2017-09-30",
    });
    serde_json::to_string_pretty(&document).unwrap_or_default()
}

/// See [`crate::fuzz_metadata`]: method, token, lifetime and target, separated by zero bytes.
pub(crate) fn fuzz(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let mut parts = text.split('\0');
    let request = Request {
        method: parts.next().filter(|method| !method.is_empty()).unwrap_or("GET"),
        token: parts.next().filter(|token| !token.is_empty()),
        token_ttl: parts.next(),
        target: parts.next().unwrap_or_default(),
        forwarded: parts.next().is_some(),
    };
    let mut intent = crate::app::sample::intent();
    if let Some(name) = parts.next() {
        intent.spec.tags.push((name.to_owned(), "fuzzed".to_owned()));
    }
    let key = TokenKey::new([1; crate::app::token::KEY_BYTES]);
    let answer = answer(&intent, &key, &request, 1_700_000_000);
    assert!(matches!(answer.status, 200 | 400 | 401 | 403 | 404 | 405));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::sample;
    use karri_proto::instance::{PublicPort, SecondaryAddress};

    const NOW: u64 = 1_700_000_000;

    fn key() -> TokenKey {
        TokenKey::new([1; crate::app::token::KEY_BYTES])
    }

    fn ask(intent: &InstanceIntent, request: Request) -> Answer {
        answer(intent, &key(), &request, NOW)
    }

    fn get<'a>(target: &'a str, token: Option<&'a str>) -> Request<'a> {
        Request { method: "GET", target, token, ..Request::default() }
    }

    fn text(intent: &InstanceIntent, target: &str) -> Option<String> {
        let answer = ask(intent, get(target, None));
        (answer.status == 200).then(|| String::from_utf8(answer.body).unwrap())
    }

    /// Follows listings as cloud-init's crawler does; returns what it found by path.
    fn crawl(intent: &InstanceIntent, directory: &str, found: &mut BTreeMap<String, String>) {
        let listing = text(intent, directory).unwrap_or_else(|| panic!("{directory} is listed and errors"));
        for line in listing.lines() {
            let target = format!("{directory}{line}");
            match line.split_once('=') {
                _ if line.ends_with('/') => crawl(intent, &target, found),
                Some((number, _)) => {
                    let target = format!("{directory}{number}/openssh-key");
                    found.insert(target.clone(), text(intent, &target).unwrap());
                }
                None => {
                    let value =
                        text(intent, &target).unwrap_or_else(|| panic!("{target} is listed and errors"));
                    found.insert(target, value);
                }
            }
        }
    }

    #[test]
    fn a_public_address_is_where_ec2_shows_it() {
        let mut intent = sample::intent();
        let meta = |name: &str| format!("/latest/meta-data/{name}");
        let mac = "network/interfaces/macs/02:00:00:00:00:05";
        assert_eq!(text(&intent, &meta("public-ipv4")), None);
        let (address, name) = (std::net::Ipv4Addr::new(198, 18, 0, 5), Some("ec2-198-18-0-5.x".to_owned()));
        intent.spec.ports[0].public = Some(PublicPort { address, name, elastic: true });
        for (name, value) in [
            ("public-ipv4".to_owned(), "198.18.0.5"),
            ("public-hostname".to_owned(), "ec2-198-18-0-5.x"),
            (format!("{mac}/public-ipv4s"), "198.18.0.5"),
            (format!("{mac}/public-hostname"), "ec2-198-18-0-5.x"),
            (format!("{mac}/ipv4-associations/198.18.0.5"), "172.31.0.5"),
        ] {
            assert_eq!(text(&intent, &meta(&name)).as_deref(), Some(value), "{name}");
        }
        intent.spec.ports[0].public.as_mut().unwrap().name = None;
        assert_eq!(text(&intent, &meta("public-hostname")), None);
    }

    #[test]
    fn each_interface_has_its_own_place() {
        let mut intent = sample::intent();
        let ip = |last| std::net::Ipv4Addr::new(172, 31, 0, last);
        let public = PublicPort { address: [198, 18, 0, 6].into(), name: None, elastic: true };
        let second = karri_proto::instance::PortSpec {
            id: "eni-00000009".parse().unwrap(),
            mac: "02:00:00:00:00:09".to_owned(),
            private_ip: ip(9),
            device_index: 3,
            secondary: vec![SecondaryAddress { address: ip(10), public: Some(public) }],
            ..intent.spec.ports[0].clone()
        };
        intent.spec.ports.push(second);
        let macs = "/latest/meta-data/network/interfaces/macs/";
        assert_eq!(text(&intent, macs).unwrap(), "02:00:00:00:00:05/\n02:00:00:00:00:09/");
        let domain = intent.spec.hostname.split_once('.').unwrap().1.to_owned();
        for (mac, name, value) in [
            ("02:00:00:00:00:05", "device-number", "0"),
            ("02:00:00:00:00:05", "local-hostname", &intent.spec.hostname),
            ("02:00:00:00:00:09", "device-number", "3"),
            ("02:00:00:00:00:09", "interface-id", "eni-00000009"),
            ("02:00:00:00:00:09", "local-hostname", &format!("ip-172-31-0-9.{domain}")),
            ("02:00:00:00:00:09", "local-ipv4s", "172.31.0.9\n172.31.0.10"),
            ("02:00:00:00:00:09", "public-ipv4s", "198.18.0.6"),
            ("02:00:00:00:00:09", "ipv4-associations/198.18.0.6", "172.31.0.10"),
        ] {
            let told = text(&intent, &format!("{macs}{mac}/{name}"));
            assert_eq!(told.as_deref(), Some(value), "{mac} {name}");
        }
        assert_eq!(text(&intent, "/latest/meta-data/local-ipv4").unwrap(), "172.31.0.5");
        assert_eq!(text(&intent, "/latest/meta-data/public-ipv4"), None, "that is the first one's");
    }

    #[test]
    fn cloud_inits_crawl_finds_everything_and_no_listed_path_errors() {
        let intent = sample::intent();
        let token = Request {
            method: "PUT",
            target: "/latest/api/token",
            token_ttl: Some("21600"),
            ..Request::default()
        };
        let token = String::from_utf8(ask(&intent, token).body).unwrap();
        for version in ["2021-03-23", "2018-09-24", "2016-09-02", "2009-04-04"] {
            let target = format!("/{version}/meta-data/instance-id");
            assert_eq!(ask(&intent, get(&target, Some(&token))).body, b"i-0123456789abcdef0");
        }
        assert_eq!(text(&intent, "/2021-03-23/user-data").unwrap(), "#!/bin/sh\n");
        let mut found = BTreeMap::new();
        crawl(&intent, "/2021-03-23/meta-data/", &mut found);
        crawl(&intent, "/2021-03-23/dynamic/instance-identity/", &mut found);
        let path = |name: &str| format!("/2021-03-23/meta-data/{name}");
        let mac = "network/interfaces/macs/02:00:00:00:00:05";
        for (name, value) in [
            ("ami-id".to_owned(), "ami-0123456789abcdef0"),
            ("placement/availability-zone".to_owned(), "zone-a"),
            ("placement/availability-zone-id".to_owned(), "zone-a"),
            ("profile".to_owned(), "default-paravirtual"),
            ("public-keys/0/openssh-key".to_owned(), "ssh-ed25519 AAAAC3Nz alice\n"),
            ("security-groups".to_owned(), "default"),
            ("tags/instance/Name".to_owned(), "web"),
            (format!("{mac}/local-ipv4s"), "172.31.0.5"),
            (format!("{mac}/subnet-ipv4-cidr-block"), "172.31.0.0/20"),
            (format!("{mac}/vpc-ipv4-cidr-block"), "172.31.0.0/16"),
            (format!("{mac}/vpc-ipv4-cidr-blocks"), "172.31.0.0/16"),
        ] {
            assert_eq!(found.get(&path(&name)).map(String::as_str), Some(value), "{name}");
        }
        assert!(!found.keys().any(|name| name.contains("not shown") || name.contains("7=x")));
    }

    #[test]
    fn every_range_of_the_vpc_is_told_and_the_kind_of_guest() {
        let mut intent = sample::intent();
        intent.spec.ports[0].more_vpc_cidrs = vec!["100.64.0.0/24".to_owned(), "10.9.0.0/16".to_owned()];
        intent.spec.paravirtual = false;
        let vpc = "/latest/meta-data/network/interfaces/macs/02:00:00:00:00:05/vpc-ipv4-cidr-block";
        assert_eq!(text(&intent, vpc).unwrap(), "172.31.0.0/16");
        let all = "172.31.0.0/16\n100.64.0.0/24\n10.9.0.0/16";
        assert_eq!(text(&intent, &format!("{vpc}s")).unwrap(), all);
        assert_eq!(text(&intent, "/latest/meta-data/profile").unwrap(), "default-hvm");
    }

    /// What a node has kept from before there was more than one.
    #[test]
    fn a_specification_that_names_one_range_is_read() {
        let mut kept = serde_json::to_value(sample::intent()).unwrap();
        let spec = kept["spec"].as_object_mut().unwrap();
        assert!(spec.remove("paravirtual").is_some());
        assert!(!spec["ports"][0].as_object().unwrap().contains_key("more_vpc_cidrs"));
        let intent: InstanceIntent = serde_json::from_value(kept).unwrap();
        let blocks = "/latest/meta-data/network/interfaces/macs/02:00:00:00:00:05/vpc-ipv4-cidr-blocks";
        assert_eq!(text(&intent, blocks).unwrap(), "172.31.0.0/16");
        assert_eq!(text(&intent, "/latest/meta-data/profile").unwrap(), "default-hvm");
    }

    #[test]
    fn the_identity_document_is_json_with_what_clients_read() {
        let document = text(&sample::intent(), "/latest/dynamic/instance-identity/document").unwrap();
        let document: serde_json::Value = serde_json::from_str(&document).unwrap();
        assert_eq!(document["region"], "karri");
        assert_eq!(document["instanceId"], "i-0123456789abcdef0");
        assert_eq!(document["pendingTime"], "2023-11-14T22:13:20Z");
    }

    #[test]
    fn listings_answer_with_and_without_their_slash() {
        let intent = sample::intent();
        assert_eq!(
            text(&intent, "/latest/meta-data/placement").unwrap(),
            "availability-zone\navailability-zone-id\nregion"
        );
        assert_eq!(
            text(&intent, "/latest/meta-data/placement/").unwrap(),
            "availability-zone\navailability-zone-id\nregion"
        );
        assert_eq!(text(&intent, "/latest/").unwrap(), "dynamic\nmeta-data\nuser-data");
        assert!(text(&intent, "/").unwrap().contains("2009-04-04"));
        assert_eq!(text(&intent, "/latest/meta-data/public-keys/").unwrap(), "0=alice's <key>");
        assert_eq!(text(&intent, "/latest/meta-data/public-keys/0").unwrap(), "openssh-key");
        assert!(
            text(&intent, "/latest/meta-data/network/interfaces/macs/02%3A00%3A00%3A00%3A00%3A05/mac")
                .is_some()
        );
    }

    #[test]
    fn what_is_not_there_is_404() {
        let mut intent = sample::intent();
        intent.spec.user_data_base64 = None;
        intent.spec.key = None;
        intent.spec.metadata.tags_shown = false;
        for path in [
            "/latest/user-data",
            "/latest/meta-data/public-keys/",
            "/latest/meta-data/tags/instance",
            "/latest/meta-data/iam/",
            "/latest/meta-data/ami-id/x",
            "/1999-01-01/meta-data/",
            "/latest/meta-data/../../../etc/passwd",
        ] {
            assert_eq!(ask(&intent, get(path, None)).status, 404, "{path}");
        }
        assert_eq!(text(&intent, "/latest/").unwrap(), "dynamic\nmeta-data");
    }

    #[test]
    fn required_tokens_are_required_and_a_bad_one_is_never_ignored() {
        let mut intent = sample::intent();
        assert_eq!(ask(&intent, get("/latest/meta-data/", Some("bad"))).status, 401);
        intent.spec.metadata.tokens_required = true;
        assert_eq!(ask(&intent, get("/latest/meta-data/", None)).status, 401);
        let token = key().issue(&intent.id, NOW, 10);
        assert_eq!(ask(&intent, get("/latest/meta-data/", Some(&token))).status, 200);
        let other = key().issue(&"i-00000001".parse().unwrap(), NOW, 10);
        assert_eq!(ask(&intent, get("/latest/meta-data/", Some(&other))).status, 401);
    }

    #[test]
    fn tokens_are_given_for_a_valid_time_and_not_through_proxies() {
        let intent = sample::intent();
        let put = |ttl, forwarded| {
            let target = "/latest/api/token";
            ask(&intent, Request { method: "PUT", target, token_ttl: ttl, forwarded, token: None })
        };
        assert_eq!(put(Some("21600"), false).token_ttl, Some(21600));
        for bad in [None, Some("0"), Some("21601"), Some("-1"), Some("x")] {
            assert_eq!(put(bad, false).status, 400, "{bad:?}");
        }
        assert_eq!(put(Some("60"), true).status, 403);
    }

    #[test]
    fn a_disabled_endpoint_and_odd_methods_are_refused() {
        let mut intent = sample::intent();
        let post = Request { method: "POST", target: "/latest/meta-data/", ..Request::default() };
        assert_eq!(ask(&intent, post).status, 405);
        assert_eq!(ask(&intent, get("/latest/%zz", None)).status, 400);
        assert_eq!(ask(&intent, get(&"/x".repeat(1000), None)).status, 400);
        intent.spec.metadata.enabled = false;
        assert_eq!(ask(&intent, get("/latest/meta-data/", None)).status, 403);
    }

    #[test]
    fn random_requests_are_answered() {
        use rand::{RngCore, SeedableRng};
        let mut random = rand::rngs::StdRng::seed_from_u64(1);
        for length in 0..2_000 {
            let mut data = vec![0; length % 200];
            random.fill_bytes(&mut data);
            fuzz(&data);
            fuzz(&[b"GET\0\0\0/latest/meta-data/".as_slice(), &data].concat());
        }
    }
}
