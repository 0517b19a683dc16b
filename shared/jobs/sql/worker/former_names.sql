-- The names of two functions before revision 0024. Workers are updated after the database. Until then they call these,
-- and renew the leases of their running jobs.
CREATE OR REPLACE FUNCTION worker_v1.hello(document jsonb) RETURNS jsonb
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
  SELECT worker_v1.register(document)
$$;

CREATE OR REPLACE FUNCTION worker_v1.beat(document jsonb) RETURNS jsonb
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
  SELECT worker_v1.heartbeat(document)
$$;
