-- The names of two functions before revision 0024, for workers that are older than the database: they are updated after
-- it, and until then hold jobs whose leases they renew.
CREATE OR REPLACE FUNCTION worker_v1.hello(document jsonb) RETURNS jsonb
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
  SELECT worker_v1.register(document)
$$;

CREATE OR REPLACE FUNCTION worker_v1.beat(document jsonb) RETURNS jsonb
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
  SELECT worker_v1.heartbeat(document)
$$;
