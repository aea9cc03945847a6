-- Network interfaces that are attached to nothing: made by themselves, or left by their instances. Those of instances are
-- in the instances' own rows, and move between there and here.
CREATE TABLE network_interfaces (
    id TEXT PRIMARY KEY,
    account TEXT NOT NULL,
    cluster TEXT NOT NULL,
    zone TEXT NOT NULL,
    subnet_id TEXT NOT NULL,
    -- JSON: as in the specification of an instance.
    port TEXT NOT NULL,
    description TEXT NOT NULL
);
CREATE INDEX network_interfaces_by_account ON network_interfaces (account);
CREATE INDEX network_interfaces_by_subnet ON network_interfaces (subnet_id);

-- An interface may have several addresses. SQLite cannot give a table another key, so the rows move.
CREATE TABLE port_addresses (
    -- The network interface.
    id TEXT NOT NULL,
    cluster TEXT NOT NULL,
    -- A subnet's id, or `flat/` and the name of the cluster.
    network TEXT NOT NULL,
    private_ip TEXT NOT NULL,
    -- None: a NAT gateway's, or of an interface that is attached to nothing.
    instance_id TEXT REFERENCES instances (id) ON DELETE CASCADE,
    -- No two of a network have one address, whatever a controller believes.
    PRIMARY KEY (network, private_ip)
);
INSERT INTO port_addresses (id, cluster, network, private_ip, instance_id)
    SELECT id, cluster, network, private_ip, instance_id FROM ports;
DROP TABLE ports;
ALTER TABLE port_addresses RENAME TO ports;
CREATE INDEX ports_by_id ON ports (id);
CREATE INDEX ports_by_instance ON ports (instance_id);
