-- The interface of a server's worker: five functions, each for the server that the database role is named for. A role
-- `wharf_server_<server id>` may EXECUTE these and nothing else. Each takes one JSON document and returns one; unknown
-- fields are ignored.

CREATE SCHEMA IF NOT EXISTS worker_v1;

-- Return the id of the caller's server; null if it was removed.
CREATE OR REPLACE FUNCTION worker_v1.me() RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT server_id FROM public.server
   WHERE server_id = substr(session_user, length('wharf_server_') + 1) AND removed_at IS NULL
$$;

-- Return whether the caller is the current worker of its server. The row is locked against a newer registration, and
-- not against submitting jobs for this server (a foreign key takes FOR KEY SHARE).
CREATE OR REPLACE FUNCTION worker_v1.is_current(incarnation text) RETURNS boolean
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
  SELECT EXISTS (
    SELECT 1 FROM public.server s
     WHERE s.server_id = worker_v1.me() AND s.incarnation = is_current.incarnation FOR SHARE)
$$;
