//! `clc.toml`: the cloud controller's configuration. Only values; reading it touches no file but itself.

use crate::app::security_group::terms::net4;
use karri_proto::network::{
    ADDRESSES_PER_PORT_MAX, ENTRIES_PER_ACL_MAX, PUBLIC_RANGES_MAX, ROUTES_PER_TABLE_MAX,
};
use karri_proto::runtime::process::ControllerConfig;
use serde::Deserialize;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

/// RunInstances with full user data must be readable.
const BODY_BYTES_LEAST: u64 = 32 << 10;
const BODY_BYTES_MOST: u64 = 64 << 20;
const ANSWER_CACHE_MIB_MOST: u64 = 64 << 10;
const CONNECTIONS_MOST: u64 = 1000;
/// On PostgreSQL one keeps the lock of whoever reconciles, and one may wait for another controller's transaction.
const CONNECTIONS_SHARED_LEAST: u64 = 3;
const INSTANCES_MOST: u64 = 1_000_000;
const CLIENT_TOKENS_MOST: u64 = 10_000_000;
const GROUPS_MOST: u64 = 100_000;
const RULES_MOST: u64 = 100_000;
/// EC2's own, whatever one pays.
const INTERFACE_GROUPS_MOST: u64 = 16;
const VPCS_MOST: u64 = 10_000;
const SUBNETS_MOST: u64 = 10_000;
const DHCP_OPTIONS_MOST: u64 = 100_000;
/// What clusters take.
const CIDR_BLOCKS_MOST: u64 = 50;
const GATEWAYS_MOST: u64 = 10_000;
const TABLES_MOST: u64 = 10_000;
const PREFIX_LISTS_MOST: u64 = 10_000;
const ADDRESSES_MOST: u64 = 100_000;
const INTERFACES_MOST: u64 = 100_000;
const PUBLIC_PREFIX_LEAST: u8 = 8;
/// A VXLAN's has 24 bits.
const SEGMENT_TAG_MOST: u32 = 0xff_ffff;
/// A year.
const SECS_MOST: u64 = 366 * 24 * 3600;

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub controller: ControllerConfig,
    pub api: ApiConfig,
    pub database: DatabaseConfig,
    pub secrets: SecretsConfig,
    #[serde(default)]
    pub limits: Limits,
    #[serde(default)]
    pub network: NetworkConfig,
    pub catalogue: CatalogueConfig,
    pub pki: PkiConfig,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApiConfig {
    #[serde(default = "default_listen")]
    pub listen: SocketAddr,
    pub region: String,
    #[serde(default)]
    pub also_accept_regions: Vec<String>,
    #[serde(default = "default_body_bytes_max")]
    pub body_bytes_max: usize,
    #[serde(default = "default_answer_cache_mib")]
    pub answer_cache_mib: usize,
}

fn default_listen() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 8773))
}

fn default_body_bytes_max() -> usize {
    1 << 20
}

fn default_answer_cache_mib() -> usize {
    32
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatabaseConfig {
    /// `sqlite:///path/file` or `postgres://…`.
    pub url: String,
    #[serde(default = "default_connections")]
    pub connections: u32,
}

fn default_connections() -> u32 {
    4
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecretsConfig {
    pub key_file: PathBuf,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    pub instances_per_account: usize,
    pub instances_per_request: i32,
    pub client_tokens_per_account: usize,
    pub vpcs_per_account: usize,
    pub subnets_per_vpc: usize,
    /// The first one too.
    pub cidr_blocks_per_vpc: usize,
    pub dhcp_options_per_account: usize,
    pub internet_gateways_per_account: usize,
    pub route_tables_per_vpc: usize,
    pub routes_per_table: usize,
    pub network_acls_per_vpc: usize,
    pub entries_per_network_acl: usize,
    pub nat_gateways_per_zone: usize,
    pub elastic_addresses_per_account: usize,
    pub prefix_lists_per_account: usize,
    pub security_groups_per_vpc: usize,
    /// Toward each side, and for IPv4 and IPv6 each.
    pub rules_per_security_group: usize,
    pub security_groups_per_interface: usize,
    /// Of those that are attached to nothing.
    pub network_interfaces_per_account: usize,
    /// Where its instance's type has no lower limit.
    pub addresses_per_interface: usize,
    pub pending_secs: u64,
    pub stopping_secs: u64,
    pub shutting_down_secs: u64,
    pub terminated_visible_secs: u64,
    pub cluster_silent_secs: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            instances_per_account: 20_000,
            instances_per_request: 1000,
            client_tokens_per_account: 100_000,
            vpcs_per_account: 100,
            subnets_per_vpc: 200,
            cidr_blocks_per_vpc: 5,
            dhcp_options_per_account: 200,
            internet_gateways_per_account: 100,
            route_tables_per_vpc: 200,
            routes_per_table: 50,
            network_acls_per_vpc: 200,
            entries_per_network_acl: 20,
            nat_gateways_per_zone: 50,
            elastic_addresses_per_account: 100,
            prefix_lists_per_account: 100,
            security_groups_per_vpc: 2500,
            rules_per_security_group: 60,
            security_groups_per_interface: 5,
            network_interfaces_per_account: 5000,
            addresses_per_interface: 50,
            pending_secs: 600,
            stopping_secs: 600,
            shutting_down_secs: 600,
            terminated_visible_secs: 3600,
            cluster_silent_secs: 10,
        }
    }
}

