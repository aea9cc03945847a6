-- Root disks that become bundles in buckets: asked for, then worked at, then told about for a while. One at a time of
-- an instance.
CREATE TABLE bundle_tasks (
    id TEXT PRIMARY KEY,
    account TEXT NOT NULL,
    instance_id TEXT NOT NULL,
    state TEXT NOT NULL,
    progress BIGINT NOT NULL,
    work TEXT NOT NULL,
    digest TEXT,
    error_code TEXT,
    error_message TEXT,
    started_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    ended_at BIGINT,
    request_id TEXT NOT NULL
);
CREATE INDEX bundle_tasks_by_account ON bundle_tasks (account);
CREATE UNIQUE INDEX bundle_tasks_open ON bundle_tasks (instance_id) WHERE ended_at IS NULL;
-- For which task a copy of the disk is wanted, and how far it is.
ALTER TABLE instances ADD COLUMN capture TEXT;
ALTER TABLE instances ADD COLUMN captured TEXT;
