-- Signature of the end of the log that an event was when it was written; absent for all but the last of those written together,
-- and for events of earlier releases.
ALTER TABLE events ADD COLUMN signature BYTEA;

-- How far the last checkpoint that names an incident goes.
ALTER TABLE incidents ADD COLUMN anchored BIGINT NOT NULL DEFAULT 0;

-- What all logs were, from time to time, signed; `line` is the checkpoint as text and `hash` what the next one covers.
CREATE TABLE checkpoints (
    number BIGINT PRIMARY KEY,
    line BYTEA NOT NULL,
    hash BYTEA NOT NULL
);

-- Ends of logs that a checkpoint names; a sequence of 0 says that the incident was forgotten.
CREATE TABLE heads (
    number BIGINT NOT NULL,
    incident BYTEA NOT NULL,
    sequence BIGINT NOT NULL,
    hash BYTEA NOT NULL,
    PRIMARY KEY (number, incident)
);

CREATE INDEX heads_incident ON heads (incident, number);

-- Incidents that were forgotten since the last checkpoint.
CREATE TABLE forgotten (incident BYTEA PRIMARY KEY);

-- Who did what, as a chain of its own.
CREATE TABLE audit (
    number BIGINT PRIMARY KEY,
    entry BYTEA NOT NULL,
    hash BYTEA NOT NULL
);