impl Limits {
    pub fn cluster_silent(&self) -> Duration {
        Duration::from_secs(self.cluster_silent_secs)
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NetworkConfig {
    /// Subnets that users make have a segment each, known between hosts by one of these tags.
    pub segment_tag_first: u32,
    pub segment_tag_last: u32,
    /// Ranges of which public addresses are given out.
    pub public_addresses: Vec<String>,
    /// What the default subnets of new accounts and zones are asked to do with launches that do not say it.
    pub default_subnets_public: bool,
}

impl Default for NetworkConfig {
    fn default() -> Self {
        Self {
            segment_tag_first: 4096,
            segment_tag_last: SEGMENT_TAG_MOST,
            public_addresses: Vec::new(),
            default_subnets_public: false,
        }
    }
}

impl NetworkConfig {
    pub fn segment_tags(&self) -> RangeInclusive<u32> {
        self.segment_tag_first..=self.segment_tag_last
    }

    /// As numbers, in order. A range's own address and that of its broadcasts are left out, unless it has just these.
    pub fn public_ranges(&self) -> Result<Vec<RangeInclusive<u32>>, String> {
        let wrong = |text: &str, why: &str| Err(format!("network.public_addresses: \"{text}\": {why}"));
        if self.public_addresses.len() > PUBLIC_RANGES_MAX {
            return Err(format!("network.public_addresses: more than {PUBLIC_RANGES_MAX} ranges"));
        }
        let mut ranges: Vec<(RangeInclusive<u32>, &str)> = Vec::new();
        for text in &self.public_addresses {
            let Ok(net) = net4(text) else { return wrong(text, "expecting a range such as 198.51.100.0/24") };
            if net.prefix < PUBLIC_PREFIX_LEAST || !text.starts_with(&net.address.to_string()) {
                return wrong(
                    text,
                    "expecting a range of prefix 8 or longer, beginning with its first address",
                );
            }
            let first = u32::from(net.address);
            let last = first | u32::MAX.checked_shr(net.prefix.into()).unwrap_or(0);
            let range = if net.prefix > 30 { first..=last } else { first + 1..=last - 1 };
            if let Some((_, other)) =
                ranges.iter().find(|(had, _)| had.start() <= &last && &first <= had.end())
            {
                return wrong(text, &format!("it overlaps {other}"));
            }
            ranges.push((range, text));
        }
        ranges.sort_by_key(|(range, _)| *range.start());
        Ok(ranges.into_iter().map(|(range, _)| range).collect())
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CatalogueConfig {
    pub instance_types: PathBuf,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PkiConfig {
    pub ca_dir: PathBuf,
    pub walrus_url: String,
}

impl Config {
    /// What parsing cannot see. Each message names its key.
    pub fn check(&self) -> Result<(), String> {
        let region = &self.api.region;
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if region.is_empty() || !region.bytes().all(plain) {
            return Err(format!("api.region = \"{region}\": lower-case letters, digits and dashes only"));
        }
        if !["sqlite:", "postgres:", "postgresql:"].iter().any(|s| self.database.url.starts_with(s)) {
            return Err("database.url: expecting sqlite:///… or postgres://…".to_owned());
        }
        if !self.pki.walrus_url.starts_with("https://") {
            return Err(format!("pki.walrus_url = \"{}\": must start with https://", self.pki.walrus_url));
        }
        self.network.public_ranges()?;
        self.check_ranges()
    }

    fn check_ranges(&self) -> Result<(), String> {
        let (api, limits, tags) = (&self.api, &self.limits, &self.network);
        let number = |value: usize| u64::try_from(value).unwrap_or(u64::MAX);
        let per_request = u64::try_from(limits.instances_per_request).unwrap_or(0);
        let tokens = number(limits.client_tokens_per_account);
        let connections_least =
            if self.database.url.starts_with("sqlite:") { 1 } else { CONNECTIONS_SHARED_LEAST };
        let ranges = [
            ("api.body_bytes_max", number(api.body_bytes_max), BODY_BYTES_LEAST, BODY_BYTES_MOST),
            ("api.answer_cache_mib", number(api.answer_cache_mib), 0, ANSWER_CACHE_MIB_MOST),
            (
                "database.connections",
                u64::from(self.database.connections),
                connections_least,
                CONNECTIONS_MOST,
            ),
            ("limits.instances_per_account", number(limits.instances_per_account), 1, INSTANCES_MOST),
            ("limits.instances_per_request", per_request, 1, INSTANCES_MOST),
            ("limits.client_tokens_per_account", tokens, 1, CLIENT_TOKENS_MOST),
            ("limits.vpcs_per_account", number(limits.vpcs_per_account), 1, VPCS_MOST),
            ("limits.subnets_per_vpc", number(limits.subnets_per_vpc), 1, SUBNETS_MOST),
            ("limits.cidr_blocks_per_vpc", number(limits.cidr_blocks_per_vpc), 1, CIDR_BLOCKS_MOST),
            (
                "limits.dhcp_options_per_account",
                number(limits.dhcp_options_per_account),
                1,
                DHCP_OPTIONS_MOST,
            ),
            (
                "limits.internet_gateways_per_account",
                number(limits.internet_gateways_per_account),
                1,
                GATEWAYS_MOST,
            ),
            ("limits.route_tables_per_vpc", number(limits.route_tables_per_vpc), 1, TABLES_MOST),
            ("limits.routes_per_table", number(limits.routes_per_table), 1, number(ROUTES_PER_TABLE_MAX)),
            ("limits.network_acls_per_vpc", number(limits.network_acls_per_vpc), 1, TABLES_MOST),
            (
                "limits.entries_per_network_acl",
                number(limits.entries_per_network_acl),
                1,
                number(ENTRIES_PER_ACL_MAX),
            ),
            ("limits.nat_gateways_per_zone", number(limits.nat_gateways_per_zone), 1, GATEWAYS_MOST),
            (
                "limits.elastic_addresses_per_account",
                number(limits.elastic_addresses_per_account),
                1,
                ADDRESSES_MOST,
            ),
            (
                "limits.network_interfaces_per_account",
                number(limits.network_interfaces_per_account),
                1,
                INTERFACES_MOST,
            ),
            (
                "limits.addresses_per_interface",
                number(limits.addresses_per_interface),
                1,
                number(ADDRESSES_PER_PORT_MAX),
            ),
            ("network.segment_tag_first", tags.segment_tag_first.into(), 1, SEGMENT_TAG_MOST.into()),
            (
                "network.segment_tag_last",
                tags.segment_tag_last.into(),
                tags.segment_tag_first.into(),
                SEGMENT_TAG_MOST.into(),
            ),
            (
                "limits.prefix_lists_per_account",
                number(limits.prefix_lists_per_account),
                1,
                PREFIX_LISTS_MOST,
            ),
            ("limits.security_groups_per_vpc", number(limits.security_groups_per_vpc), 1, GROUPS_MOST),
            ("limits.rules_per_security_group", number(limits.rules_per_security_group), 1, RULES_MOST),
            (
                "limits.security_groups_per_interface",
                number(limits.security_groups_per_interface),
                1,
                INTERFACE_GROUPS_MOST,
            ),
            ("limits.pending_secs", limits.pending_secs, 1, SECS_MOST),
            ("limits.stopping_secs", limits.stopping_secs, 1, SECS_MOST),
            ("limits.shutting_down_secs", limits.shutting_down_secs, 1, SECS_MOST),
            ("limits.terminated_visible_secs", limits.terminated_visible_secs, 1, SECS_MOST),
            ("limits.cluster_silent_secs", limits.cluster_silent_secs, 1, SECS_MOST),
        ];
        let wrong = ranges.into_iter().find(|(_, value, least, most)| !(least..=most).contains(&value));
        wrong.map_or(Ok(()), |(key, value, least, most)| {
            Err(format!("{key} = {value}: expecting a number from {least} to {most}"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = include_str!("../../deploy/config/clc.toml");

    #[test]
    fn the_example_file_is_right() {
        let config: Config = toml::from_str(EXAMPLE).unwrap();
        config.check().unwrap();
    }

    #[test]
    fn a_region_with_a_slash_is_refused_by_its_key() {
        let mut config: Config = toml::from_str(EXAMPLE).unwrap();
        config.api.region = "a/b".to_owned();
        assert!(config.check().unwrap_err().contains("api.region"));
    }

    #[test]
    fn public_addresses_are_all_but_the_ends_of_a_range() {
        let ranges = |texts: &[&str]| {
            let public_addresses = texts.iter().map(|text| (*text).to_owned()).collect();
            NetworkConfig { public_addresses, ..NetworkConfig::default() }.public_ranges()
        };
        let ip = |text: &str| u32::from(text.parse::<std::net::Ipv4Addr>().unwrap());
        let found = ranges(&["203.0.113.8/32", "198.51.100.0/29", "203.0.113.10/31"]).unwrap();
        let expected = [
            ip("198.51.100.1")..=ip("198.51.100.6"),
            ip("203.0.113.8")..=ip("203.0.113.8"),
            ip("203.0.113.10")..=ip("203.0.113.11"),
        ];
        assert_eq!(found, expected);
        let fault = ranges(&["198.51.100.0/24", "198.51.100.128/25"]).unwrap_err();
        assert_eq!(fault, "network.public_addresses: \"198.51.100.128/25\": it overlaps 198.51.100.0/24");
        assert_eq!(ranges(&[]).unwrap(), []);
        let fault = ranges(&["198.51.100.0/29"; PUBLIC_RANGES_MAX + 1]).unwrap_err();
        assert_eq!(fault, "network.public_addresses: more than 256 ranges");
    }

    #[test]
    fn a_number_that_nothing_could_work_with_is_refused_by_its_key() {
        let wrong = |change: fn(&mut Config), key: &str| {
            let mut config: Config = toml::from_str(EXAMPLE).unwrap();
            change(&mut config);
            let message = config.check().unwrap_err();
            assert!(message.starts_with(key), "{message}");
        };
        wrong(|c| c.api.body_bytes_max = 0, "api.body_bytes_max");
        wrong(|c| c.api.answer_cache_mib = usize::MAX, "api.answer_cache_mib");
        wrong(|c| c.database.connections = 0, "database.connections");
        let few = |c: &mut Config| {
            c.database = DatabaseConfig { url: "postgres://db/karri".to_owned(), connections: 2 };
        };
        wrong(few, "database.connections");
        wrong(|c| c.limits.instances_per_account = 0, "limits.instances_per_account");
        wrong(|c| c.limits.instances_per_request = -1, "limits.instances_per_request");
        wrong(|c| c.limits.client_tokens_per_account = 0, "limits.client_tokens_per_account");
        wrong(|c| c.limits.vpcs_per_account = 0, "limits.vpcs_per_account");
        wrong(|c| c.limits.subnets_per_vpc = 0, "limits.subnets_per_vpc");
        wrong(|c| c.limits.cidr_blocks_per_vpc = 51, "limits.cidr_blocks_per_vpc");
        wrong(|c| c.limits.dhcp_options_per_account = 0, "limits.dhcp_options_per_account");
        wrong(|c| c.network.segment_tag_first = 0, "network.segment_tag_first");
        wrong(|c| c.network.segment_tag_last = 4095, "network.segment_tag_last");
        wrong(|c| c.network.segment_tag_last = 1 << 24, "network.segment_tag_last");
        wrong(|c| c.limits.internet_gateways_per_account = 0, "limits.internet_gateways_per_account");
        wrong(|c| c.limits.route_tables_per_vpc = 0, "limits.route_tables_per_vpc");
        wrong(|c| c.limits.routes_per_table = usize::MAX, "limits.routes_per_table");
        wrong(|c| c.limits.network_acls_per_vpc = 0, "limits.network_acls_per_vpc");
        wrong(|c| c.limits.entries_per_network_acl = 0, "limits.entries_per_network_acl");
        wrong(|c| c.limits.nat_gateways_per_zone = 0, "limits.nat_gateways_per_zone");
        wrong(|c| c.limits.elastic_addresses_per_account = 0, "limits.elastic_addresses_per_account");
        wrong(|c| c.limits.network_interfaces_per_account = 0, "limits.network_interfaces_per_account");
        wrong(|c| c.limits.addresses_per_interface = 257, "limits.addresses_per_interface");
        for bad in ["", "198.51.100.0", "198.51.100.7/24", "10.0.0.0/7", "2001:db8::/64"] {
            let mut config: Config = toml::from_str(EXAMPLE).unwrap();
            config.network.public_addresses = vec![bad.to_owned()];
            assert!(config.check().unwrap_err().starts_with("network.public_addresses"), "{bad}");
        }
        wrong(|c| c.limits.prefix_lists_per_account = 0, "limits.prefix_lists_per_account");
        wrong(|c| c.limits.security_groups_per_vpc = 0, "limits.security_groups_per_vpc");
        wrong(|c| c.limits.rules_per_security_group = 0, "limits.rules_per_security_group");
        wrong(|c| c.limits.security_groups_per_interface = 17, "limits.security_groups_per_interface");
        wrong(|c| c.limits.pending_secs = 0, "limits.pending_secs");
        wrong(|c| c.limits.stopping_secs = u64::MAX, "limits.stopping_secs");
        wrong(|c| c.limits.shutting_down_secs = 0, "limits.shutting_down_secs");
        wrong(|c| c.limits.terminated_visible_secs = 0, "limits.terminated_visible_secs");
        wrong(|c| c.limits.cluster_silent_secs = 0, "limits.cluster_silent_secs");
        wrong(|c| c.pki.walrus_url = "http://x".into(), "pki.walrus_url");
    }
}
