-- Tags belong to the account that gives them: who sees another's public image may tag it, and sees those only.
-- SQLite cannot give a table another key, so the rows move. Until now the account was the resource's owner.
CREATE TABLE tags_per_account (
    account TEXT NOT NULL,
    resource_id TEXT NOT NULL,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    resource_type TEXT NOT NULL,
    PRIMARY KEY (account, resource_id, key)
);
INSERT INTO tags_per_account (account, resource_id, key, value, resource_type)
    SELECT account, resource_id, key, value, resource_type FROM tags;
DROP TABLE tags;
ALTER TABLE tags_per_account RENAME TO tags;
-- They go with the resource, whoever gave them.
CREATE INDEX tags_by_resource ON tags (resource_id);
