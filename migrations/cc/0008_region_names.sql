-- How addresses are named in the region, as the cloud controller told it last: a cluster serves names when that one is away.
CREATE TABLE region_names (
    only  INTEGER PRIMARY KEY CHECK (only = 1),
    value TEXT NOT NULL -- JSON
) STRICT;
