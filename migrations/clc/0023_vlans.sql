-- The VLANs that segments of a cluster can have, as it told: JSON. Empty: it is not particular.
ALTER TABLE clusters ADD COLUMN vlans TEXT NOT NULL DEFAULT '';
