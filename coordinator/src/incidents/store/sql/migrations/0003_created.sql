-- When the incident was created, in milliseconds of the database's clock: deadlines go by one clock, whoever owns it. Absent for
-- incidents of earlier releases.
ALTER TABLE incidents ADD COLUMN created BIGINT;
