-- An image that is being made of a bundle is pending, and then available or failed. A name is taken meanwhile.
DROP INDEX images_by_name;
CREATE UNIQUE INDEX images_by_name ON images (account, name) WHERE state IN ('available', 'pending');
-- The image store keeps its blob until it is told that the image is gone.
ALTER TABLE images ADD COLUMN holds_blob BIGINT NOT NULL DEFAULT 0;
ALTER TABLE images ADD COLUMN deregistered_at BIGINT;
