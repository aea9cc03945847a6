-- Every certificate that a node was given, until it expires: a forgotten node's are refused from then on.
CREATE TABLE node_certificates (
    -- SHA-256 of the certificate, hex.
    fingerprint TEXT PRIMARY KEY,
    cluster TEXT NOT NULL,
    name TEXT NOT NULL,
    expires_at BIGINT NOT NULL,
    revoked_at BIGINT
);
CREATE INDEX node_certificates_by_name ON node_certificates (cluster, name);
-- SHA-256 of the public key that has the name, hex; null for a node that came before this was kept. Another key is
-- another machine.
ALTER TABLE node_names ADD COLUMN key_hash TEXT;
