-- The ledger of the pulls that registries allow: `registry_quota`. A row is kept for a key:
--   registry:ID          the login of a registry, on all servers
--   registry:ID@SERVER   this login on one server, where the registry counts by address
--   server:ID@HOST       anonymous pulls of a server from a host
-- Rows of an organization with the same host and source share one quota. Workers report what a registry says; `at` is
-- the time of PostgreSQL. The tests compare the functions with an oracle: tests/shared/jobs/quotas.py.

-- Return a number of a worker's document between 0 and `most`; null for anything else.
CREATE OR REPLACE FUNCTION public.quota_number(value jsonb, most numeric) RETURNS numeric
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT CASE WHEN jsonb_typeof(value) = 'number' AND (value #>> '{}')::numeric >= 0
              THEN least((value #>> '{}')::numeric, most) END
$$;

-- Return how many more pulls may start while `active` ones run; null for any number. After a block one pull tries.
CREATE OR REPLACE FUNCTION public.quota_available(q public.registry_quota, active bigint, at timestamptz)
RETURNS bigint LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT CASE
    WHEN q.blocked_until > at THEN 0
    WHEN q.blocked_until IS NOT NULL THEN greatest(1 - active, 0)
    WHEN q.window_ends_at <= at THEN q.pull_limit - least(q.pull_limit, active)
    ELSE q.remaining - least(q.remaining, active) END
$$;

-- Return when to try again after the last pull of a window: at its end at the latest, but every quarter of it and every
-- 15 minutes, because a registry may free pulls one by one. Without a known window, after a minute.
CREATE OR REPLACE FUNCTION public.quota_next_try(q public.registry_quota, at timestamptz) RETURNS timestamptz
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT CASE WHEN q.window_seconds IS NULL OR q.window_ends_at IS NULL THEN at + interval '1 minute'
              ELSE least(q.window_ends_at, at + make_interval(secs => least(q.window_seconds / 4.0, 900))) END
$$;

-- Return the row after an observation: {limit, remaining, window_seconds, refused, retry_after_seconds, age_seconds}.
-- One that is older than the row changes nothing. Pulls that are refused at once count as one refusal.
CREATE OR REPLACE FUNCTION public.quota_after(q public.registry_quota, seen jsonb, at timestamptz)
RETURNS public.registry_quota LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  seen_at timestamptz := at - make_interval(secs => coalesce(public.quota_number(seen->'age_seconds', 3600), 0)::float8);
  pulls integer := public.quota_number(seen->'limit', 1e9)::integer;
  remains integer := public.quota_number(seen->'remaining', 1e9)::integer;
  lasts integer := public.quota_number(seen->'window_seconds', 2678400)::integer;
  pause interval := make_interval(secs => public.quota_number(seen->'retry_after_seconds', 3600)::float8);
BEGIN
  IF q.observed_at > seen_at THEN
    RETURN q;
  END IF;
  IF pulls IS NOT NULL THEN
    -- A later window has begun if there are more pulls than before.
    IF (q.window_ends_at > seen_at AND remains <= q.remaining AND (q.pull_limit, q.window_seconds) = (pulls, lasts))
       IS NOT TRUE THEN
      q.window_ends_at := seen_at + make_interval(secs => lasts);
    END IF;
    q.pull_limit := pulls;
    q.window_seconds := lasts;
    q.remaining := remains;
  END IF;
  q.observed_at := seen_at;
  IF seen->'refused' = 'true' AND q.blocked_until > at THEN
    q.blocked_until := greatest(q.blocked_until, seen_at + pause);
  ELSIF seen->'refused' = 'true' THEN
    q.refusals := least(q.refusals + 1, 30);
    q.blocked_until := CASE
      WHEN pause IS NOT NULL THEN at + greatest(pause, interval '1 second')
      WHEN q.remaining = 0 THEN public.quota_next_try(q, at)
      ELSE at + public.job_backoff(q.refusals - 1, 0, NULL) END;
  ELSIF q.remaining = 0 THEN
    q.blocked_until := public.quota_next_try(q, at);
  ELSE
    q.refusals := 0;
    q.blocked_until := NULL;
  END IF;
  RETURN q;
END $$;

-- Return the row after pulls that succeeded, and whose worker observed nothing.
CREATE OR REPLACE FUNCTION public.quota_spent(q public.registry_quota, pulls integer, at timestamptz)
RETURNS public.registry_quota LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF q.blocked_until <= at THEN
    q.blocked_until := NULL;
    q.refusals := 0;
    q.remaining := NULL;
    q.window_ends_at := NULL;
    RETURN q;
  END IF;
  IF q.window_ends_at <= at THEN
    q.window_ends_at := at + make_interval(secs => q.window_seconds);
    q.remaining := q.pull_limit;
  END IF;
  q.remaining := q.remaining - least(q.remaining, pulls);
  IF q.remaining = 0 AND q.blocked_until IS NULL THEN
    q.blocked_until := public.quota_next_try(q, at);
  END IF;
  RETURN q;
END $$;

-- Store a changed row.
CREATE OR REPLACE FUNCTION public.quota_store(q public.registry_quota) RETURNS void
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
  UPDATE public.registry_quota SET
    source = q.source, pull_limit = q.pull_limit, remaining = q.remaining, window_seconds = q.window_seconds,
    window_ends_at = q.window_ends_at, observed_at = q.observed_at, blocked_until = q.blocked_until,
    refusals = q.refusals
   WHERE quota_key = q.quota_key
$$;

-- Return the key that a report of a job's worker is about; null for a registry that the job does not use.
CREATE OR REPLACE FUNCTION public.quota_key(job public.job, seen jsonb) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT CASE
    WHEN coalesce(seen->>'host', '') = '' OR length(seen->>'host') > 255 THEN NULL
    WHEN seen->>'registry_id' IS NULL THEN 'server:' || job.server_id || '@' || public.plain_text(seen->>'host')
    WHEN seen->>'registry_id' = job.registry_id OR seen->>'registry_id' = job.command->>'source_registry_id'
         OR job.command->'images' @> jsonb_build_array(jsonb_build_object('registry_id', seen->'registry_id'))
      THEN 'registry:' || (seen->>'registry_id')
           || CASE WHEN seen->'by_address' = 'true' THEN '@' || job.server_id ELSE '' END END
$$;

-- Store one report of a job's worker for its key, and for all that share its source. Return the key.
CREATE OR REPLACE FUNCTION public.quota_observe(job public.job, seen jsonb) RETURNS text
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  about text := public.quota_key(job, seen);
  named text := left(public.plain_text(seen->>'source'), 200);
  q public.registry_quota;
BEGIN
  IF about IS NULL THEN
    RETURN NULL;
  END IF;
  BEGIN
    INSERT INTO public.registry_quota (quota_key, organization_id, host, registry_id, server_id, source, observed_at)
    VALUES (about, job.organization_id, public.plain_text(seen->>'host'), seen->>'registry_id',
            CASE WHEN seen->>'registry_id' IS NULL OR seen->'by_address' = 'true' THEN job.server_id END,
            named, 'epoch')
    ON CONFLICT (quota_key) DO NOTHING;
  EXCEPTION WHEN foreign_key_violation THEN
    RETURN NULL;  -- The registry was removed meanwhile.
  END;
  FOR q IN
    SELECT r.* FROM public.registry_quota r
     WHERE r.quota_key = about
        OR r.organization_id = job.organization_id AND r.host = public.plain_text(seen->>'host') AND r.source = named
     ORDER BY r.quota_key FOR NO KEY UPDATE
  LOOP
    q := public.quota_after(q, seen, now());
    q.source := coalesce(named, q.source);
    PERFORM public.quota_store(q);
  END LOOP;
  RETURN about;
END $$;

-- Return the keys of a job, each at least as often as it is needed ({key: pulls}), up to 100 times.
CREATE OR REPLACE FUNCTION public.quota_reserve(keys varchar[], needed jsonb) RETURNS varchar[]
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT keys || ARRAY(
    SELECT n.key::varchar FROM jsonb_each(needed) n CROSS JOIN generate_series(
             cardinality(array_positions(keys, n.key::varchar)) + 1, least((n.value #>> '{}')::integer, 100))
     ORDER BY n.key)
$$;

-- Store what the worker of an ended attempt reports about limits, and the pulls that it has found out the job takes: a
-- job that is queued again reserves them. Return the keys whose registries refused it.
CREATE OR REPLACE FUNCTION public.quota_record(job public.job, reports jsonb, has_succeeded boolean) RETURNS text[]
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  seen jsonb;
  about text;
  known text[] := '{}';
  refused text[] := '{}';
  pulls integer;
  taken jsonb := '{}';
  q public.registry_quota;
BEGIN
  FOR seen IN
    SELECT r FROM jsonb_array_elements(CASE WHEN jsonb_typeof(reports) = 'array' THEN reports ELSE '[]' END) r
     WHERE jsonb_typeof(r) = 'object' LIMIT 20
  LOOP
    pulls := public.quota_number(seen->'pulls', 500)::integer;
    IF pulls > 0 THEN
      taken := taken || coalesce((
        SELECT jsonb_object_agg(key, pulls) FROM (VALUES (true), (false)) AS counted (by_address)
          CROSS JOIN public.quota_key(job, seen || jsonb_build_object('by_address', by_address)) key
         WHERE key = ANY (job.quota_keys)), '{}');
    END IF;
    CONTINUE WHEN pulls > 0 AND NOT seen ? 'limit';
    about := public.quota_observe(job, seen);
    known := known || about;
    IF seen->'refused' = 'true' AND about IS NOT NULL THEN
      refused := refused || about;
      taken := jsonb_build_object(about, 1) || taken;
    END IF;
  END LOOP;
  IF has_succeeded AND job.quota_keys <> '{}' THEN
    FOR q IN
      SELECT r.* FROM public.registry_quota r
       WHERE r.quota_key = ANY (job.quota_keys) AND r.quota_key <> ALL (array_remove(known, NULL))
       ORDER BY r.quota_key FOR NO KEY UPDATE
    LOOP
      PERFORM public.quota_store(public.quota_spent(q, coalesce(
        (taken->>q.quota_key)::integer, cardinality(array_positions(job.quota_keys, q.quota_key::varchar))), now()));
    END LOOP;
  END IF;
  IF taken <> '{}' AND job.state = 'queued' THEN
    UPDATE public.job j SET quota_keys = public.quota_reserve(j.quota_keys, taken)
     WHERE j.job_id = job.job_id AND j.state = 'queued'
       AND j.quota_keys <> public.quota_reserve(j.quota_keys, taken);
  END IF;
  RETURN refused;
END $$;

-- Forget the quota of a registry that now has another host or account.
CREATE OR REPLACE FUNCTION public.quota_forget() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  DELETE FROM public.registry_quota WHERE registry_id = NEW.registry_id;
  RETURN NULL;
END $$;

CREATE OR REPLACE TRIGGER quota_forget AFTER UPDATE OF host, username ON public.registry
  FOR EACH ROW WHEN ((OLD.host, OLD.username) IS DISTINCT FROM (NEW.host, NEW.username))
  EXECUTE FUNCTION public.quota_forget();
