-- Public addresses that are given out: elastic ones, which are their account's until it releases them, and those that
-- instances get at their start and lose with their stop.
CREATE TABLE public_addresses (
    -- The address as a number: a free one is found by its place among the others.
    number BIGINT PRIMARY KEY,
    account TEXT NOT NULL,
    -- None: an instance's own.
    allocation_id TEXT UNIQUE,
    -- None: it leads nowhere, or is an instance's own, which EC2 gives no id.
    association_id TEXT UNIQUE,
    -- What it leads to: all of these but one of the two, or none.
    port_id TEXT,
    private_ip TEXT,
    vpc_id TEXT,
    subnet_id TEXT,
    instance_id TEXT,
    nat_gateway_id TEXT,
    UNIQUE (port_id, private_ip)
);
CREATE INDEX public_addresses_by_account ON public_addresses (account);
CREATE INDEX public_addresses_by_instance ON public_addresses (instance_id);
CREATE INDEX public_addresses_by_vpc ON public_addresses (vpc_id);

-- NAT gateways. One that is deleted can be described for a while.
CREATE TABLE nat_gateways (
    id TEXT PRIMARY KEY,
    account TEXT NOT NULL,
    vpc_id TEXT NOT NULL,
    subnet_id TEXT NOT NULL,
    zone TEXT NOT NULL,
    port_id TEXT NOT NULL,
    private_ip TEXT NOT NULL,
    -- None: a private one.
    public_ip TEXT,
    allocation_id TEXT,
    association_id TEXT,
    -- Why it could not be made.
    failure_code TEXT,
    failure_message TEXT,
    created_at BIGINT NOT NULL,
    deleted_at BIGINT,
    -- What it is becoming, it is by then.
    settled_at BIGINT NOT NULL,
    -- Deleted or failed, it is visible until then.
    purge_at BIGINT
);
CREATE INDEX nat_gateways_by_account ON nat_gateways (account);
CREATE INDEX nat_gateways_by_subnet ON nat_gateways (subnet_id);

-- What a client token made, as long as that is there.
CREATE TABLE creation_tokens (
    account TEXT NOT NULL,
    client_token TEXT NOT NULL,
    request_digest TEXT NOT NULL,
    resource_id TEXT NOT NULL,
    PRIMARY KEY (account, client_token)
);
CREATE INDEX creation_tokens_by_resource ON creation_tokens (resource_id);

-- The address that was given out last, as a number.
INSERT INTO counters (name, value) VALUES ('public_addresses', 0);

-- A port may also be a NAT gateway's. SQLite cannot make a column optional, so the rows move.
CREATE TABLE ports_of_all (
    id TEXT PRIMARY KEY,
    cluster TEXT NOT NULL,
    -- A subnet's id, or `flat/` and the name of the cluster.
    network TEXT NOT NULL,
    private_ip TEXT NOT NULL,
    -- None: a NAT gateway's.
    instance_id TEXT REFERENCES instances (id) ON DELETE CASCADE,
    -- No two of a network have one address, whatever a controller believes.
    UNIQUE (network, private_ip)
);
INSERT INTO ports_of_all (id, cluster, network, private_ip, instance_id)
    SELECT id, cluster, network, private_ip, instance_id FROM ports;
DROP TABLE ports;
ALTER TABLE ports_of_all RENAME TO ports;
CREATE INDEX ports_by_instance ON ports (instance_id);
