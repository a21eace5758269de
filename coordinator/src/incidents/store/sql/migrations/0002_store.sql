-- One row: which store this is, and how often it was opened. A file that was replaced by another one, or by an earlier
-- state of it, is told by them.
CREATE TABLE store (
    id BYTEA PRIMARY KEY,
    opened BIGINT NOT NULL
);

-- Releases that counted versions here leave later stores alone.
CREATE TABLE IF NOT EXISTS schema_version (version BIGINT NOT NULL);

INSERT INTO schema_version (version) VALUES (2);
