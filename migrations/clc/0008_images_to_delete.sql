-- The operator deleted the image: the image store is to delete its blob once nothing needs that any more.
ALTER TABLE images ADD COLUMN drops_blob BIGINT NOT NULL DEFAULT 0;
