-- VPCs as users make them, and what belongs to each. Default VPCs keep their rows: their subnets lie in the flat
-- networks of the zones. What every VPC has from its beginning they get here, with ids of the same digits.

-- What guests are told by DHCP.
CREATE TABLE dhcp_options (
    id TEXT PRIMARY KEY,
    account TEXT NOT NULL,
    -- What the account's new VPCs get.
    is_default BIGINT NOT NULL,
    -- JSON: pairs of a name and its values. That of a default set is empty: it follows the region.
    options TEXT NOT NULL
);
CREATE INDEX dhcp_options_by_account ON dhcp_options (account);

ALTER TABLE vpcs ADD COLUMN dns_support BIGINT NOT NULL DEFAULT 1;
ALTER TABLE vpcs ADD COLUMN dns_hostnames BIGINT NOT NULL DEFAULT 1;
ALTER TABLE vpcs ADD COLUMN usage_metrics BIGINT NOT NULL DEFAULT 0;
-- None: EC2's word for that is "default", too.
ALTER TABLE vpcs ADD COLUMN dhcp_options_id TEXT REFERENCES dhcp_options (id);
-- The segment by which its routers in several clusters reach each other; 0: it has none.
ALTER TABLE vpcs ADD COLUMN transit BIGINT NOT NULL DEFAULT 0;
CREATE INDEX vpcs_by_dhcp_options ON vpcs (dhcp_options_id);

-- Beside the first, which is the VPC's own column.
CREATE TABLE vpc_ranges (
    association_id TEXT PRIMARY KEY,
    vpc_id TEXT NOT NULL REFERENCES vpcs (id) ON DELETE CASCADE,
    cidr TEXT NOT NULL
);
CREATE INDEX vpc_ranges_by_vpc ON vpc_ranges (vpc_id);

-- The segment of the subnet's frames; 0: the flat network of the zone.
ALTER TABLE subnets ADD COLUMN tag BIGINT NOT NULL DEFAULT 0;
ALTER TABLE subnets ADD COLUMN map_public_ip BIGINT NOT NULL DEFAULT 0;
CREATE INDEX subnets_by_vpc ON subnets (vpc_id);

-- Tags that are given out, each to one subnet or VPC of the cloud.
CREATE TABLE segment_tags (
    tag BIGINT PRIMARY KEY,
    holder TEXT NOT NULL UNIQUE
);

CREATE TABLE internet_gateways (
    id TEXT PRIMARY KEY,
    account TEXT NOT NULL,
    -- The VPC that it is attached to; a VPC has one at most.
    vpc_id TEXT UNIQUE REFERENCES vpcs (id) ON DELETE SET NULL
);
CREATE INDEX internet_gateways_by_account ON internet_gateways (account);

CREATE TABLE route_tables (
    id TEXT PRIMARY KEY,
    account TEXT NOT NULL,
    vpc_id TEXT NOT NULL REFERENCES vpcs (id) ON DELETE CASCADE
);
CREATE INDEX route_tables_by_account ON route_tables (account);
CREATE INDEX route_tables_by_vpc ON route_tables (vpc_id);

-- Beside those to the VPC's own ranges, which every table has.
CREATE TABLE routes (
    route_table_id TEXT NOT NULL REFERENCES route_tables (id) ON DELETE CASCADE,
    destination TEXT NOT NULL,
    -- The id of what takes the packets. What it names may be no more: then they go nowhere.
    target TEXT NOT NULL,
    -- EC2's word for how it came: CreateRouteTable, CreateRoute, EnableVgwRoutePropagation.
    origin TEXT NOT NULL,
    PRIMARY KEY (route_table_id, destination)
);
CREATE INDEX routes_by_target ON routes (target);

CREATE TABLE route_table_associations (
    id TEXT PRIMARY KEY,
    route_table_id TEXT NOT NULL REFERENCES route_tables (id) ON DELETE CASCADE,
    vpc_id TEXT NOT NULL REFERENCES vpcs (id) ON DELETE CASCADE,
    -- None: it is the VPC's main table, for every subnet without an association of its own.
    subnet_id TEXT UNIQUE REFERENCES subnets (id) ON DELETE CASCADE
);
CREATE UNIQUE INDEX route_table_associations_main ON route_table_associations (vpc_id) WHERE subnet_id IS NULL;
CREATE INDEX route_table_associations_by_table ON route_table_associations (route_table_id);

CREATE TABLE network_acls (
    id TEXT PRIMARY KEY,
    account TEXT NOT NULL,
    vpc_id TEXT NOT NULL REFERENCES vpcs (id) ON DELETE CASCADE,
    is_default BIGINT NOT NULL
);
CREATE INDEX network_acls_by_account ON network_acls (account);
CREATE INDEX network_acls_by_vpc ON network_acls (vpc_id);

