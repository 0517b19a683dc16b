-- The database roles of servers: create, limit, watch and remove them. Run after roles.sql, by the same owner.
-- A role can run any SQL on its sessions and reverse most settings of its own, so control watches what they do.

-- Set the limits of a server's role. The role can change all of them but `temp_file_limit`, which takes a right that
-- only a superuser gives (see superuser_statements).
CREATE OR REPLACE FUNCTION public.server_role_bound(role text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  bound record;
BEGIN
  EXECUTE format('ALTER ROLE %I CONNECTION LIMIT 3', role);
  FOR bound IN
    SELECT name, value FROM (VALUES
      ('statement_timeout', '10s'), ('transaction_timeout', '10s'), ('lock_timeout', '5s'),
      ('idle_in_transaction_session_timeout', '5s'), ('idle_session_timeout', '1min'),
      ('work_mem', '4MB'), ('max_parallel_workers_per_gather', '0'), ('temp_file_limit', '64MB')
    ) AS bounds (name, value) JOIN pg_settings USING (name)
     WHERE context = 'user' OR has_parameter_privilege(name, 'SET')
  LOOP
    EXECUTE format('ALTER ROLE %I SET %I = %L', role, bound.name, bound.value);
  END LOOP;
END $$;

-- Create the login role of an enrolled server, or set it anew. Its password is known here only as a SCRAM verifier.
CREATE OR REPLACE FUNCTION public.server_role_create(server text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  verifier text;
  role text := 'wharf_server_' || server;
BEGIN
  SELECT e.role_verifier INTO verifier FROM public.server_enrolment e
    JOIN public.server s USING (server_id) WHERE s.server_id = server AND s.removed_at IS NULL;
  IF verifier IS NULL THEN
    RAISE EXCEPTION 'server % is not enrolled', server;
  END IF;
  IF NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = role) THEN
    EXECUTE format('CREATE ROLE %I NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION IN ROLE wharf_servers', role);
    EXECUTE format('GRANT %I TO %I', role, current_user);
    EXECUTE format('COMMENT ON ROLE %I IS %L', role, 'wharfinger: ' || current_database());
  END IF;
  EXECUTE format('ALTER ROLE %I LOGIN PASSWORD %L', role, verifier);
  PERFORM public.server_role_bound(role);
END $$;

-- Refuse further logins of a removed server. Commit this before the role is dropped: that may fail.
CREATE OR REPLACE FUNCTION public.server_role_close(server text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  role text := 'wharf_server_' || server;
BEGIN
  IF EXISTS (SELECT 1 FROM public.server s WHERE s.server_id = server AND s.removed_at IS NULL) THEN
    RAISE EXCEPTION 'server % is not removed', server;
  END IF;
  IF EXISTS (SELECT 1 FROM pg_roles WHERE rolname = role) THEN
    EXECUTE format('ALTER ROLE %I NOLOGIN PASSWORD NULL', role);
  END IF;
END $$;

-- End the sessions of a removed server in every database, and drop its role. What it owns in another database keeps
-- the role from being dropped; `wharf migrate` removes that.
CREATE OR REPLACE FUNCTION public.server_role_drop(server text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  role text := 'wharf_server_' || server;
BEGIN
  PERFORM public.server_role_close(server);
  IF EXISTS (SELECT 1 FROM pg_roles WHERE rolname = role) THEN
    PERFORM pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = role;
    -- Everybody may make large objects, and what a role owns would keep it from being dropped.
    EXECUTE format('DROP OWNED BY %I', role);
    EXECUTE format('DROP ROLE %I', role);
  END IF;
END $$;

-- Return the servers that have a role of this database and no row: the database was restored from a copy that is older
-- than they are. Roles belong to the whole cluster: one of another database has another comment.
CREATE OR REPLACE FUNCTION public.server_roles_unknown() RETURNS SETOF text
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT substr(rolname, length('wharf_server_') + 1) FROM pg_roles
   WHERE rolname LIKE 'wharf\_server\_%'
     AND shobj_description(oid, 'pg_authid') = 'wharfinger: ' || current_database()
     AND NOT EXISTS (SELECT FROM public.server s WHERE ('wharf_server_' || s.server_id)::name = rolname)
$$;

-- Comment the roles that were made before roles had comments.
DO $$
DECLARE
  found record;
BEGIN
  FOR found IN
    SELECT r.rolname FROM pg_roles r JOIN public.server s ON r.rolname = ('wharf_server_' || s.server_id)::name
     WHERE shobj_description(r.oid, 'pg_authid') IS NULL
  LOOP
    EXECUTE format('COMMENT ON ROLE %I IS %L', found.rolname, 'wharfinger: ' || current_database());
  END LOOP;
END $$;

-- Remove large objects that servers made in this database, if no superuser took that right from everybody.
CREATE OR REPLACE FUNCTION public.server_objects_remove() RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT count(lo_unlink(o.oid)) FROM pg_largeobject_metadata o JOIN pg_roles r ON r.oid = o.lomowner
   WHERE r.rolname LIKE 'wharf\_server\_%' AND pg_has_role(r.oid, 'USAGE')
$$;

-- End sessions of servers that could keep others waiting, whatever time-outs they set: a session outside this database;
-- one with a statement or transaction older than `age` (the five functions take milliseconds; a COMMIT inside a DO block
-- renews xact_start and not query_start); one that does not read its answers; one older than `session_age` (a worker
-- opens a new one before); and all of them while notifications pile up, because a session that listens and does not read
-- keeps the whole queue. Return the servers and the reasons. Remove their large objects, too.
DROP FUNCTION IF EXISTS public.server_sessions_end(interval);
CREATE OR REPLACE FUNCTION public.server_sessions_end(age interval, session_age interval DEFAULT '1 minute')
RETURNS TABLE (server_id text, reason text)
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT public.server_objects_remove();
  WITH judged AS MATERIALIZED (
    SELECT s.server_id, a.pid, CASE
        WHEN a.datname <> current_database() THEN 'other_database'
        WHEN a.xact_start < clock_timestamp() - age THEN 'transaction_too_long'
        WHEN a.state <> 'idle' AND a.query_start < clock_timestamp() - age THEN 'statement_too_long'
        WHEN a.wait_event = 'ClientWrite' AND a.state_change < clock_timestamp() - age THEN 'does_not_read'
        WHEN a.backend_start < clock_timestamp() - session_age THEN 'session_too_long'
        WHEN pg_notification_queue_usage() > 0.05 AND a.backend_start < clock_timestamp() - least(age, '1 second')
          THEN 'notifications_pile_up' END AS reason
      FROM pg_stat_activity a JOIN public.server s ON a.usename = 'wharf_server_' || s.server_id
  ), ended AS MATERIALIZED (
    SELECT judged.server_id, judged.reason, pg_terminate_backend(pid) FROM judged WHERE judged.reason IS NOT NULL
  )
  SELECT ended.server_id, ended.reason FROM ended
$$;

-- Return the statements that only a superuser can run in this database to confine the roles of servers; none if all is
-- done.
CREATE OR REPLACE FUNCTION public.superuser_statements() RETURNS SETOF text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT format('REVOKE CONNECT, TEMPORARY ON DATABASE %I FROM PUBLIC', d.datname)
    FROM pg_database d
   WHERE datallowconn AND datname <> current_database()
     AND EXISTS (SELECT 1 FROM aclexplode(coalesce(d.datacl, acldefault('d', d.datdba)))
                  WHERE grantee = 0 AND privilege_type = 'CONNECT')
  UNION ALL
  SELECT format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', string_agg(f, ', ' ORDER BY f))
    FROM (SELECT oid::regprocedure::text AS f FROM pg_proc p
           WHERE pronamespace = 'pg_catalog'::regnamespace
             AND proname IN ('lo_creat', 'lo_create', 'lo_from_bytea', 'lo_put', 'lo_import')
             AND EXISTS (SELECT 1 FROM aclexplode(coalesce(p.proacl, acldefault('f', p.proowner)))
                          WHERE grantee = 0)) AS makers
  HAVING count(*) > 0
  UNION ALL
  SELECT format('GRANT SET ON PARAMETER temp_file_limit TO %I', o.rolname)
    FROM pg_database d JOIN pg_roles o ON o.oid = d.datdba
   WHERE d.datname = current_database() AND NOT has_parameter_privilege(o.rolname, 'temp_file_limit', 'SET')
$$;

REVOKE ALL ON FUNCTION public.server_role_bound, public.server_role_create, public.server_role_close,
  public.server_role_drop, public.server_roles_unknown, public.server_sessions_end,
  public.server_objects_remove, public.superuser_statements FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.server_role_create, public.server_role_close, public.server_role_drop,
  public.server_roles_unknown, public.server_sessions_end, public.server_objects_remove TO wharf_control;
GRANT EXECUTE ON FUNCTION public.superuser_statements TO wharf_api;

-- Set the limits of roles that were made before.
SELECT public.server_role_bound(rolname) FROM pg_roles JOIN public.server ON rolname = 'wharf_server_' || server_id;
