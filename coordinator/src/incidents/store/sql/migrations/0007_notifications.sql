-- Notifications that no receiver has taken yet. `owner` is the coordinator that delivers; `created` is in milliseconds of the
-- database's clock.
CREATE TABLE notifications (
    receiver TEXT NOT NULL,
    id TEXT NOT NULL,
    body BYTEA NOT NULL,
    owner BYTEA NOT NULL,
    created BIGINT NOT NULL,
    PRIMARY KEY (receiver, id)
);

-- PostgreSQL alone:

-- The cluster's own work delivers them.
ALTER TABLE notifications ENABLE ROW LEVEL SECURITY;
ALTER TABLE notifications FORCE ROW LEVEL SECURITY;
CREATE POLICY cluster ON notifications USING ((SELECT current_setting('countermove.tenants', true)) = '*');
