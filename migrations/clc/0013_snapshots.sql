-- Snapshots: disks that images are registered on. The image store keeps the blob of one until it is told that the
-- snapshot is gone; then the row goes too.
CREATE TABLE snapshots (
    id TEXT PRIMARY KEY,
    account TEXT NOT NULL,
    definition TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    deleted_at BIGINT
);
CREATE INDEX snapshots_by_account ON snapshots (account);
