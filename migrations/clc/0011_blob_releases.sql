-- Blobs that the image store is being told to let go: nothing is registered on one meanwhile.
CREATE TABLE blob_releases (
    digest TEXT PRIMARY KEY
);
INSERT INTO counters (name, value) VALUES ('blobs', 0);
