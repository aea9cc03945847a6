"""A cloud controller's database as the first release would have left it, made of one of today's.

The tables are those of the first migration alone; what they cannot hold is dropped, and so is what the documents in
them did not have yet.
"""

import json
import os
import pathlib
import re
import shutil
import sqlite3
import subprocess
import tempfile

from cloud import ROOT, wait_until

FIRST = ROOT / "migrations/clc/0001_foundation.sql"
# In the order in which they refer to each other.
TABLES = re.findall(r"^CREATE TABLE (\w+)", FIRST.read_text(), re.M)
VERSIONS = """CREATE TABLE schema_versions (version BIGINT PRIMARY KEY, name TEXT NOT NULL);
INSERT INTO schema_versions VALUES (1, '0001_foundation'); DELETE FROM counters;"""
COUNTERS = re.findall(r"\('(\w+)', 0\)", FIRST.read_text())
# What images are described by since, and what was taken for said before; the rest of every document is as it was.
LATER_IN_IMAGES = {"boot_mode": None, "virtualization_type": "hvm", "ena_support": False, "sriov_net_support": None,
                   "imds_support": None, "root": {"gib": None, "volume_type": "gp3"}, "bundle": None, "failure": None}
SAID_MORE = object()
# PostgreSQL runs as root for nobody.
NOBODY = 65534
KEEPER = """
"$BIN/initdb" -D "$DIR/data" -U karri --auth=trust -E UTF8 --locale=C --no-sync >/dev/null
exec "$BIN/postgres" -D "$DIR/data" -k "$DIR" -c listen_addresses= -c fsync=off -c shared_buffers=32MB
"""


def take_back(database):
    """Puts a stopped controller's database back to its first version. Returns the schema that it had."""
    kept = {table: database.rows(table) for table in TABLES}
    for image in kept["images"]:
        definition = json.loads(image["definition"]).items()
        first = {name: value for name, value in definition if LATER_IN_IMAGES.get(name, SAID_MORE) != value}
        assert len(first) < len(definition)
        image["definition"] = json.dumps(first)
    kept["counters"] = [counter for counter in kept["counters"] if counter["name"] in COUNTERS]
    assert len(kept["counters"]) == len(COUNTERS)
    schema = database.schema()
    database.empty()
    database.run(FIRST.read_text() + VERSIONS)
    for table in TABLES:
        known = database.columns(table)
        database.insert(table, [{name: row[name] for name in known} for row in kept[table]])
    return schema


class Sqlite:
    def __init__(self, directory):
        self.file = directory / "state/clc/clc.sqlite"
        self.environment = {}

    def close(self):
        pass

    def query(self, statement):
        connection = sqlite3.connect(self.file)
        connection.row_factory = sqlite3.Row
        try:
            return [dict(row) for row in connection.execute(statement)]
        finally:
            connection.close()

    def rows(self, table):
        return self.query(f"SELECT * FROM {table}")

    def columns(self, table):
        return [row["name"] for row in self.query(f"PRAGMA table_info({table})")]

    def schema(self):
        rows = self.query("SELECT name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite_%' ORDER BY name")
        return [(row["name"], row["sql"]) for row in rows]

    def empty(self):
        for file in self.file.parent.glob(f"{self.file.name}*"):
            file.unlink()

    def run(self, script):
        connection = sqlite3.connect(self.file)
        connection.executescript(script)
        connection.close()

    def insert(self, table, rows):
        connection = sqlite3.connect(self.file)
        with connection:
            for row in rows:
                marks = ", ".join("?" * len(row))
                connection.execute(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({marks})", list(row.values()))
        connection.close()


class Postgres:
    """A server of its own, in a directory of its own."""

    def __init__(self, _):
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="karri-pg-"))
        self.programs = max(pathlib.Path("/usr/lib/postgresql").glob("*/bin"))
        user = []
        if os.getuid() == 0:
            os.chown(self.directory, NOBODY, NOBODY)
            user = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
        environment = {**os.environ, "BIN": str(self.programs), "DIR": str(self.directory)}
        with (self.directory / "log").open("wb") as log:
            self.server = subprocess.Popen([*user, "sh", "-ec", KEEPER], env=environment, cwd=self.directory,
                                           stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        wait_until("PostgreSQL answers", lambda: self.program("pg_isready", check=False).returncode == 0)
        self.program("createdb", "karri")
        self.environment = {"KARRI_CLC_DATABASE__URL": f"postgres://karri@localhost/karri?host={self.directory}"}

    def close(self):
        self.server.terminate()
        self.server.wait()
        shutil.rmtree(self.directory)

    def program(self, name, *arguments, check=True, **more):
        return subprocess.run([self.programs / name, "-h", self.directory, "-U", "karri", *arguments],
                              capture_output=True, text=True, check=check, **more)

    def run(self, script):
        return self.program("psql", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "karri", input=script).stdout

    def query(self, statement):
        return json.loads(self.run(f"SELECT coalesce(json_agg(found), '[]') FROM ({statement}) found"))

    def rows(self, table):
        return self.query(f"SELECT * FROM {table}")

    def columns(self, table):
        found = self.query(f"SELECT column_name AS name FROM information_schema.columns WHERE table_name = '{table}'")
        return [row["name"] for row in found]

    def schema(self):
        lines = self.program("pg_dump", "--schema-only", "karri").stdout.splitlines()
        return [line for line in lines if "restrict " not in line]  # a word that is another in each dump

    def empty(self):
        self.program("dropdb", "karri")
        self.program("createdb", "karri")

    def insert(self, table, rows):
        self.run(f"INSERT INTO {table} SELECT * FROM json_populate_recordset(NULL::{table}, $rows${json.dumps(rows)}$rows$)")
