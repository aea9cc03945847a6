//! A database of an earlier version, brought forward: nothing that was in it is lost.

use crate::support::{Database, database};
use karri_clc::app::tag::Taggable;
use karri_clc::store::Store;
use karri_clc::store::port::{PortAddress, port_address_insert_in_txn, port_instance_in_txn};
use karri_clc::store::security_group::{rule_delete_in_txn, rules_turn_in_txn};
use sqlx::{AnyPool, Executor as _};

/// As they were published.
const BEFORE_TAGS_PER_ACCOUNT: [(&str, &str); 6] = [
    ("0001_foundation", include_str!("../../../migrations/clc/0001_foundation.sql")),
    ("0002_image_names", include_str!("../../../migrations/clc/0002_image_names.sql")),
    ("0003_what_launches_said", include_str!("../../../migrations/clc/0003_what_launches_said.sql")),
    ("0004_signing_certificates", include_str!("../../../migrations/clc/0004_signing_certificates.sql")),
    ("0005_names_and_tokens", include_str!("../../../migrations/clc/0005_names_and_tokens.sql")),
    ("0006_images_from_bundles", include_str!("../../../migrations/clc/0006_images_from_bundles.sql")),
];

/// A database as a controller left it that knew these migrations, with these rows.
async fn left(url: &str, migrations: &[(&str, &'static str)], rows: &'static str) {
    sqlx::any::install_default_drivers();
    let url = if url.starts_with("sqlite:") { format!("{url}?mode=rwc") } else { url.to_owned() };
    let pool = AnyPool::connect(&url).await.unwrap();
    let versions = "CREATE TABLE schema_versions (version BIGINT PRIMARY KEY, name TEXT NOT NULL)";
    pool.execute(versions).await.unwrap();
    for (at, (name, text)) in migrations.iter().enumerate() {
        pool.execute(sqlx::raw_sql(*text)).await.unwrap();
        let record = sqlx::query("INSERT INTO schema_versions (version, name) VALUES ($1, $2)");
        record.bind(at as i64 + 1).bind(*name).execute(&pool).await.unwrap();
    }
    pool.execute(sqlx::raw_sql(rows)).await.unwrap();
    pool.close().await;
}

async fn tags_keep_their_accounts(engine: Database) {
    let directory = tempfile::tempdir().unwrap();
    let (config, _kept) = database(directory.path(), engine).await;
    let rows = "INSERT INTO tags (resource_id, key, value, account, resource_type) VALUES \
        ('ami-1', 'a', 'one', '111111111111', 'image'), ('ami-1', 'b', '', '111111111111', 'image'), \
        ('vpc-2', 'a', 'two', '222222222222', 'vpc')";
    left(&config.url, &BEFORE_TAGS_PER_ACCOUNT, rows).await;
    let store = Store::open(&config).await.unwrap();
    let first = store.tags_of_account("111111111111", Taggable::Image).await.unwrap();
    assert_eq!(first["ami-1"], [("a".into(), "one".into()), ("b".into(), "".into())]);
    let second = store.tag_list("222222222222").await.unwrap();
    let second: Vec<_> = second.iter().map(|tag| (tag.resource_id.as_str(), tag.value.as_str())).collect();
    assert_eq!(second, [("vpc-2", "two")]);
    store.close().await;
    // Opened again, nothing is done twice.
    let store = Store::open(&config).await.unwrap();
    assert_eq!(store.tag_list("111111111111").await.unwrap().len(), 2);
    store.close().await;
}

/// As they were published, after the ones above.
const BEFORE_GROUP_RULES: [(&str, &str); 5] = [
    ("0007_tags_per_account", include_str!("../../../migrations/clc/0007_tags_per_account.sql")),
    ("0008_images_to_delete", include_str!("../../../migrations/clc/0008_images_to_delete.sql")),
    ("0009_node_certificates", include_str!("../../../migrations/clc/0009_node_certificates.sql")),
    ("0010_image_tasks", include_str!("../../../migrations/clc/0010_image_tasks.sql")),
    ("0011_blob_releases", include_str!("../../../migrations/clc/0011_blob_releases.sql")),
];

/// A group that is older than rules are has the two that clients were told of, and keeps them only as long as its
/// owner does.
async fn default_groups_get_their_rules_once(engine: Database) {
    let directory = tempfile::tempdir().unwrap();
    let (config, _kept) = database(directory.path(), engine).await;
    let rows = "INSERT INTO vpcs (id, account, cidr, is_default) VALUES ('vpc-00000001', '111111111111', '172.31.0.0/16', 1); \
        INSERT INTO security_groups (id, account, vpc_id, name, description) VALUES \
        ('sg-0123456789abcdef0', '111111111111', 'vpc-00000001', 'default', 'default VPC security group'); \
        INSERT INTO tags (resource_id, key, value, account, resource_type) VALUES \
        ('sgr-16d97b7a2a089d118', 'kept', 'yes', '111111111111', 'security-group-rule')";
    left(&config.url, &[&BEFORE_TAGS_PER_ACCOUNT[..], &BEFORE_GROUP_RULES[..]].concat(), rows).await;
    let store = Store::open(&config).await.unwrap();
    let rules = store.rules_of_account("111111111111").await.unwrap();
    let mut ids: Vec<&str> = rules.iter().map(|rule| rule.id.as_str()).collect();
    ids.sort_unstable();
    let mut expected = ["sgr-16d97b7a2a089d118", "sgr-db49f944179a4c547"];
    expected.sort_unstable();
    assert_eq!(ids, expected, "as they were told before");
    let tags = store.tags_of_account("111111111111", Taggable::SecurityGroupRule).await.unwrap();
    assert_eq!(tags["sgr-16d97b7a2a089d118"], [("kept".into(), "yes".into())]);
    let mut tx = store.begin().await.unwrap();
    let change = rules_turn_in_txn(&mut tx).await.unwrap();
    rule_delete_in_txn(&mut tx, change, &rules[0]).await.unwrap();
    tx.commit().await.unwrap();
    store.close().await;
    let store = Store::open(&config).await.unwrap();
    assert_eq!(
        store.rules_of_account("111111111111").await.unwrap(),
        rules[1..],
        "what was taken stays away"
    );
    store.close().await;
}

/// As they were published, after the ones above.
const BEFORE_NETWORKS: [(&str, &str); 3] = [
    ("0012_security_group_rules", include_str!("../../../migrations/clc/0012_security_group_rules.sql")),
    ("0013_snapshots", include_str!("../../../migrations/clc/0013_snapshots.sql")),
    ("0014_image_requests", include_str!("../../../migrations/clc/0014_image_requests.sql")),
];

/// A default VPC keeps its ids and ranges, and has what every VPC has from its beginning; who has an address keeps it.
async fn older_vpcs_get_what_every_vpc_has(engine: Database) {
    let directory = tempfile::tempdir().unwrap();
    let (config, _kept) = database(directory.path(), engine).await;
    let rows = "INSERT INTO vpcs (id, account, cidr, is_default) VALUES ('vpc-00000001', '111111111111', '172.31.0.0/16', 1); \
        INSERT INTO subnets (id, account, vpc_id, zone, cidr, gateway, is_default) VALUES \
        ('subnet-00000002', '111111111111', 'vpc-00000001', 'zone-a', '10.20.16.0/20', '10.20.16.1', 1); \
        INSERT INTO reservations (id, account, request_digest, created_at) VALUES ('r-00000001', '111111111111', '', 0); \
        INSERT INTO instances (id, change_number, account, reservation_id, cluster, zone, spec, shutdown_behavior, \
        disable_api_stop, disable_api_termination, launched_at, desired, generation, reboots, force_stop, request_id, state, \
        acknowledged, forgotten, transition, said) VALUES ('i-00000001', 1, '111111111111', 'r-00000001', 'a', 'zone-a', '{}', \
        'stop', 0, 0, 0, 'running', 1, 0, 0, '', 'running', 1, 0, '', '{}'); \
        INSERT INTO ports (id, cluster, private_ip, instance_id) VALUES ('eni-00000001', 'a', '10.20.16.9', 'i-00000001')";
    let before = [&BEFORE_TAGS_PER_ACCOUNT[..], &BEFORE_GROUP_RULES[..], &BEFORE_NETWORKS[..]].concat();
    left(&config.url, &before, rows).await;
    let store = Store::open(&config).await.unwrap();
    let vpc = store.vpc_fetch("vpc-00000001").await.unwrap().unwrap();
    assert_eq!(
        (vpc.cidr.as_str(), vpc.dhcp_options_id.as_deref()),
        ("10.20.0.0/16", Some("dopt-00000111111111111"))
    );
    assert!(vpc.is_default && vpc.dns_support && vpc.dns_hostnames && vpc.transit == 0);
    let subnet = store.subnet_fetch("subnet-00000002").await.unwrap().unwrap();
    assert!(subnet.is_flat() && subnet.is_default && subnet.cidr == "10.20.16.0/20");
    let routes = store.route_list("111111111111").await.unwrap();
    assert_eq!(
        (routes[0].route_table_id.as_str(), routes[0].target.as_str()),
        ("rtb-00000001", "igw-00000001")
    );
    let acls = store.network_acl_association_list("111111111111").await.unwrap();
    assert_eq!((acls[0].acl_id.as_str(), acls[0].id.as_str()), ("acl-00000001", "aclassoc-00000002"));
    assert_eq!(store.network_acl_entry_list("111111111111").await.unwrap().len(), 2);
    let told = store.networks_changed_after(None).await.unwrap().unwrap();
    assert_eq!((told.shapes.len(), told.gone.len(), told.to), (4, 0, 1));
    store.close().await;
    // Its address is taken, in the flat network of its cluster alone.
    let pool = AnyPool::connect(&config.url).await.unwrap();
    let port = "INSERT INTO ports (id, cluster, network, private_ip, instance_id) VALUES ($1, 'a', $2, '10.20.16.9', 'i-00000001')";
    let insert = async |id: &str, network: &str| {
        sqlx::query(port).bind(id.to_owned()).bind(network.to_owned()).execute(&pool).await
    };
    assert!(insert("eni-00000002", "flat/a").await.is_err());
    insert("eni-00000003", "subnet-00000009").await.unwrap();
    pool.close().await;
}

/// As they were published, after the ones above.
const BEFORE_INTERFACES: [(&str, &str); 3] = [
    ("0015_networks", include_str!("../../../migrations/clc/0015_networks.sql")),
    ("0016_bundle_tasks", include_str!("../../../migrations/clc/0016_bundle_tasks.sql")),
    ("0017_public_addresses", include_str!("../../../migrations/clc/0017_public_addresses.sql")),
];

/// A port keeps its address and its instance, and one of a NAT gateway keeps having none.
async fn ports_keep_their_addresses(engine: Database) {
    let directory = tempfile::tempdir().unwrap();
    let (config, _kept) = database(directory.path(), engine).await;
    let rows = "INSERT INTO reservations (id, account, request_digest, created_at) VALUES ('r-00000001', '111111111111', '', 0); \
        INSERT INTO instances (id, change_number, account, reservation_id, cluster, zone, spec, shutdown_behavior, \
        disable_api_stop, disable_api_termination, launched_at, desired, generation, reboots, force_stop, request_id, state, \
        acknowledged, forgotten, transition, said) VALUES ('i-00000001', 1, '111111111111', 'r-00000001', 'a', 'zone-a', '{}', \
        'stop', 0, 0, 0, 'running', 1, 0, 0, '', 'running', 1, 0, '', '{}'); \
        INSERT INTO ports (id, cluster, network, private_ip, instance_id) VALUES \
        ('eni-00000001', 'a', 'flat/a', '10.20.16.9', 'i-00000001'), ('eni-00000002', 'a', 'subnet-00000002', '10.0.0.9', NULL)";
    let before =
        [&BEFORE_TAGS_PER_ACCOUNT[..], &BEFORE_GROUP_RULES[..], &BEFORE_NETWORKS[..], &BEFORE_INTERFACES[..]];
    left(&config.url, &before.concat(), rows).await;
    let store = Store::open(&config).await.unwrap();
    let mut tx = store.begin().await.unwrap();
    let holder = port_instance_in_txn(&mut tx, "eni-00000001").await.unwrap();
    assert_eq!(holder.as_deref(), Some("i-00000001"));
    let one_more = |port, network, address: [u8; 4]| PortAddress {
        port,
        cluster: "a",
        network,
        address: address.into(),
        instance: None,
    };
    let flat = one_more("eni-00000003", "flat/a", [10, 20, 16, 9]);
    assert!(!port_address_insert_in_txn(&mut tx, flat).await.unwrap(), "it is taken");
    let beside = one_more("eni-00000001", "flat/a", [10, 20, 16, 10]);
    assert!(port_address_insert_in_txn(&mut tx, beside).await.unwrap(), "a port may have another one");
    drop(tx);
    let alone = store.addresses_of_no_instance().await.unwrap();
    assert_eq!(alone, [("subnet-00000002".to_owned(), [10, 0, 0, 9].into())]);
    assert_eq!(store.network_interface_list("111111111111").await.unwrap(), []);
    store.close().await;
}

mod ports_keep_their_addresses {
    use crate::support::Database;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn on_sqlite() {
        super::ports_keep_their_addresses(Database::Sqlite).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn on_postgres() {
        super::ports_keep_their_addresses(Database::Postgres).await;
    }
}

mod older_vpcs_get_what_every_vpc_has {
    use crate::support::Database;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn on_sqlite() {
        super::older_vpcs_get_what_every_vpc_has(Database::Sqlite).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn on_postgres() {
        super::older_vpcs_get_what_every_vpc_has(Database::Postgres).await;
    }
}

mod default_groups_get_their_rules_once {
    use crate::support::Database;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn on_sqlite() {
        super::default_groups_get_their_rules_once(Database::Sqlite).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn on_postgres() {
        super::default_groups_get_their_rules_once(Database::Postgres).await;
    }
}

mod tags_keep_their_accounts {
    use crate::support::Database;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn on_sqlite() {
        super::tags_keep_their_accounts(Database::Sqlite).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn on_postgres() {
        super::tags_keep_their_accounts(Database::Postgres).await;
    }
}
