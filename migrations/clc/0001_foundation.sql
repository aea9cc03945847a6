-- The cloud controller's truth: who there is, and what they want.
-- Only TEXT and BIGINT, so that the same statements work on SQLite and PostgreSQL. Times are Unix
-- milliseconds, truth values 0 and 1, structures JSON.

-- One row per thing that is counted. `instances` numbers every change of an instance row, in commit
-- order: taking the next number locks the row, so it also makes writers wait for each other.
CREATE TABLE counters (
    name TEXT PRIMARY KEY,
    value BIGINT NOT NULL
);
INSERT INTO counters (name, value) VALUES ('instances', 0), ('identities', 0), ('clusters', 0);

CREATE TABLE accounts (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    administrator BIGINT NOT NULL,
    created_at BIGINT NOT NULL
);

CREATE TABLE users (
    account TEXT NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    -- AIDA…: what GetCallerIdentity calls UserId.
    id TEXT NOT NULL UNIQUE,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (account, name)
);

CREATE TABLE user_policies (
    account TEXT NOT NULL,
    user_name TEXT NOT NULL,
    name TEXT NOT NULL,
    document TEXT NOT NULL,
    PRIMARY KEY (account, user_name, name),
    FOREIGN KEY (account, user_name) REFERENCES users (account, name) ON DELETE CASCADE
);

CREATE TABLE access_keys (
    id TEXT PRIMARY KEY,
    account TEXT NOT NULL,
    user_name TEXT NOT NULL,
    -- Encrypted with a key that is not in this database.
    sealed_secret TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    FOREIGN KEY (account, user_name) REFERENCES users (account, name) ON DELETE CASCADE
);

CREATE TABLE join_tokens (
    -- SHA-256 of the secret: who reads the database cannot join.
    secret_hash TEXT PRIMARY KEY,
    cluster TEXT NOT NULL,
    expires_at BIGINT NOT NULL,
    -- The node that used it; a token is good for one.
    used_by TEXT
);

CREATE TABLE clusters (
    name TEXT PRIMARY KEY,
    zone TEXT NOT NULL UNIQUE,
    url TEXT NOT NULL,
    subnet_cidr TEXT NOT NULL,
    gateway TEXT NOT NULL,
    version TEXT NOT NULL,
    -- The nodes as last reported, so that a restarted controller can admit before it hears anew.
    nodes TEXT NOT NULL
);

-- Every account's default network. The bridge behind a zone is one for all accounts for now.
CREATE TABLE vpcs (
    id TEXT PRIMARY KEY,
    account TEXT NOT NULL,
    cidr TEXT NOT NULL,
    is_default BIGINT NOT NULL
);
CREATE INDEX vpcs_by_account ON vpcs (account);

CREATE TABLE subnets (
    id TEXT PRIMARY KEY,
    account TEXT NOT NULL,
    vpc_id TEXT NOT NULL REFERENCES vpcs (id) ON DELETE CASCADE,
    zone TEXT NOT NULL,
    cidr TEXT NOT NULL,
    gateway TEXT NOT NULL,
    is_default BIGINT NOT NULL
);
CREATE INDEX subnets_by_account ON subnets (account);

CREATE TABLE security_groups (
    id TEXT PRIMARY KEY,
    account TEXT NOT NULL,
    vpc_id TEXT NOT NULL REFERENCES vpcs (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    description TEXT NOT NULL,
    UNIQUE (vpc_id, name)
);
CREATE INDEX security_groups_by_account ON security_groups (account);

CREATE TABLE reservations (
    id TEXT PRIMARY KEY,
    account TEXT NOT NULL,
    -- The idempotency record: the same token with the same request is answered with this reservation.
    client_token TEXT,
    request_digest TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    UNIQUE (account, client_token)
);

CREATE TABLE instances (
    id TEXT PRIMARY KEY,
    change_number BIGINT NOT NULL,
    account TEXT NOT NULL,
    reservation_id TEXT NOT NULL REFERENCES reservations (id),
    cluster TEXT NOT NULL,
    zone TEXT NOT NULL,
    client_token TEXT,
    user_data TEXT,
    -- What the user wants: JSON of the whole specification but user data and tags.
    spec TEXT NOT NULL,
    shutdown_behavior TEXT NOT NULL,
    disable_api_stop BIGINT NOT NULL,
    disable_api_termination BIGINT NOT NULL,
    launched_at BIGINT NOT NULL,
    desired TEXT NOT NULL,
    generation BIGINT NOT NULL,
    reboots BIGINT NOT NULL,
    force_stop BIGINT NOT NULL,
    request_id TEXT NOT NULL,
    -- What is known of it.
    state TEXT NOT NULL,
    -- The newest generation that the cluster has durably accepted.
    acknowledged BIGINT NOT NULL,
    -- The cluster was told to forget it, and did.
    forgotten BIGINT NOT NULL,
    node TEXT,
    reason_code TEXT,
    reason_message TEXT,
    transition TEXT NOT NULL,
    -- A transitional state ends by then.
    deadline_at BIGINT,
    -- A terminated instance is visible until then.
    purge_at BIGINT
);
CREATE INDEX instances_by_change ON instances (change_number);
CREATE INDEX instances_by_reservation ON instances (reservation_id);

CREATE TABLE ports (
    id TEXT PRIMARY KEY,
    cluster TEXT NOT NULL,
    private_ip TEXT NOT NULL,
    instance_id TEXT NOT NULL REFERENCES instances (id) ON DELETE CASCADE,
    -- No two instances of a cluster have one address, whatever a controller believes.
    UNIQUE (cluster, private_ip)
);
CREATE INDEX ports_by_instance ON ports (instance_id);

CREATE TABLE images (
    id TEXT PRIMARY KEY,
    account TEXT NOT NULL,
    name TEXT NOT NULL,
    -- available, deregistered
    state TEXT NOT NULL,
    is_public BIGINT NOT NULL,
    -- machine, kernel, ramdisk
    kind TEXT NOT NULL,
    -- JSON of what it boots from and how it is described.
    definition TEXT NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE INDEX images_by_account ON images (account);

CREATE TABLE key_pairs (
    id TEXT PRIMARY KEY,
    account TEXT NOT NULL,
    name TEXT NOT NULL,
    -- rsa, ed25519
    kind TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    openssh TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    UNIQUE (account, name)
);

CREATE TABLE tags (
    resource_id TEXT NOT NULL,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    account TEXT NOT NULL,
    resource_type TEXT NOT NULL,
    PRIMARY KEY (resource_id, key)
);
CREATE INDEX tags_by_account ON tags (account);
