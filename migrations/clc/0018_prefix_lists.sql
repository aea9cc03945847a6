-- Managed prefix lists: ranges under one id, which rules of security groups and routes name.
CREATE TABLE prefix_lists (
    id TEXT PRIMARY KEY,
    account TEXT NOT NULL,
    name TEXT NOT NULL,
    -- EC2's word: IPv4 or IPv6.
    family TEXT NOT NULL,
    -- So many rules, or routes, it counts as wherever it is named.
    max_entries BIGINT NOT NULL,
    version BIGINT NOT NULL,
    -- What was before it is nowhere any more.
    oldest_version BIGINT NOT NULL,
    -- EC2's word for what was done with it last.
    state TEXT NOT NULL
);
CREATE INDEX prefix_lists_by_account ON prefix_lists (account);

-- Each entry with the versions that have it: a change writes what it changes, however long the list is.
CREATE TABLE prefix_list_entries (
    list_id TEXT NOT NULL REFERENCES prefix_lists (id) ON DELETE CASCADE,
    cidr TEXT NOT NULL,
    since_version BIGINT NOT NULL,
    -- The first version without it; none: the newest version has it.
    until_version BIGINT,
    description TEXT,
    PRIMARY KEY (list_id, cidr, since_version)
);
CREATE INDEX routes_by_destination ON routes (destination);
