-- What the attempts with a registry's login show of it. A row of `login_use` is about one revision of the login:
-- `accepted_at` is the start of the newest attempt in which the registry accepted it; `refusals` has an entry for each
-- server that it refused since it accepted the login from there: {server: {times, since, at, code, job}}, with moments
-- in seconds since the epoch. The server `control` stands for control itself.

-- Return what may be done with a login: `free`; `trial`: one job at a time, as nobody knows if it is accepted; `refused`:
-- nothing, as two servers were refused since it was accepted last. A server that is refused alone cannot cause this.
CREATE OR REPLACE FUNCTION public.login_verdict(accepted_at timestamptz, refusals jsonb) RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  RETURN (
    SELECT CASE WHEN count(*) >= 2 THEN 'refused'
                WHEN count(*) = 1 OR accepted_at IS NULL THEN 'trial'
                ELSE 'free' END
      FROM jsonb_each(refusals)
     WHERE (value->>'at')::numeric > coalesce(extract(epoch FROM accepted_at), 0));
END $$;

-- Return the refusals after one more attempt: `refused` at that moment, or `accepted` in an attempt that started then.
-- A successful test of the registry (`tested`) ends those of all servers, another success only those of its own.
CREATE OR REPLACE FUNCTION public.login_refusals_after(
  refusals jsonb, how text, server text, at timestamptz, code text, job text
) RETURNS jsonb LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  second numeric := extract(epoch FROM at);
BEGIN
  RETURN CASE how
    WHEN 'refused' THEN refusals || jsonb_build_object(server, jsonb_build_object(
      'times', coalesce((refusals->server->>'times')::integer, 0) + 1,
      'since', coalesce((refusals->server->>'since')::numeric, second),
      'at', second, 'code', code, 'job', job))
    WHEN 'accepted' THEN
      CASE WHEN (refusals->server->>'at')::numeric < second THEN refusals - server ELSE refusals END
    WHEN 'tested' THEN (
      SELECT coalesce(jsonb_object_agg(key, value), '{}') FROM jsonb_each(refusals)
       WHERE (value->>'at')::numeric >= second)
    ELSE refusals END;
END $$;

-- Record what an attempt shows of the present login of a registry: `used`, or as above.
CREATE OR REPLACE FUNCTION public.login_record(
  registry text, revision text, how text, server text, at timestamptz, code text, job text
) RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  INSERT INTO public.login_use AS u (
    registry_id, organization_id, login_revision, used_at, used_job_id, used_server_id, accepted_at, refusals)
  SELECT r.registry_id, r.organization_id, r.login_revision, now(), job, server,
         CASE WHEN how IN ('accepted', 'tested') THEN at END,
         public.login_refusals_after('{}', how, server, at, code, job)
    FROM public.registry r WHERE r.registry_id = registry AND r.login_revision = revision
  ON CONFLICT (registry_id) DO UPDATE SET
    login_revision = excluded.login_revision, used_at = excluded.used_at, used_job_id = excluded.used_job_id,
    used_server_id = excluded.used_server_id,
    accepted_at = CASE WHEN u.login_revision = excluded.login_revision
                       THEN greatest(u.accepted_at, excluded.accepted_at) ELSE excluded.accepted_at END,
    refusals = CASE WHEN u.login_revision = excluded.login_revision
                    THEN public.login_refusals_after(u.refusals, how, server, at, code, job) ELSE excluded.refusals END;
END $$;

-- Record what an attempt that has ended shows of its logins. If it had several, an error counts only for the one that
-- it names. The end of a short-lived login is no refusal: control renews it. A test that got past the login shows that
-- it was accepted. Most attempts show nothing new, so a row is changed once a minute, or when its refusals change.
CREATE OR REPLACE FUNCTION public.job_record_logins(
  job text, number integer, server text, started_at timestamptz, is_test boolean, outcome text, what jsonb
) RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  given record;
  how text := CASE
    WHEN outcome = 'succeeded' OR is_test AND what->>'stage' IN ('pull', 'push', 'catalog', 'engine')
    THEN CASE WHEN is_test THEN 'tested' ELSE 'accepted' END
    WHEN what->>'code' IN ('auth_bad_credentials', 'auth_expired') THEN 'refused'
    ELSE 'used' END;
BEGIN
  FOR given IN
    SELECT l.key AS registry, l.value AS revision,
           how = 'refused' AND (what->>'code' <> 'auth_expired' OR a.login_expires_at IS NULL)
             AND (coalesce(what->>'registry_id' = l.key, false)
                  OR a.login_revisions = jsonb_build_object(l.key, l.value)) AS is_refused
      FROM public.job_attempt a CROSS JOIN LATERAL jsonb_each_text(a.login_revisions) l
      LEFT JOIN public.login_use u ON u.registry_id = l.key AND u.login_revision = l.value
     WHERE a.job_id = job AND a.attempt = number
       AND NOT coalesce(
         how <> 'refused' AND u.used_at > now() - interval '1 minute'
         AND (how = 'used' OR u.accepted_at > now() - interval '1 minute'
              AND (u.refusals = '{}' OR how = 'accepted' AND NOT u.refusals ? server
                                        AND public.login_verdict(u.accepted_at, u.refusals) = 'free')), false)
     ORDER BY 1
  LOOP
    PERFORM public.login_record(
      given.registry, given.revision, CASE WHEN how <> 'refused' OR given.is_refused THEN how ELSE 'used' END,
      server, CASE WHEN how = 'refused' THEN clock_timestamp() ELSE started_at END, left(what->>'code', 100), job);
  END LOOP;
END $$;
