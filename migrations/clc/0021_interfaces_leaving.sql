-- A network interface is detached only once the cluster has heard of it: until then an instance may still have it.
ALTER TABLE network_interfaces ADD COLUMN attachment_id TEXT;
-- JSON: which instance's it was, and as what.
ALTER TABLE network_interfaces ADD COLUMN leaving TEXT;
