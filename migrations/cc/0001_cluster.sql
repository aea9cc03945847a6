-- What a cluster goes on with when its cloud controller is away.

CREATE TABLE instances (
    id        TEXT    PRIMARY KEY,
    intent    TEXT    NOT NULL, -- JSON, as the cloud controller sent it
    attempt   INTEGER NOT NULL,
    node      TEXT,
    tried     TEXT    NOT NULL, -- JSON list of node names
    ran       INTEGER NOT NULL,
    since_ms  INTEGER NOT NULL,
    phase     TEXT    NOT NULL, -- JSON
    reason    TEXT,             -- JSON
    reboots   INTEGER NOT NULL,
    sequence  INTEGER NOT NULL
) STRICT;

CREATE TABLE nodes (
    name  TEXT PRIMARY KEY,
    owner TEXT NOT NULL, -- the certificate that speaks for it
    url   TEXT NOT NULL,
    facts TEXT NOT NULL  -- JSON
) STRICT;

CREATE TABLE tombstones (
    id       TEXT    PRIMARY KEY,
    until_ms INTEGER NOT NULL
) STRICT;

-- Numbering of reports: `epoch` names one life of it, `sequence` is the last number given out.
CREATE TABLE numbering (
    only     INTEGER PRIMARY KEY CHECK (only = 1),
    epoch    INTEGER NOT NULL,
    sequence INTEGER NOT NULL
) STRICT;
