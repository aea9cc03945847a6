-- A zone has one cluster of its own, and others may extend it. SQLite cannot take a column's UNIQUE away, so the rows move.
CREATE TABLE clusters_by_name (
    name TEXT PRIMARY KEY,
    zone TEXT NOT NULL,
    -- The zone is another cluster's.
    extends BIGINT NOT NULL DEFAULT 0,
    url TEXT NOT NULL,
    subnet_cidr TEXT NOT NULL,
    gateway TEXT NOT NULL,
    version TEXT NOT NULL,
    -- How its instances are joined to networks, as it told: JSON.
    mode TEXT NOT NULL,
    -- How its hosts exchange packets of segments with those of other clusters, as it told: JSON.
    tunnels TEXT NOT NULL DEFAULT 'null',
    -- The nodes as last reported, so that a restarted controller can admit before it hears anew: JSON.
    nodes TEXT NOT NULL
);
INSERT INTO clusters_by_name (name, zone, url, subnet_cidr, gateway, version, mode, nodes)
    SELECT name, zone, url, subnet_cidr, gateway, version, mode, nodes FROM clusters;
DROP TABLE clusters;
ALTER TABLE clusters_by_name RENAME TO clusters;
CREATE UNIQUE INDEX clusters_own ON clusters (zone) WHERE extends = 0;
