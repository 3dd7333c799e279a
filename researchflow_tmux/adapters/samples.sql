-- How the GPUs were used, thinned out: every reading of the last hour, means of minutes for a week, of ten minutes for a
-- year. A file of its own: it is written every few seconds and may be lost, and must not hold up the state database.
CREATE TABLE gpus (
    id        INTEGER PRIMARY KEY,
    uuid      TEXT NOT NULL UNIQUE,
    "index"   INTEGER NOT NULL,
    name      TEXT NOT NULL,
    total_mib INTEGER
) STRICT;

-- `span_s` 0 = one reading, else the mean of all that began within so many seconds from `at` (seconds since 1970) on;
-- of_util and of_used = how many readings had the figure. NULL = unknown.
CREATE TABLE samples (
    span_s        INTEGER NOT NULL,
    gpu           INTEGER NOT NULL,
    at            INTEGER NOT NULL,
    util_pct      REAL,
    util_min_pct  REAL,
    util_max_pct  REAL,
    of_util       INTEGER NOT NULL,
    used_mib      REAL,
    used_max_mib  REAL,
    of_used       INTEGER NOT NULL,
    temperature_c REAL,
    power_w       REAL,
    jobs          REAL NOT NULL,
    PRIMARY KEY (span_s, gpu, at)
) STRICT, WITHOUT ROWID;
