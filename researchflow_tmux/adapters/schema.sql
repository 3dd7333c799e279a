-- Version 1 of the state database. Later versions are further files; see MIGRATIONS in sqlite_database.py.
--
-- Times are UTC text of fixed width (2026-01-31T12:00:00.000000Z), so that they sort as they pass.
-- `doc` is the whole object as JSON and the only thing read back into it; the other columns repeat what status shows and
-- what queries filter by. It stands last: SQLite then does not touch its pages when only the short columns are asked for.

CREATE TABLE meta (
    key   TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE jobs (
    id           INTEGER PRIMARY KEY,
    source       TEXT NOT NULL,
    key          TEXT NOT NULL,
    name         TEXT NOT NULL,
    slug         TEXT NOT NULL,
    state        TEXT NOT NULL,
    queued_at    TEXT NOT NULL,
    priority     INTEGER NOT NULL,
    "group"      TEXT,
    gpus         INTEGER NOT NULL,
    attempts     INTEGER NOT NULL,
    retries_used INTEGER NOT NULL,
    started_at   TEXT,
    ended_at     TEXT,
    exit_code    INTEGER,
    reason       TEXT,
    doc          TEXT NOT NULL,
    UNIQUE (source, key)
) STRICT;

CREATE INDEX jobs_by_state ON jobs (state, ended_at);

CREATE TABLE attempts (
    job_id     INTEGER NOT NULL,
    number     INTEGER NOT NULL,
    phase      TEXT NOT NULL,
    live       INTEGER NOT NULL,
    session    TEXT NOT NULL,
    started_at TEXT,
    ended_at   TEXT,
    doc        TEXT NOT NULL,
    PRIMARY KEY (job_id, number)
) STRICT, WITHOUT ROWID;

CREATE INDEX attempts_live ON attempts (job_id, number) WHERE live = 1;

-- What happened, in order. Rows are only ever added (and removed with their job by `clean`); AUTOINCREMENT keeps a
-- removed number from coming back.
CREATE TABLE events (
    seq     INTEGER PRIMARY KEY AUTOINCREMENT,
    at      TEXT NOT NULL,
    boot_id TEXT NOT NULL,
    kind    TEXT NOT NULL,
    job_id  INTEGER,
    attempt INTEGER,
    version INTEGER NOT NULL,
    data    TEXT NOT NULL
) STRICT;

CREATE INDEX events_by_job ON events (job_id, seq) WHERE job_id IS NOT NULL;

-- The inbox: what clients ask of the one writer, and its answers.
CREATE TABLE requests (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    at         TEXT NOT NULL,
    "by"       TEXT NOT NULL,
    kind       TEXT NOT NULL,
    body       TEXT NOT NULL,
    reply      TEXT,
    replied_at TEXT
) STRICT;

CREATE INDEX requests_open ON requests (id) WHERE reply IS NULL;
CREATE INDEX requests_answered ON requests (replied_at) WHERE replied_at IS NOT NULL;

-- Environments captured at submission, shared by all jobs of the same one.
CREATE TABLE environments (
    digest TEXT NOT NULL PRIMARY KEY,
    doc    TEXT NOT NULL
) STRICT, WITHOUT ROWID;
