-- What a node that was forgotten may still have, should it ever return.
CREATE TABLE left_behind (
    node        TEXT NOT NULL,
    instance_id TEXT NOT NULL,
    PRIMARY KEY (node, instance_id)
) STRICT;
