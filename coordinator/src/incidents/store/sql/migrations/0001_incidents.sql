-- Stores of releases before these migrations were counted hold these tables already.

-- Processes that may own incidents; `lease_until` is in milliseconds of the database's clock.
CREATE TABLE IF NOT EXISTS coordinators (
    id BYTEA PRIMARY KEY,
    address TEXT NOT NULL,
    lease_until BIGINT NOT NULL
);

-- `projection` is the incident as its events make it, but for number and time of its last event, which have columns of
-- their own; `session` is what an owner goes on from. Times are in nanoseconds since 1970.
CREATE TABLE IF NOT EXISTS incidents (
    id BYTEA PRIMARY KEY,
    owner BYTEA NOT NULL,
    epoch BIGINT NOT NULL,
    last_sequence BIGINT NOT NULL,
    last_hash BYTEA NOT NULL,
    update_time BIGINT NOT NULL,
    end_time BIGINT,
    projection BYTEA NOT NULL,
    session BYTEA,
    session_sequence BIGINT
);

CREATE INDEX IF NOT EXISTS incidents_open ON incidents (owner) WHERE end_time IS NULL;

CREATE TABLE IF NOT EXISTS events (
    incident BYTEA NOT NULL,
    sequence BIGINT NOT NULL,
    event BYTEA NOT NULL,
    input_sha256 BYTEA,
    session_sha256 BYTEA,
    hash BYTEA NOT NULL,
    PRIMARY KEY (incident, sequence)
);

CREATE TABLE IF NOT EXISTS inputs (
    incident BYTEA NOT NULL,
    sequence BIGINT NOT NULL,
    content BYTEA NOT NULL,
    PRIMARY KEY (incident, sequence)
);

CREATE TABLE IF NOT EXISTS requests (
    id BYTEA PRIMARY KEY,
    fingerprint BYTEA NOT NULL,
    incident BYTEA,
    sequence BIGINT,
    answer BYTEA,
    created BIGINT NOT NULL
);

CREATE INDEX IF NOT EXISTS requests_created ON requests (created);
