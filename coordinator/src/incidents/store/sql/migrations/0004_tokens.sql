-- Tokens by which services call. Of a secret only its hash is kept; times are milliseconds since 1970.
CREATE TABLE tokens (
    id BYTEA PRIMARY KEY,
    hash BYTEA NOT NULL,
    description TEXT NOT NULL,
    -- JSON: roles in tenants.
    grants TEXT NOT NULL,
    creator TEXT NOT NULL,
    created BIGINT NOT NULL,
    expires BIGINT NOT NULL,
    revoked BIGINT
);