-- What no entry is about is refused: that entry, 32767, is nowhere written.
CREATE TABLE network_acl_entries (
    acl_id TEXT NOT NULL REFERENCES network_acls (id) ON DELETE CASCADE,
    egress BIGINT NOT NULL,
    number BIGINT NOT NULL,
    -- As those of security group rules.
    protocol TEXT NOT NULL,
    from_port BIGINT NOT NULL,
    to_port BIGINT NOT NULL,
    allow BIGINT NOT NULL,
    -- An IPv4 or IPv6 network.
    cidr TEXT NOT NULL,
    PRIMARY KEY (acl_id, egress, number)
);

-- Every subnet has one.
CREATE TABLE network_acl_associations (
    id TEXT PRIMARY KEY,
    acl_id TEXT NOT NULL REFERENCES network_acls (id) ON DELETE CASCADE,
    subnet_id TEXT NOT NULL UNIQUE REFERENCES subnets (id) ON DELETE CASCADE
);
CREATE INDEX network_acl_associations_by_acl ON network_acl_associations (acl_id);

-- What clusters are told of VPCs follows from the rows above. Each thing that is told has the number of its newest change
-- here, of the counter `networks`. What is gone stays for a while, so that who follows the numbers hears of it.
CREATE TABLE network_changes (
    -- As in `subnet/subnet-0123456789abcdef0`.
    key TEXT PRIMARY KEY,
    change_number BIGINT NOT NULL,
    gone BIGINT NOT NULL
);
CREATE INDEX network_changes_by_change ON network_changes (change_number);

-- `networks_swept`: the newest number of what is gone and not there any more. `segment_tags`: the tag that was given
-- out last.
INSERT INTO counters (name, value) VALUES ('networks', 0), ('networks_swept', 0), ('segment_tags', 0);

-- What older VPCs are to have had from their beginning.
INSERT INTO dhcp_options (id, account, is_default, options)
    SELECT DISTINCT 'dopt-00000' || account, account, 1, '[]' FROM vpcs;
UPDATE vpcs SET dhcp_options_id = 'dopt-00000' || account;
INSERT INTO route_tables (id, account, vpc_id) SELECT 'rtb-' || substr(id, 5), account, id FROM vpcs;
INSERT INTO route_table_associations (id, route_table_id, vpc_id, subnet_id)
    SELECT 'rtbassoc-' || substr(id, 5), 'rtb-' || substr(id, 5), id, NULL FROM vpcs;
INSERT INTO internet_gateways (id, account, vpc_id)
    SELECT 'igw-' || substr(id, 5), account, id FROM vpcs WHERE is_default = 1;
INSERT INTO routes (route_table_id, destination, target, origin)
    SELECT 'rtb-' || substr(id, 5), '0.0.0.0/0', 'igw-' || substr(id, 5), 'CreateRoute' FROM vpcs WHERE is_default = 1;
INSERT INTO network_acls (id, account, vpc_id, is_default) SELECT 'acl-' || substr(id, 5), account, id, 1 FROM vpcs;
INSERT INTO network_acl_entries (acl_id, egress, number, protocol, from_port, to_port, allow, cidr)
    SELECT 'acl-' || substr(id, 5), 0, 100, '-1', -1, -1, 1, '0.0.0.0/0' FROM vpcs;
INSERT INTO network_acl_entries (acl_id, egress, number, protocol, from_port, to_port, allow, cidr)
    SELECT 'acl-' || substr(id, 5), 1, 100, '-1', -1, -1, 1, '0.0.0.0/0' FROM vpcs;
INSERT INTO network_acl_associations (id, acl_id, subnet_id)
    SELECT 'aclassoc-' || substr(id, 8), 'acl-' || substr(vpc_id, 5), id FROM subnets;
INSERT INTO network_changes (key, change_number, gone) SELECT 'vpc/' || id, 1, 0 FROM vpcs;
INSERT INTO network_changes (key, change_number, gone) SELECT 'subnet/' || id, 1, 0 FROM subnets;
INSERT INTO network_changes (key, change_number, gone) SELECT 'route-table/' || id, 1, 0 FROM route_tables;
INSERT INTO network_changes (key, change_number, gone) SELECT 'acl/' || id, 1, 0 FROM network_acls;
UPDATE counters SET value = 1 WHERE name = 'networks';

-- Addresses belong to subnets with a segment of their own, or to the flat network of a cluster. SQLite cannot give a
-- table another key, so the rows move.
CREATE TABLE ports_by_network (
    id TEXT PRIMARY KEY,
    cluster TEXT NOT NULL,
    -- A subnet's id, or `flat/` and the name of the cluster.
    network TEXT NOT NULL,
    private_ip TEXT NOT NULL,
    instance_id TEXT NOT NULL REFERENCES instances (id) ON DELETE CASCADE,
    -- No two instances of a network have one address, whatever a controller believes.
    UNIQUE (network, private_ip)
);
INSERT INTO ports_by_network (id, cluster, network, private_ip, instance_id)
    SELECT id, cluster, 'flat/' || cluster, private_ip, instance_id FROM ports;
DROP TABLE ports;
ALTER TABLE ports_by_network RENAME TO ports;
CREATE INDEX ports_by_instance ON ports (instance_id);
