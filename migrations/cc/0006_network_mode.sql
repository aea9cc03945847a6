-- How the instances that there are were joined to networks: another mode finds them otherwise.
ALTER TABLE numbering ADD COLUMN mode TEXT NOT NULL DEFAULT 'managed';
