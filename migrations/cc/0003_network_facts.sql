-- What networks let through, as the cloud controller told it, and how far it had told.
CREATE TABLE network_facts (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL -- JSON, as a change that puts it
) STRICT;

CREATE TABLE network_facts_told (
    only  INTEGER PRIMARY KEY CHECK (only = 1),
    epoch INTEGER NOT NULL, -- all 64 bits of it: large ones are negative here
    at    INTEGER NOT NULL
) STRICT;
