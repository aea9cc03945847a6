-- Where a node takes packets of segments from other hosts: an IPv4 address, or none.
ALTER TABLE nodes ADD COLUMN tunnel TEXT;
