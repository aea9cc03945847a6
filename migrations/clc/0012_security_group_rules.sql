-- Rules of security groups, each with an id of its own. The two rules of groups that are here already are written
-- by the controller, right after this, in the same transaction: their ids are computed.
CREATE TABLE security_group_rules (
    id TEXT PRIMARY KEY,
    -- Of the counter `group_rules`: who follows the numbers hears of every change of what a rule lets through.
    change_number BIGINT NOT NULL,
    group_id TEXT NOT NULL REFERENCES security_groups (id) ON DELETE CASCADE,
    -- Of the group.
    account TEXT NOT NULL,
    egress BIGINT NOT NULL,
    -- -1, tcp, udp, icmp, icmpv6, or a number.
    protocol TEXT NOT NULL,
    -- Type and code of ICMP; -1: all of them.
    from_port BIGINT NOT NULL,
    to_port BIGINT NOT NULL,
    -- An IPv4 or IPv6 network, or the id of a group.
    peer TEXT NOT NULL,
    -- Whose that group is.
    peer_account TEXT,
    description TEXT,
    UNIQUE (group_id, egress, protocol, from_port, to_port, peer)
);
CREATE INDEX security_group_rules_by_account ON security_group_rules (account);
CREATE INDEX security_group_rules_by_change ON security_group_rules (change_number);
CREATE INDEX security_group_rules_by_peer ON security_group_rules (peer);

-- Rules that are gone, for a while, so that who follows the numbers hears of it.
CREATE TABLE security_group_rules_gone (
    id TEXT PRIMARY KEY,
    group_id TEXT NOT NULL,
    change_number BIGINT NOT NULL
);
CREATE INDEX security_group_rules_gone_by_change ON security_group_rules_gone (change_number);

-- `group_rules_swept`: the newest number of a gone rule that is not there any more.
INSERT INTO counters (name, value) VALUES ('group_rules', 0), ('group_rules_swept', 0);
