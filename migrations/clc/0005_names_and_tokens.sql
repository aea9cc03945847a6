-- The names that nodes were given certificates for: a name belongs to one token until the node is forgotten.
CREATE TABLE node_names (
    cluster TEXT NOT NULL,
    name TEXT NOT NULL,
    token_hash TEXT NOT NULL,
    given_at BIGINT NOT NULL,
    PRIMARY KEY (cluster, name)
);
-- The tokens that are still known say who has come with them.
INSERT INTO node_names (cluster, name, token_hash, given_at)
    SELECT cluster, used_by, MIN(secret_hash), 0 FROM join_tokens WHERE used_by IS NOT NULL
    GROUP BY cluster, used_by;
-- The node that comes with it may take the name of one that is there.
ALTER TABLE join_tokens ADD COLUMN replaces BIGINT NOT NULL DEFAULT 0;

-- A terminated instance that nobody is shown any more, but that a client token still answers with: since when.
ALTER TABLE instances ADD COLUMN purged_at BIGINT;
