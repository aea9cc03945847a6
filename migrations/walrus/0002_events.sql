-- What is still to be told to somebody outside: written with the change that it tells of, removed when it has been
-- heard.

CREATE TABLE events (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    target TEXT NOT NULL,               -- the name of a webhook
    at INTEGER NOT NULL,
    body TEXT NOT NULL
);
CREATE INDEX events_by_target ON events (target, id);
CREATE INDEX events_by_age ON events (at);
