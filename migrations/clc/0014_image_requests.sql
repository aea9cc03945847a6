-- Which request asked for an image, and for a task about one: what is done for it later is logged under its id. Older
-- rows have none.
ALTER TABLE images ADD COLUMN request_id TEXT NOT NULL DEFAULT '';
ALTER TABLE image_tasks ADD COLUMN request_id TEXT NOT NULL DEFAULT '';
