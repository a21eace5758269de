-- On whose account an incident is planned, beside the projection that says so; absent until a coordinator of this release or a later
-- one has read it from there.
ALTER TABLE incidents ADD COLUMN tenant TEXT;

CREATE INDEX incidents_unnamed ON incidents (id) WHERE tenant IS NULL;

-- PostgreSQL alone: what follows has no meaning in a file that belongs to one process.

-- Rows are shown to whom `countermove.tenants` names: tenants with commas between them, or `*` for the cluster's own work, such as
-- finding incidents that nobody owns. Where it is not set nothing is shown. It holds for the owner of the tables as well; a superuser
-- and a role with BYPASSRLS see everything.
ALTER TABLE incidents ENABLE ROW LEVEL SECURITY;
ALTER TABLE incidents FORCE ROW LEVEL SECURITY;
CREATE POLICY tenants ON incidents USING (
    (SELECT current_setting('countermove.tenants', true)) = '*'
    OR tenant = ANY (string_to_array((SELECT current_setting('countermove.tenants', true)), ','))
);

-- The incident is looked for under its own policy.
ALTER TABLE events ENABLE ROW LEVEL SECURITY;
ALTER TABLE events FORCE ROW LEVEL SECURITY;
CREATE POLICY tenants ON events USING (
    (SELECT current_setting('countermove.tenants', true)) = '*'
    OR EXISTS (SELECT 1 FROM incidents WHERE incidents.id = events.incident)
);

ALTER TABLE inputs ENABLE ROW LEVEL SECURITY;
ALTER TABLE inputs FORCE ROW LEVEL SECURITY;
CREATE POLICY tenants ON inputs USING (
    (SELECT current_setting('countermove.tenants', true)) = '*'
    OR EXISTS (SELECT 1 FROM incidents WHERE incidents.id = inputs.incident)
);

-- What is of several tenants, or of none: the cluster's own work alone.
ALTER TABLE requests ENABLE ROW LEVEL SECURITY;
ALTER TABLE requests FORCE ROW LEVEL SECURITY;
CREATE POLICY cluster ON requests USING ((SELECT current_setting('countermove.tenants', true)) = '*');

ALTER TABLE tokens ENABLE ROW LEVEL SECURITY;
ALTER TABLE tokens FORCE ROW LEVEL SECURITY;
CREATE POLICY cluster ON tokens USING ((SELECT current_setting('countermove.tenants', true)) = '*');

ALTER TABLE audit ENABLE ROW LEVEL SECURITY;
ALTER TABLE audit FORCE ROW LEVEL SECURITY;
CREATE POLICY cluster ON audit USING ((SELECT current_setting('countermove.tenants', true)) = '*');

ALTER TABLE heads ENABLE ROW LEVEL SECURITY;
ALTER TABLE heads FORCE ROW LEVEL SECURITY;
CREATE POLICY cluster ON heads USING ((SELECT current_setting('countermove.tenants', true)) = '*');
