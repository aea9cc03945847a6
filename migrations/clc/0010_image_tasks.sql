-- Imports and exports of images: asked for, then worked at, then told about for a while. What kind of task it is stands
-- in its id.
CREATE TABLE image_tasks (
    id TEXT PRIMARY KEY,
    account TEXT NOT NULL,
    state TEXT NOT NULL,
    message TEXT,
    progress BIGINT NOT NULL,
    work TEXT NOT NULL,
    client_token TEXT,
    request_digest TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    ended_at BIGINT
);
CREATE UNIQUE INDEX image_tasks_by_token ON image_tasks (account, client_token) WHERE client_token IS NOT NULL;
CREATE INDEX image_tasks_by_account ON image_tasks (account);
CREATE INDEX image_tasks_open ON image_tasks (created_at) WHERE ended_at IS NULL;
