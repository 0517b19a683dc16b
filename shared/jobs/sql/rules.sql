-- What holds for every job, whoever changes it: legal transitions, its events, its hints, its secrets.
-- Applied after Alembic by `wharf migrate`; every statement can be run again.
-- Functions name every object with its schema: their search path holds nothing that a caller can fill.

-- Notifies those who listen, unless PostgreSQL's queue of notifications fills: where it is full, each transaction
-- that notifies fails, and any role can fill it. Whoever listens also looks by himself every few seconds.
CREATE OR REPLACE FUNCTION public.send_notification(channel text, payload text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF pg_notification_queue_usage() < 0.5 THEN
    PERFORM pg_notify(channel, payload);
  END IF;
END $$;

-- Whether the worker of a server was heard of within the last 15 s, the length of a lease. Without a search path
-- of its own, so that PostgreSQL inlines it into statements about many servers; it names no object.
CREATE OR REPLACE FUNCTION public.server_is_online(s public.server) RETURNS boolean LANGUAGE sql STABLE AS $$
  SELECT coalesce(s.removed_at IS NULL AND s.incarnation IS NOT NULL AND s.seen_at > now() - interval '15 seconds', false)
$$;

-- Whether jobs of a class are given to a server now: it is online, approved, not shutting down and not paused.
CREATE OR REPLACE FUNCTION public.server_is_available(s public.server, class text) RETURNS boolean
LANGUAGE sql STABLE AS $$
  SELECT public.server_is_online(s) AND s.approved_at IS NOT NULL AND NOT s.draining
     AND class <> ALL (s.paused_classes)
$$;

-- The moment after one more failure: 2, 4, 8 … s, up to 5 min, plus up to a half by jitter in [0, 1).
-- The tests compare it with an oracle: delay in tests/shared/jobs/transitions.py.
CREATE OR REPLACE FUNCTION public.job_delay(failures integer, jitter double precision, wait interval)
RETURNS interval LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT greatest(
    least(interval '2 seconds' * power(2, least(failures, 12)), interval '5 minutes') * (1 + jitter / 2),
    coalesce(wait, interval '0'))
$$;

-- Ends the open attempt of a job; the row stays as it is where it ended already.
CREATE OR REPLACE FUNCTION public.job_close_attempt(job text, number integer, how text, what jsonb)
RETURNS void LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
  UPDATE public.job_attempt SET outcome = how, error = what, ended_at = clock_timestamp()
   WHERE job_id = job AND attempt = number AND outcome IS NULL
$$;

-- Ends the attempt of a running job whose worker is gone: a failure of the job, which is queued again after the
-- pause, unless it failed too often or was cancelled. Gives false where it runs no more.
CREATE OR REPLACE FUNCTION public.job_lose(job text, pause interval, message text, remedy text) RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  lost public.job;
BEGIN
  UPDATE public.job j SET
    failures = failures + 1,
    state = CASE WHEN cancel_requested_at IS NOT NULL THEN 'cancelled'
                 WHEN failures + 1 >= max_failures THEN 'failed' ELSE 'queued' END,
    run_at = now() + coalesce(pause, public.job_delay(failures, random(), NULL)),
    error = jsonb_build_object(
      'code', 'worker_lost', 'message', message, 'remedy', remedy, 'retryable', true)
   WHERE j.job_id = job AND j.state = 'running'
  RETURNING * INTO lost;
  PERFORM public.job_close_attempt(lost.job_id, lost.attempt, 'lost', lost.error);
  RETURN lost.job_id IS NOT NULL;
END $$;

CREATE OR REPLACE FUNCTION public.job_before_change() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF TG_OP = 'INSERT' THEN
    IF NEW.state <> 'queued' OR NEW.attempt <> 0 THEN
      RAISE EXCEPTION 'job %: a job begins as queued', NEW.job_id USING ERRCODE = 'check_violation';
    END IF;
    NEW.event_seq := 1;
    RETURN NEW;
  END IF;
  IF NEW.attempt < OLD.attempt OR NEW.failures < OLD.failures THEN
    RAISE EXCEPTION 'job %: attempt and failures only grow', NEW.job_id USING ERRCODE = 'check_violation';
  END IF;
  IF NEW.state = OLD.state THEN
    RETURN NEW;
  END IF;
  IF (OLD.state, NEW.state) NOT IN (
    ('queued', 'dispatched'), ('queued', 'cancelled'), ('queued', 'expired'),
    ('dispatched', 'queued'), ('dispatched', 'running'), ('dispatched', 'failed'), ('dispatched', 'cancelled'),
    ('dispatched', 'expired'),
    ('running', 'queued'), ('running', 'succeeded'), ('running', 'failed'), ('running', 'cancelled')
  ) THEN
    RAISE EXCEPTION 'job %: % does not become %', NEW.job_id, OLD.state, NEW.state USING ERRCODE = 'check_violation';
  END IF;
  IF NEW.state = 'dispatched' AND NEW.attempt <> OLD.attempt + 1 THEN
    RAISE EXCEPTION 'job %: each release is a new attempt', NEW.job_id USING ERRCODE = 'check_violation';
  END IF;
  NEW.event_seq := OLD.event_seq + 1;
  IF NEW.state IN ('queued', 'succeeded', 'failed', 'cancelled', 'expired') THEN
    NEW.lease_until := NULL;
    NEW.incarnation := NULL;
  END IF;
  IF NEW.state IN ('succeeded', 'failed', 'cancelled', 'expired') THEN
    NEW.finished_at := clock_timestamp();
  END IF;
  RETURN NEW;
END $$;

-- Keeps how a test of a stored registry ended, for longer than its job is kept.
CREATE OR REPLACE FUNCTION public.registry_check_add(job public.job) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  INSERT INTO public.registry_check (job_id, organization_id, registry_id, server_id, state, code, stage, milliseconds)
  VALUES (job.job_id, job.organization_id, job.registry_id, job.server_id, job.state,
          left(job.error->>'code', 100), left(job.error->>'stage', 100),
          CASE WHEN job.state IN ('succeeded', 'failed')
               THEN extract(epoch FROM job.finished_at - job.started_at) * 1000 END);
EXCEPTION WHEN foreign_key_violation THEN
  NULL;  -- The registry was removed meanwhile, and its history with it.
END $$;

CREATE OR REPLACE FUNCTION public.job_after_change() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF TG_OP = 'UPDATE' AND NEW.state = OLD.state THEN
    IF NEW.cancel_requested_at IS NOT NULL AND OLD.cancel_requested_at IS NULL THEN
      PERFORM public.send_notification('wharf_beat', NEW.server_id);
    END IF;
    RETURN NULL;
  END IF;
  INSERT INTO public.job_event (job_id, seq, attempt, kind, state, data)
  VALUES (NEW.job_id, NEW.event_seq, NEW.attempt, 'state', NEW.state,
          CASE WHEN TG_OP = 'UPDATE' THEN jsonb_strip_nulls(jsonb_build_object('error', NEW.error)) END);
  IF TG_OP = 'UPDATE' AND OLD.state IN ('dispatched', 'running') AND NEW.state NOT IN ('dispatched', 'running') THEN
    DELETE FROM public.job_secret WHERE job_id = NEW.job_id AND purpose = 'login';
    PERFORM public.send_notification('wharf_release', '');
  END IF;
  IF NEW.state IN ('succeeded', 'failed', 'cancelled', 'expired') THEN
    DELETE FROM public.job_secret WHERE job_id = NEW.job_id;
    IF NEW.kind = 'registry.test' AND NEW.registry_id IS NOT NULL THEN
      PERFORM public.registry_check_add(NEW);
    END IF;
    PERFORM public.send_notification('wharf_job', NEW.job_id);
    PERFORM public.send_notification('wharf_release', '');
    IF NEW.deployment_id IS NOT NULL THEN
      PERFORM public.send_notification('wharf_settle', '');
    END IF;
  ELSIF NEW.state = 'queued' THEN
    PERFORM public.send_notification('wharf_release', '');
  END IF;
  RETURN NULL;
END $$;

CREATE OR REPLACE TRIGGER job_before_change BEFORE INSERT OR UPDATE ON public.job
  FOR EACH ROW EXECUTE FUNCTION public.job_before_change();
CREATE OR REPLACE TRIGGER job_after_change AFTER INSERT OR UPDATE OF state, cancel_requested_at ON public.job
  FOR EACH ROW EXECUTE FUNCTION public.job_after_change();

-- A removed server stays removed: its role and its key are gone.
CREATE OR REPLACE FUNCTION public.server_before_change() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF OLD.removed_at IS NOT NULL AND NEW.removed_at IS DISTINCT FROM OLD.removed_at THEN
    RAISE EXCEPTION 'server %: is removed', OLD.server_id USING ERRCODE = 'check_violation';
  END IF;
  RETURN NEW;
END $$;

CREATE OR REPLACE TRIGGER server_before_change BEFORE UPDATE OF removed_at ON public.server
  FOR EACH ROW EXECUTE FUNCTION public.server_before_change();

-- The first start: an organization and the key that the operator chose for it, unless there is one already.
CREATE OR REPLACE FUNCTION public.organization_found(organization text, api_key text, beginning text, hash bytea)
RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  -- An advisory lock could be held by any role for ever; nobody else may lock this table.
  LOCK TABLE public.organization IN SHARE ROW EXCLUSIVE MODE;
  IF NOT EXISTS (SELECT FROM public.organization) THEN
    INSERT INTO public.organization (organization_id, name) VALUES (organization, 'default');
    INSERT INTO public.api_key (api_key_id, organization_id, name, role, start, key_hash)
    VALUES (api_key, organization, 'first admin key', 'admin', beginning, hash);
  END IF;
END $$;

-- Has those who do the same for this organization wait until the transaction ends. The row is locked, and no advisory
-- lock taken: that could be held by any role for ever.
CREATE OR REPLACE FUNCTION public.organization_lock(organization text) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT FROM public.organization o WHERE o.organization_id = organization_lock.organization FOR NO KEY UPDATE
$$;

-- A need that would close a circle is refused; the job that has it is marked, so that it is found among many.
CREATE OR REPLACE FUNCTION public.job_need_check() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF EXISTS (
    WITH RECURSIVE needed(job_id) AS (
      SELECT NEW.needs_job_id
      UNION SELECT n.needs_job_id FROM public.job_need n JOIN needed USING (job_id))
    SELECT 1 FROM needed WHERE job_id = NEW.job_id
  ) THEN
    RAISE EXCEPTION 'job %: needs itself by way of %', NEW.job_id, NEW.needs_job_id USING ERRCODE = 'check_violation';
  END IF;
  UPDATE public.job SET has_needs = true WHERE job_id = NEW.job_id AND NOT has_needs;
  RETURN NULL;
END $$;

CREATE OR REPLACE TRIGGER job_need_check AFTER INSERT OR UPDATE ON public.job_need
  FOR EACH ROW EXECUTE FUNCTION public.job_need_check();

-- Records a request to cancel; a job that no worker has claimed ends at once. Gives the state, null where there is
-- no such job or it has ended already.
CREATE OR REPLACE FUNCTION public.job_cancel(job text, organization text, why jsonb)
RETURNS text LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  changed public.job;
BEGIN
  UPDATE public.job j
     SET cancel_requested_at = coalesce(cancel_requested_at, clock_timestamp()),
         state = CASE WHEN state IN ('queued', 'dispatched') THEN 'cancelled' ELSE state END,
         error = CASE WHEN state IN ('queued', 'dispatched') THEN why ELSE error END
   WHERE j.job_id = job AND j.organization_id = organization
     AND state IN ('queued', 'dispatched', 'running')
  RETURNING * INTO changed;
  IF changed.state = 'cancelled' THEN
    PERFORM public.job_close_attempt(job, changed.attempt, 'cancelled', NULL);
  END IF;
  RETURN changed.state;
END $$;

-- Whether an image is what some server of the organization runs: of its deployments of one application there, the
-- last that succeeded is.
CREATE OR REPLACE FUNCTION public.image_runs(organization text, image text) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT EXISTS (
    SELECT FROM public.deployment d JOIN public.deployment_server s USING (deployment_id)
     WHERE d.organization_id = organization AND d.digest = image AND s.outcome = 'succeeded'
       AND NOT EXISTS (
         SELECT FROM public.deployment_server later JOIN public.deployment newer USING (deployment_id)
          WHERE later.server_id = s.server_id AND newer.application_id = d.application_id
            AND later.outcome = 'succeeded' AND newer.number > d.number))
$$;

-- Registry and repository of a reference, without its tag and its digest: where an image is.
CREATE OR REPLACE FUNCTION public.repository_of(reference text) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
  SELECT regexp_replace(split_part(reference, '@', 1), ':[^/:]*$', '')
$$;

-- Takes a join token, shown by its SHA-256, and binds to it, once, a server's public key and what proves its two
-- passwords. Gives the server's id, null where the token is unknown, used or over. The token spoke for the server's
-- organization: the audit row names no API key.
DROP FUNCTION IF EXISTS public.server_enroll(bytea, text, text, text);
CREATE OR REPLACE FUNCTION public.server_enroll(
  token bytea, key text, verifier text, broker text DEFAULT NULL, key_id text DEFAULT NULL)
RETURNS text LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  server text;
BEGIN
  -- An answer that was lost is asked for again, with the same key: it is answered again.
  SELECT e.server_id INTO server FROM public.server_token t JOIN public.server_enrolment e USING (server_id)
   WHERE t.token_hash = sha256(token) AND t.used_at IS NOT NULL AND t.expires_at > now() AND e.public_key = key;
  IF server IS NOT NULL THEN
    RETURN server;
  END IF;
  UPDATE public.server_token t SET used_at = now()
    FROM public.server s
   WHERE t.token_hash = sha256(token) AND t.used_at IS NULL AND t.expires_at > now()
     AND s.server_id = t.server_id AND s.removed_at IS NULL
  RETURNING t.server_id INTO server;
  IF server IS NULL THEN
    RETURN NULL;
  END IF;
  INSERT INTO public.server_enrolment (server_id, public_key, role_verifier, broker_hash)
  VALUES (server, key, verifier, broker);
  INSERT INTO public.audit_event (audit_event_id, organization_id, action, object_id, data)
  SELECT public.new_id(), s.organization_id, 'server.enroll', server, jsonb_build_object('key', key_id)
    FROM public.server s WHERE s.server_id = server;
  PERFORM public.send_notification('wharf_release', '');
  RETURN server;
END $$;

-- The least id that a job made at that moment can have: ids begin with their time (RFC 9562), so that the primary
-- key finds what is old.
CREATE OR REPLACE FUNCTION public.job_id_at(moment timestamptz) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT substr(hex, 1, 8) || '-' || substr(hex, 9, 4)
    FROM (SELECT lpad(to_hex((extract(epoch FROM moment) * 1000)::bigint), 12, '0') AS hex) AS time
$$;

-- Removes the events of jobs that ended so long ago, the oldest first; gives how many.
CREATE OR REPLACE FUNCTION public.job_event_prune(age interval, many integer) RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  WITH old AS (
    SELECT e.job_id, e.seq FROM public.job_event e JOIN public.job j USING (job_id)
     WHERE e.job_id < (SELECT public.job_id_at(now() - age)) AND j.finished_at < now() - age
     ORDER BY e.job_id, e.seq LIMIT many
  ), gone AS (
    DELETE FROM public.job_event e USING old WHERE e.job_id = old.job_id AND e.seq = old.seq RETURNING 1
  )
  SELECT count(*) FROM gone
$$;

-- Removes the jobs that ended so long ago, with all that belongs to them, the oldest first; gives how many. One
-- that an unfinished job needs stays as long as that.
CREATE OR REPLACE FUNCTION public.job_prune(age interval, many integer) RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  WITH old AS (
    SELECT job_id FROM public.job j
     WHERE job_id < (SELECT public.job_id_at(now() - age)) AND finished_at < now() - age
       AND NOT EXISTS (SELECT 1 FROM public.job_need n JOIN public.job waits USING (job_id)
                        WHERE n.needs_job_id = j.job_id AND waits.finished_at IS NULL)
     ORDER BY job_id LIMIT many FOR UPDATE SKIP LOCKED
  ), gone AS (
    DELETE FROM public.job USING old WHERE job.job_id = old.job_id RETURNING 1
  )
  SELECT count(*) FROM gone
$$;
