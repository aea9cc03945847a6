-- How a cluster's instances are joined to networks, as it told: JSON.
ALTER TABLE clusters ADD COLUMN mode TEXT NOT NULL DEFAULT '"managed"';
