-- How the segments that there are reach other hosts: another driver carries them otherwise.
ALTER TABLE numbering ADD COLUMN driver TEXT NOT NULL DEFAULT 'vxlan';
