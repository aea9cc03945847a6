-- Walrus' objects (SQLite). Times are milliseconds since 1970. A key is the bytes of its UTF-8 text, so that
-- order is S3's. seq grows with every version, upload and part of the store: it orders versions, and it
-- names the inline bytes and the manifest of the version that it belongs to.

CREATE TABLE meta (
    name TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE buckets (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    owner TEXT NOT NULL,
    region TEXT NOT NULL,
    created INTEGER NOT NULL,
    versioning INTEGER NOT NULL,        -- 0 off, 1 enabled, 2 suspended
    object_lock INTEGER NOT NULL,
    versions INTEGER NOT NULL DEFAULT 0, -- how many versions it holds, delete markers not counted
    bytes INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX buckets_by_owner ON buckets (owner, name);

CREATE TABLE bucket_settings (
    bucket INTEGER NOT NULL REFERENCES buckets (id),
    kind TEXT NOT NULL,
    document TEXT NOT NULL,
    PRIMARY KEY (bucket, kind)
) WITHOUT ROWID;

-- What a listing shows: the newest version of each key whose newest version is no delete marker.
CREATE TABLE live (
    bucket INTEGER NOT NULL,
    key BLOB NOT NULL,
    seq INTEGER NOT NULL,
    flags INTEGER NOT NULL,             -- store/objects/row.rs
    modified INTEGER NOT NULL,
    size INTEGER NOT NULL,
    etag BLOB NOT NULL,                 -- MD5, and of a multipart object the number of its parts
    owner TEXT NOT NULL,
    class TEXT,                         -- storage class; NULL is STANDARD
    blob INTEGER NOT NULL,              -- where the bytes lie, if in a blob
    crc INTEGER NOT NULL,               -- of all other columns
    facts BLOB NOT NULL,                -- last: a listing does not read it
    PRIMARY KEY (bucket, key)
) WITHOUT ROWID;

-- All other versions: those that are not the newest, and delete markers.
CREATE TABLE history (
    bucket INTEGER NOT NULL,
    key BLOB NOT NULL,
    seq INTEGER NOT NULL,
    flags INTEGER NOT NULL,
    modified INTEGER NOT NULL,
    size INTEGER NOT NULL,
    etag BLOB NOT NULL,
    owner TEXT NOT NULL,
    class TEXT,
    blob INTEGER NOT NULL,
    crc INTEGER NOT NULL,
    facts BLOB NOT NULL,
    PRIMARY KEY (bucket, key, seq DESC)
) WITHOUT ROWID;
-- A key has one null version at most; flag 1 marks it.
CREATE UNIQUE INDEX history_null ON history (bucket, key) WHERE flags & 1;

-- Bytes of small objects and parts, by the seq of their version.
CREATE TABLE inline (
    id INTEGER PRIMARY KEY,
    crc INTEGER NOT NULL,
    bytes BLOB NOT NULL
);

-- Which blobs, one after the other, are the bytes of a version.
CREATE TABLE manifests (
    id INTEGER PRIMARY KEY,
    state INTEGER NOT NULL,             -- 0 kept, 1 garbage
    body BLOB NOT NULL
);
CREATE INDEX manifests_garbage ON manifests (id) WHERE state = 1;

-- Every blob of the keeper that belongs to something.
CREATE TABLE blobs (
    id INTEGER PRIMARY KEY,
    bytes INTEGER NOT NULL,
    state INTEGER NOT NULL              -- 0 kept, 1 garbage, 2 damaged
);
CREATE INDEX blobs_garbage ON blobs (id) WHERE state = 1;
CREATE INDEX blobs_damaged ON blobs (id) WHERE state = 2;

CREATE TABLE uploads (
    bucket INTEGER NOT NULL,
    key BLOB NOT NULL,
    seq INTEGER NOT NULL,
    initiated INTEGER NOT NULL,
    owner TEXT NOT NULL,
    initiator TEXT NOT NULL,
    flags INTEGER NOT NULL,
    class TEXT,
    facts BLOB NOT NULL,
    PRIMARY KEY (bucket, key, seq)
) WITHOUT ROWID;

CREATE TABLE parts (
    upload INTEGER NOT NULL,
    number INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    flags INTEGER NOT NULL,
    modified INTEGER NOT NULL,
    size INTEGER NOT NULL,
    etag BLOB NOT NULL,
    blob INTEGER NOT NULL,
    facts BLOB NOT NULL,
    PRIMARY KEY (upload, number)
) WITHOUT ROWID;

-- Uploads that became objects, for clients that ask again.
CREATE TABLE completed (
    upload INTEGER PRIMARY KEY,
    bucket INTEGER NOT NULL,
    key BLOB NOT NULL,
    seq INTEGER NOT NULL,
    etag BLOB NOT NULL,
    flags INTEGER NOT NULL,
    size INTEGER NOT NULL,
    modified INTEGER NOT NULL,
    facts BLOB NOT NULL,
    at INTEGER NOT NULL
);
CREATE INDEX completed_by_age ON completed (at);
