-- The functions, views and rights of a database at revision 0023, as `wharf migrate` made them then; for test_upgrade.py.

-- What a worker says is stored only if everybody can read it again: bounded in bytes (and so in elements, each of
-- which takes four), in depth and in its numbers, and without what would steer a terminal. Applied before the
-- functions that take documents.

-- A text without control characters (C0 but tab and line feed, DEL, C1) and without those that turn the direction
-- of writing: in their place stands U+FFFD.
CREATE OR REPLACE FUNCTION public.plain_text(said text) RETURNS text
LANGUAGE sql IMMUTABLE STRICT SET search_path = pg_catalog, pg_temp AS $$
  SELECT regexp_replace(said, E'[\u0001-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]', E'\ufffd', 'g')
$$;

-- The document as it may be stored, NULL where it may not: an object below so many bytes, 16 levels deep at the
-- most, its numbers below 10^19.
CREATE OR REPLACE FUNCTION public.readable_document(document jsonb, most_bytes integer) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE STRICT SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  said text;
BEGIN
  IF jsonb_typeof(document) <> 'object' OR pg_column_size(document) >= most_bytes
     OR jsonb_path_exists(document, 'strict $.**{17 to last}') THEN
    RETURN NULL;
  END IF;
  said := document::text;
  -- The text of most documents is plain: no number of twenty digits, no escapes but \n \t \" \\, all of it ASCII.
  IF said !~ '[ [-][0-9]{20}|\\[bfru]|[^ -~]' THEN
    RETURN document;
  END IF;
  IF jsonb_path_exists(document, 'strict $.** ? (@.type() == "number" && (@ >= 1e19 || @ <= -1e19))') THEN
    RETURN NULL;
  END IF;
  -- JSON text shows C0 as \uXXXX and holds none of it, so that one of it can stand for an escaped backslash.
  said := public.plain_text(replace(
    regexp_replace(replace(said, '\\', chr(1)), '\\u00[01][0-9a-f]|\\[bfr]', E'\ufffd', 'g'), chr(1), '\\'));
  RETURN said::jsonb;
END $$;

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

-- Notifies endpoints when something ends: a message for each endpoint that wants it, in the very statement that ends it,
-- so that none is lost and none is there twice. Control sends them. Applied like rules.sql.

-- A new identifier, as shared.ids makes them: UUIDv7 (RFC 9562), sorted by time.
CREATE OR REPLACE FUNCTION public.new_id() RETURNS text
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
  SELECT public.job_id_at(clock_timestamp()) || '-7' || substr(gen_random_uuid()::text, 16)
$$;

-- 2024-01-15T10:30:00.000Z
CREATE OR REPLACE FUNCTION public.show_moment(moment timestamptz) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT to_char(moment AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')
$$;

-- The part of an error that is sent: evidence and reports stay here.
CREATE OR REPLACE FUNCTION public.webhook_error(error jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT CASE WHEN error IS NOT NULL THEN jsonb_build_object(
    'code', left(error->>'code', 100), 'message', left(error->>'message', 2000),
    'remedy', left(error->>'remedy', 2000)) END
$$;

-- Stores a message for each endpoint of the organization that wants this kind, and hints at it. An endpoint that is being removed at
-- this moment gets no more messages: to wait would be to wait until all messages to it are gone. Nothing else locks one so.
CREATE OR REPLACE FUNCTION public.webhook_add(
  organization text, kind text, subject text, ended_at timestamptz, data jsonb
) RETURNS void LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
  WITH added AS (
    INSERT INTO public.webhook_delivery (delivery_id, organization_id, webhook_id, event, subject_id, payload)
    SELECT public.new_id(), w.organization_id, w.webhook_id, kind, subject,
           jsonb_build_object('type', kind, 'timestamp', public.show_moment(ended_at), 'data', data)
      FROM public.webhook w
     WHERE w.organization_id = organization AND w.disabled_at IS NULL AND kind = ANY (w.events)
       FOR KEY SHARE OF w SKIP LOCKED
    ON CONFLICT DO NOTHING RETURNING 1
  )
  SELECT public.send_notification('wharf_webhook', '') FROM added LIMIT 1
$$;

-- Neither the command nor the whole result is sent: a compose file may be in both.
CREATE OR REPLACE FUNCTION public.job_after_end() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF EXISTS (SELECT FROM public.webhook w WHERE w.organization_id = NEW.organization_id) THEN
    PERFORM public.webhook_add(NEW.organization_id, 'job.ended', NEW.job_id, NEW.finished_at, jsonb_build_object(
      'jobId', NEW.job_id, 'kind', NEW.kind, 'state', NEW.state, 'serverId', NEW.server_id,
      'applicationId', left(NEW.command->>'application_id', 100), 'deploymentId', NEW.deployment_id,
      'reference', left(NEW.result->>'reference', 700), 'digest', substring(NEW.result->>'digest' from '^sha256:[0-9a-f]{64}$'),
      'error', public.webhook_error(NEW.error), 'attempt', NEW.attempt,
      'createdAt', public.show_moment(NEW.created_at), 'finishedAt', public.show_moment(NEW.finished_at)));
  END IF;
  RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION public.build_after_end() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM public.webhook_add(NEW.organization_id, 'build.ended', NEW.build_id, NEW.finished_at, jsonb_build_object(
    'buildId', NEW.build_id, 'applicationId', NEW.application_id, 'version', NEW.version, 'title', NEW.title,
    'state', NEW.outcome, 'reference', NEW.reference, 'retained', NEW.retained, 'digest', NEW.digest,
    'revision', NEW.revision, 'error', public.webhook_error(NEW.error),
    'createdAt', public.show_moment(NEW.created_at), 'finishedAt', public.show_moment(NEW.finished_at)));
  RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION public.deployment_after_end() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM public.webhook_add(NEW.organization_id, 'deployment.ended', NEW.deployment_id, NEW.finished_at,
    jsonb_build_object(
      'deploymentId', NEW.deployment_id, 'applicationId', NEW.application_id, 'buildId', NEW.build_id,
      'title', NEW.title, 'state', NEW.outcome, 'reference', NEW.reference, 'digest', NEW.digest,
      'rollbackId', NEW.rollback_id, 'undoes', NEW.undoes, 'error', public.webhook_error(NEW.error),
      'createdAt', public.show_moment(NEW.created_at), 'finishedAt', public.show_moment(NEW.finished_at)));
  RETURN NULL;
END $$;

CREATE OR REPLACE TRIGGER job_after_end AFTER UPDATE OF state ON public.job
  FOR EACH ROW WHEN (OLD.finished_at IS NULL AND NEW.finished_at IS NOT NULL)
  EXECUTE FUNCTION public.job_after_end();
CREATE OR REPLACE TRIGGER build_after_end AFTER UPDATE OF outcome ON public.build
  FOR EACH ROW WHEN (OLD.outcome IS NULL AND NEW.outcome IS NOT NULL)
  EXECUTE FUNCTION public.build_after_end();
CREATE OR REPLACE TRIGGER deployment_after_end AFTER UPDATE OF outcome ON public.deployment
  FOR EACH ROW WHEN (OLD.outcome IS NULL AND NEW.outcome IS NOT NULL)
  EXECUTE FUNCTION public.deployment_after_end();

-- Notices that the database was restored from an older copy, and has the jobs of that copy wait. Applied like rules.sql.
--
-- The database is in one epoch at a time, with a counter that control raises. A worker gets both, as a mark, and
-- presents the newest one. A mark that is newer than the database knows was given after the copy was made.
-- It holds a proof, so that no server can make one up and so stop the others.

CREATE OR REPLACE FUNCTION public.epoch_proof(secret bytea, epoch text, counter bigint) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT encode(sha256(secret || sha256(secret || convert_to(epoch || ':' || counter, 'UTF8'))), 'hex')
$$;

-- The current mark for workers.
CREATE OR REPLACE FUNCTION public.epoch_mark() RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT e.epoch_id || ':' || e.counter || ':' || public.epoch_proof(e.secret, e.epoch_id, e.counter)
    FROM public.database_epoch e WHERE e.ended_at IS NULL
$$;

-- Begins a new epoch: the jobs that are there wait for organization_resume. Those that were handed to a server come
-- back first; one that a worker still runs goes on, and waits once its lease is over. `later` is the epoch of which
-- a worker presented, if one did; nothing happens if that is known already.
CREATE OR REPLACE FUNCTION public.database_restored(later text DEFAULT NULL) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  known public.database_epoch;
  back record;
BEGIN
  UPDATE public.database_epoch SET ended_at = clock_timestamp() WHERE ended_at IS NULL RETURNING * INTO known;
  IF known.epoch_id IS NULL THEN
    RETURN;  -- Somebody else has just done it.
  END IF;
  INSERT INTO public.database_epoch (epoch_id, secret, ended_at)
  SELECT later, known.secret, clock_timestamp() WHERE later IS NOT NULL ON CONFLICT DO NOTHING;
  INSERT INTO public.database_epoch (epoch_id, secret) VALUES (gen_random_uuid()::text, known.secret);
  FOR back IN
    UPDATE public.job SET state = 'queued', run_at = now() WHERE state = 'dispatched' RETURNING job_id, attempt
  LOOP
    PERFORM public.job_close_attempt(back.job_id, back.attempt, 'returned', NULL);
  END LOOP;
  UPDATE public.organization SET held_at = clock_timestamp();
END $$;

-- Looks at the mark that a worker presents.
CREATE OR REPLACE FUNCTION public.epoch_check(mark text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  known public.database_epoch;
  epoch text := split_part(mark, ':', 1);
  counter bigint;
BEGIN
  IF coalesce(mark !~ '^[0-9a-f-]{36}:[0-9]{1,18}:[0-9a-f]{64}$', true) THEN
    RETURN;
  END IF;
  counter := split_part(mark, ':', 2)::bigint;
  SELECT * INTO known FROM public.database_epoch e WHERE e.ended_at IS NULL;
  IF known.epoch_id = epoch AND counter <= known.counter
     OR EXISTS (SELECT FROM public.database_epoch e WHERE e.epoch_id = epoch AND e.ended_at IS NOT NULL)
     OR split_part(mark, ':', 3) <> public.epoch_proof(known.secret, epoch, counter) THEN
    RETURN;
  END IF;
  PERFORM public.database_restored(epoch);
END $$;

-- Lets the jobs of an organization run that wait since the database was restored; gives how many there are.
CREATE OR REPLACE FUNCTION public.organization_resume(organization text) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  many bigint;
BEGIN
  SELECT count(*) INTO many FROM public.job j JOIN public.organization o USING (organization_id)
   WHERE j.organization_id = organization_resume.organization AND j.state = 'queued' AND j.created_at <= o.held_at;
  UPDATE public.organization o SET held_at = NULL
   WHERE o.organization_id = organization_resume.organization AND o.held_at IS NOT NULL;
  PERFORM public.send_notification('wharf_release', '');
  RETURN many;
END $$;

-- What a server worker may do: five functions, each bound to the server that its database role is named for.
-- A role `wharf_server_<server id>` may EXECUTE these and nothing else. Each takes one JSON document and
-- returns one; unknown fields are ignored. Applied after Alembic by `wharf migrate`.

CREATE SCHEMA IF NOT EXISTS worker_v1;

CREATE OR REPLACE FUNCTION worker_v1.me() RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT server_id FROM public.server
   WHERE server_id = substr(session_user, length('wharf_server_') + 1) AND removed_at IS NULL
$$;

-- Whether the caller is the worker that speaks for its server now; the row is locked against a newer hello,
-- and not against those who submit jobs for this server (a foreign key takes FOR KEY SHARE).
CREATE OR REPLACE FUNCTION worker_v1.is_current(incarnation text) RETURNS boolean
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
  SELECT EXISTS (
    SELECT 1 FROM public.server s
     WHERE s.server_id = worker_v1.me() AND s.incarnation = is_current.incarnation FOR SHARE)
$$;

-- hello {incarnation, predecessor, wire_version, worker_version, kinds, engine, mark}
--   → {status: current, server_id, organization_id, mark} | {status: wait, seconds} | {status: unknown}
-- `predecessor` proves, by what the exclusively locked state directory remembers, that the worker before is
-- dead; without that proof the new one waits until the other has not been seen for the length of a lease.
CREATE OR REPLACE FUNCTION worker_v1.hello(document jsonb) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  s public.server;
BEGIN
  IF coalesce(length(document->>'incarnation'), 0) NOT BETWEEN 1 AND 100 OR pg_column_size(document) > 65536 THEN
    RAISE EXCEPTION 'hello: a worker names its incarnation' USING ERRCODE = 'invalid_parameter_value';
  END IF;
  PERFORM public.epoch_check(document->>'mark');
  SELECT * INTO s FROM public.server WHERE server_id = worker_v1.me() FOR NO KEY UPDATE;
  IF s.server_id IS NULL THEN
    RETURN jsonb_build_object('status', 'unknown');
  END IF;
  IF s.incarnation IS NOT NULL AND s.incarnation <> document->>'incarnation'
     AND s.incarnation IS DISTINCT FROM document->>'predecessor'
     AND s.seen_at > now() - interval '15 seconds' THEN
    RETURN jsonb_build_object('status', 'wait', 'seconds',
      ceil(extract(epoch FROM s.seen_at + interval '15 seconds' - now())));
  END IF;
  PERFORM public.job_lose(job_id, interval '0', 'the worker of this attempt died',
                          'See the worker''s log on the server.')
     FROM public.job
    WHERE server_id = s.server_id AND state = 'running' AND incarnation <> document->>'incarnation';
  UPDATE public.job SET rung_at = 'epoch' WHERE server_id = s.server_id AND state = 'dispatched';
  UPDATE public.server SET
    predecessor = CASE WHEN incarnation = document->>'predecessor' THEN incarnation
                       WHEN incarnation = document->>'incarnation' THEN predecessor END,
    incarnation = document->>'incarnation', hello_at = now(), seen_at = now(), draining = false,
    wire_version = (document->>'wire_version')::integer,
    worker_version = public.plain_text(left(document->>'worker_version', 100)),
    kinds = coalesce((SELECT array_agg(public.plain_text(left(kind #>> '{}', 100))) FROM jsonb_array_elements(
        CASE WHEN jsonb_typeof(document->'kinds') = 'array' THEN document->'kinds' ELSE '[]' END) kind
      WHERE jsonb_typeof(kind) = 'string'), '{}'),
    engine = public.readable_document(document->'engine', 16384)
   WHERE server_id = s.server_id;
  PERFORM public.send_notification('wharf_release', '');
  RETURN jsonb_build_object('status', 'current', 'server_id', s.server_id, 'organization_id', s.organization_id,
                            'mark', public.epoch_mark());
END $$;

-- claim {incarnation, job_id, attempt}
--   → {status: claimed, kind, version, command, timeout_seconds, secrets: [{purpose, sealed}]} | {status: fenced}
-- A repeat by the same incarnation answers the same again.
CREATE OR REPLACE FUNCTION worker_v1.claim(document jsonb) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  j public.job;
BEGIN
  IF NOT worker_v1.is_current(document->>'incarnation') THEN
    RETURN jsonb_build_object('status', 'superseded');
  END IF;
  UPDATE public.job SET
    state = 'running', incarnation = document->>'incarnation',
    lease_until = now() + interval '15 seconds', started_at = clock_timestamp(), progress = NULL, error = NULL,
    -- From here on what a tag means may have been looked up: who asks later gets a job of his own.
    dedupe_key = CASE dedupe_until WHEN 'ended' THEN dedupe_key END,
    dedupe_until = CASE dedupe_until WHEN 'ended' THEN dedupe_until END
   WHERE job_id = document->>'job_id' AND attempt = (document->>'attempt')::integer
     AND server_id = worker_v1.me() AND state = 'dispatched' AND cancel_requested_at IS NULL
  RETURNING * INTO j;
  IF j.job_id IS NULL THEN
    SELECT * INTO j FROM public.job
     WHERE job_id = document->>'job_id' AND attempt = (document->>'attempt')::integer
       AND server_id = worker_v1.me() AND state = 'running' AND incarnation = document->>'incarnation';
    IF j.job_id IS NULL THEN
      RETURN jsonb_build_object('status', 'fenced');
    END IF;
  ELSE
    UPDATE public.job_attempt SET incarnation = j.incarnation, started_at = j.started_at
     WHERE job_id = j.job_id AND attempt = j.attempt;
  END IF;
  RETURN jsonb_build_object(
    'status', 'claimed', 'kind', j.kind, 'version', j.version, 'command', j.command,
    'organization_id', j.organization_id, 'timeout_seconds', j.timeout_seconds,
    'secrets', (SELECT coalesce(jsonb_agg(jsonb_build_object('purpose', purpose, 'sealed', sealed)), '[]')
                  FROM public.job_secret WHERE job_id = j.job_id AND attempt = j.attempt));
END $$;

-- beat {incarnation, jobs: [{job_id, attempt, progress}], begun: [job_id], draining, leaving, engine,
--       clock_ahead_seconds, mark}
--   → {status: current, jobs: [{job_id, attempt, cancel}], ended: [job_id], now, mark} | {status: superseded}
-- Prolongs the lease of every job named; one that is missing in the answer is no longer the caller's. Nothing new
-- is sent to a worker that is `draining`; one that is `leaving` speaks for its server no more. What is not said of
-- the Engine and the clock stays as it was; `now` is in seconds since the epoch. Of the jobs that it has `begun`
-- those have `ended` that the caller gets no further attempt at: also one that there is no record of.
CREATE OR REPLACE FUNCTION worker_v1.beat(document jsonb) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  held jsonb;
  ended jsonb;
BEGIN
  PERFORM public.epoch_check(document->>'mark');
  UPDATE public.server SET
    seen_at = now(),
    draining = coalesce(document->'draining' = 'true', false),
    engine = coalesce(public.readable_document(document->'engine', 16384), engine),
    clock_ahead_seconds = CASE WHEN jsonb_typeof(document->'clock_ahead_seconds') = 'number'
                                AND abs((document->>'clock_ahead_seconds')::numeric) < 1e9
                               THEN (document->>'clock_ahead_seconds')::double precision
                               ELSE clock_ahead_seconds END,
    incarnation = CASE WHEN document->'leaving' = 'true' THEN NULL ELSE incarnation END
   WHERE server_id = worker_v1.me() AND incarnation = document->>'incarnation';
  IF NOT FOUND THEN
    -- The state directory proved that this one is dead: it was copied.
    UPDATE public.server SET second_worker_at = now()
     WHERE server_id = worker_v1.me() AND predecessor = document->>'incarnation' AND incarnation IS NOT NULL;
    RETURN jsonb_build_object('status', 'superseded');
  END IF;
  WITH reported AS (
    SELECT job->>'job_id' AS job_id, (job->>'attempt')::integer AS attempt, job->'progress' AS progress
      FROM jsonb_array_elements(document->'jobs') job LIMIT 1000
  ), renewed AS (
    UPDATE public.job j SET
      lease_until = now() + interval '15 seconds',
      progress = coalesce(public.readable_document(reported.progress, 32768), j.progress)
      FROM reported
     WHERE j.job_id = reported.job_id AND j.attempt = reported.attempt AND j.state = 'running'
       AND j.server_id = worker_v1.me() AND j.incarnation = document->>'incarnation'
    RETURNING j.job_id, j.attempt, j.cancel_requested_at IS NOT NULL AS cancel
  )
  SELECT coalesce(jsonb_agg(to_jsonb(renewed)), '[]') INTO held FROM renewed;
  IF jsonb_array_length(held) > 0 THEN
    PERFORM public.send_notification('wharf_progress', worker_v1.me());
  END IF;
  SELECT coalesce(jsonb_agg(reported.job_id), '[]') INTO ended
    FROM (SELECT DISTINCT job #>> '{}' AS job_id FROM jsonb_array_elements(
            CASE WHEN jsonb_typeof(document->'begun') = 'array' THEN document->'begun' ELSE '[]' END) job
           LIMIT 1000) reported
   WHERE NOT EXISTS (
     SELECT 1 FROM public.job j
      WHERE j.job_id = reported.job_id AND j.server_id = worker_v1.me() AND j.finished_at IS NULL);
  RETURN jsonb_build_object('status', 'current', 'jobs', held, 'ended', ended,
                            'now', extract(epoch FROM clock_timestamp()), 'mark', public.epoch_mark());
END $$;

-- event {incarnation, job_id, attempt, number, kind: progress | log, data}
--   → {status: recorded, seq} | {status: already_recorded} | {status: fenced}
-- `number` grows from 1 within the attempt: what is repeated after a lost answer is not stored again.
CREATE OR REPLACE FUNCTION worker_v1.event(document jsonb) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  number integer;
  data jsonb := public.readable_document(document->'data', 16385);
BEGIN
  IF coalesce(document->>'kind', '') NOT IN ('progress', 'log') OR data IS NULL THEN
    RETURN jsonb_build_object('status', 'refused');
  END IF;
  SELECT event_seq + 1 INTO number FROM public.job
   WHERE job_id = document->>'job_id' AND attempt = (document->>'attempt')::integer AND state = 'running'
     AND server_id = worker_v1.me() AND incarnation = document->>'incarnation' AND event_seq < 10000
     FOR NO KEY UPDATE;
  IF number IS NULL THEN
    RETURN jsonb_build_object('status', 'fenced');
  END IF;
  UPDATE public.job_attempt SET told = coalesce((document->>'number')::integer, told + 1)
   WHERE job_id = document->>'job_id' AND attempt = (document->>'attempt')::integer
     AND told < coalesce((document->>'number')::integer, told + 1);
  IF NOT FOUND THEN
    RETURN jsonb_build_object('status', 'already_recorded');
  END IF;
  UPDATE public.job SET event_seq = number WHERE job_id = document->>'job_id';
  INSERT INTO public.job_event (job_id, seq, attempt, kind, data)
  VALUES (document->>'job_id', number, (document->>'attempt')::integer, document->>'kind', data);
  PERFORM public.send_notification('wharf_job', document->>'job_id');
  RETURN jsonb_build_object('status', 'recorded', 'seq', number);
END $$;

-- finish {incarnation, job_id, attempt, outcome: succeeded | failed | cancelled | returned, result, error, progress,
--         jitter}
--   → {status: recorded | already_recorded, state} | {status: fenced}
-- A failure is tried again where its error says so and failures are left; `retry_after_seconds` is honoured up
-- to an hour. Returned, and cancelled without a request, go back to the queue and count as no failure, the third time
-- and later as one. A result that cannot be stored, or whose digest is none, is a failure: the job ends all the same.
CREATE OR REPLACE FUNCTION worker_v1.finish(document jsonb) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  j public.job;
  outcome text := document->>'outcome';
  kept jsonb := public.readable_document(document->'result', 262144);
  what jsonb := public.readable_document(document->'error', 262144);
  too_often boolean;
  before text;
BEGIN
  IF coalesce(outcome, '') NOT IN ('succeeded', 'failed', 'cancelled', 'returned')
     OR pg_column_size(document) > 262144 THEN
    RETURN jsonb_build_object('status', 'refused');
  END IF;
  IF outcome = 'succeeded' AND (kept IS NULL AND jsonb_typeof(document->'result') = 'object'
                                OR kept->>'digest' !~ '^sha256:[0-9a-f]{64}$') THEN
    outcome := 'failed';
    what := jsonb_build_object('code', 'result_unreadable', 'message', 'what the worker found out cannot be read',
      'remedy', 'See the worker''s log on the server, and update it.', 'retryable', false);
  ELSIF (jsonb_typeof(what->'code') = 'string' AND jsonb_typeof(what->'message') = 'string') IS NOT TRUE THEN
    what := CASE WHEN outcome = 'failed' THEN
      '{"code": "internal", "message": "failed without a word", "remedy": "", "retryable": false}'::jsonb END;
  END IF;
  too_often := outcome IN ('cancelled', 'returned') AND 3 <= (
    SELECT count(*) FROM public.job_attempt a WHERE a.job_id = document->>'job_id' AND a.outcome = 'returned');
  IF too_often THEN
    what := jsonb_build_object('code', 'returned_too_often', 'message', 'the worker gave this job back again and again',
      'remedy', 'See the worker''s log on the server.', 'retryable', true);
  END IF;
  UPDATE public.job SET
    failures = failures + (outcome = 'failed' OR too_often AND cancel_requested_at IS NULL)::integer,
    state = CASE
      WHEN outcome = 'succeeded' THEN 'succeeded'
      WHEN cancel_requested_at IS NOT NULL THEN 'cancelled'
      WHEN outcome <> 'failed' AND NOT too_often THEN 'queued'
      WHEN (what->>'retryable')::boolean IS TRUE AND failures + 1 < max_failures THEN 'queued'
      ELSE 'failed' END,
    result = CASE WHEN outcome = 'succeeded' THEN coalesce(kept, '{}') END,
    error = CASE WHEN outcome <> 'succeeded' THEN what END,
    progress = coalesce(public.readable_document(document->'progress', 32768), progress),
    run_at = CASE WHEN outcome = 'failed' OR too_often THEN now() + public.job_delay(
        failures, least(greatest(coalesce((document->>'jitter')::double precision, random()), 0), 1),
        make_interval(secs => CASE WHEN what->>'retry_after_seconds' IS NOT NULL
          THEN least((what->>'retry_after_seconds')::double precision, 3600) END))
      ELSE now() END
   WHERE job_id = document->>'job_id' AND attempt = (document->>'attempt')::integer AND state = 'running'
     AND server_id = worker_v1.me() AND incarnation = document->>'incarnation'
     AND worker_v1.is_current(document->>'incarnation')
  RETURNING * INTO j;
  IF j.job_id IS NOT NULL THEN
    PERFORM public.job_close_attempt(j.job_id, j.attempt,
      CASE WHEN outcome = 'cancelled' AND j.state <> 'cancelled' THEN 'returned' ELSE outcome END, what);
    RETURN jsonb_build_object('status', 'recorded', 'state', j.state);
  END IF;
  SELECT a.outcome INTO before FROM public.job_attempt a
   WHERE a.job_id = document->>'job_id' AND a.attempt = (document->>'attempt')::integer
     AND a.server_id = worker_v1.me() AND a.incarnation = document->>'incarnation';
  IF before IN ('succeeded', 'failed', 'cancelled', 'returned') THEN
    RETURN jsonb_build_object('status', 'already_recorded', 'outcome', before);
  END IF;
  RETURN jsonb_build_object('status', 'fenced');
END $$;

-- What a queued job waits for: one rule each, for its release and for those who ask why it waits.
-- Views depend on the columns of tables, so `wharf migrate` drops them before Alembic runs.

-- A queued job, and what holds it up. needs: the jobs that have not ended as it needs them, null where there are none.
CREATE VIEW public.queued_job WITH (security_invoker) AS
SELECT j.*,
       coalesce(j.created_at <= (
         SELECT held_at FROM public.organization o WHERE o.organization_id = j.organization_id), false) AS is_restored,
       j.run_at <= now() AND j.cancel_requested_at IS NULL
         AND (j.deadline_at IS NULL OR j.deadline_at > now()) AS is_due,
       CASE WHEN j.has_needs THEN (
         SELECT array_agg(n.needs_job_id) FROM public.job_need n JOIN public.job needed ON needed.job_id = n.needs_job_id
          WHERE n.job_id = j.job_id AND NOT CASE n.on_state
            WHEN 'succeeded' THEN needed.state = 'succeeded'
            WHEN 'failed' THEN needed.state IN ('failed', 'expired')
            ELSE needed.finished_at IS NOT NULL END) END AS needs,
       j.exclusive_key IS NOT NULL AND EXISTS (
         SELECT FROM public.job other WHERE other.exclusive_key = j.exclusive_key
            AND other.state IN ('dispatched', 'running')) AS target_is_busy
  FROM public.job j WHERE j.state = 'queued';

-- How many more jobs of a class a server takes.
CREATE VIEW public.server_room WITH (security_invoker) AS
SELECT s.server_id, c.job_class,
       CASE c.job_class WHEN 'quick' THEN s.quick_slots WHEN 'build' THEN s.build_slots ELSE s.transfer_slots END - (
         SELECT count(*) FROM public.job WHERE state IN ('dispatched', 'running')
            AND job.server_id = s.server_id AND job.job_class = c.job_class) AS room
  FROM public.server s CROSS JOIN (VALUES ('quick'), ('transfer'), ('build')) AS c (job_class);

-- How many more transfers a registry takes.
CREATE VIEW public.registry_room WITH (security_invoker) AS
SELECT r.registry_id, r.transfer_limit - (
         SELECT count(*) FROM public.job WHERE state IN ('dispatched', 'running') AND job_class = 'transfer'
            AND job.registry_id = r.registry_id) AS room
  FROM public.registry r;

-- How many jobs of a class an organization has under way, and how many more it may have; null for any number.
CREATE VIEW public.organization_room WITH (security_invoker) AS
SELECT o.organization_id, c.job_class, held.jobs,
       CASE c.job_class WHEN 'transfer' THEN o.transfer_limit - held.jobs END AS room
  FROM public.organization o CROSS JOIN (VALUES ('quick'), ('transfer'), ('build')) AS c (job_class)
 CROSS JOIN LATERAL (
   SELECT count(*) AS jobs FROM public.job WHERE state IN ('dispatched', 'running')
      AND job.organization_id = o.organization_id AND job.job_class = c.job_class) held;

-- Who speaks: what the API stores, it stores for a key that was shown to it. Applied like rules.sql.
-- The API proves a key (or a deploy hook's token) by its SHA-256, which it sets for one transaction:
-- `SET LOCAL wharf.proof`. Only the SHA-256 of that is stored, so that nothing in the database is a proof.

-- The key or the hook that this transaction speaks for; no row without a proof.
CREATE OR REPLACE FUNCTION public.caller(OUT id text, OUT organization_id text, OUT role text)
RETURNS SETOF record LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  WITH shown AS (
    SELECT sha256(decode(nullif(current_setting('wharf.proof', true), ''), 'hex')) AS hash
  )
  SELECT k.api_key_id, k.organization_id, k.role FROM public.api_key k, shown
   WHERE k.key_hash = shown.hash AND (k.expires_at IS NULL OR k.expires_at > now())
  UNION ALL
  SELECT h.hook_id, h.organization_id, 'member' FROM public.deploy_hook h, shown WHERE h.token_hash = shown.hash
$$;

-- require_caller(role, column …): refuse the API a change of a row without a key of the row's organization that has
-- this role; a change of these columns alone needs none. An audit row names the key that it is proved by.
CREATE OR REPLACE FUNCTION public.require_caller() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  who record;
  changed jsonb;
  free text[] := TG_ARGV[1:];
BEGIN
  IF current_user <> 'wharf_api' THEN
    RETURN CASE WHEN TG_OP = 'DELETE' THEN OLD ELSE NEW END;
  END IF;
  changed := to_jsonb(CASE WHEN TG_OP = 'DELETE' THEN OLD ELSE NEW END);
  IF TG_OP = 'UPDATE' AND changed - free = to_jsonb(OLD) - free THEN
    RETURN NEW;
  END IF;
  SELECT * INTO who FROM public.caller();
  IF who.id IS NULL
     OR who.organization_id <> coalesce(changed->>'organization_id', (
       SELECT s.organization_id FROM public.server s WHERE s.server_id = changed->>'server_id'))
     OR (TG_ARGV[0] = 'admin' AND who.role <> 'admin')
     OR (TG_TABLE_NAME = 'audit_event' AND changed->>'api_key_id' IS DISTINCT FROM who.id) THEN
    RAISE EXCEPTION '% of %: needs a key that may', lower(TG_OP), TG_TABLE_NAME
      USING ERRCODE = 'insufficient_privilege';
  END IF;
  IF TG_OP = 'DELETE' THEN
    RETURN OLD;
  END IF;
  IF TG_TABLE_NAME = 'audit_event' THEN
    NEW.at := clock_timestamp();
  END IF;
  RETURN NEW;
END $$;

-- Refuse the API a job, a build or a deployment without a key of its organization, and in another one's name.
CREATE OR REPLACE FUNCTION public.require_requester() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  who record;
BEGIN
  IF current_user <> 'wharf_api' THEN
    RETURN NEW;
  END IF;
  SELECT * INTO who FROM public.caller();
  IF who.organization_id IS DISTINCT FROM NEW.organization_id OR NEW.requested_by <> who.id THEN
    RAISE EXCEPTION '%: needs the key of who asks for it', TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege';
  END IF;
  RETURN NEW;
END $$;

-- A server that joins, and one that joins again with another key, gets no stored login until it is approved.
CREATE OR REPLACE FUNCTION public.server_after_enrolment() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  UPDATE public.server SET approved_at = NULL WHERE server_id = NEW.server_id;
  RETURN NULL;
END $$;

CREATE OR REPLACE TRIGGER require_caller BEFORE INSERT OR UPDATE OR DELETE ON public.api_key
  FOR EACH ROW EXECUTE FUNCTION public.require_caller('admin', 'last_used_at');
CREATE OR REPLACE TRIGGER require_caller BEFORE INSERT OR UPDATE OR DELETE ON public.registry
  FOR EACH ROW EXECUTE FUNCTION public.require_caller('admin');
CREATE OR REPLACE TRIGGER require_caller BEFORE INSERT OR UPDATE OR DELETE ON public.server
  FOR EACH ROW EXECUTE FUNCTION public.require_caller('admin');
CREATE OR REPLACE TRIGGER require_caller BEFORE INSERT OR UPDATE OR DELETE ON public.server_token
  FOR EACH ROW EXECUTE FUNCTION public.require_caller('admin');
CREATE OR REPLACE TRIGGER require_caller BEFORE INSERT OR UPDATE OR DELETE ON public.application
  FOR EACH ROW EXECUTE FUNCTION public.require_caller('admin', 'last_version');
CREATE OR REPLACE TRIGGER require_caller BEFORE INSERT OR UPDATE OR DELETE ON public.application_server
  FOR EACH ROW EXECUTE FUNCTION public.require_caller('admin');
CREATE OR REPLACE TRIGGER require_caller BEFORE INSERT OR UPDATE OR DELETE ON public.webhook
  FOR EACH ROW EXECUTE FUNCTION public.require_caller('admin');
CREATE OR REPLACE TRIGGER require_caller BEFORE INSERT OR UPDATE OR DELETE ON public.deploy_hook
  FOR EACH ROW EXECUTE FUNCTION public.require_caller('admin', 'last_used_at');
CREATE OR REPLACE TRIGGER require_caller BEFORE INSERT OR UPDATE OR DELETE ON public.audit_event
  FOR EACH ROW EXECUTE FUNCTION public.require_caller('member');
CREATE OR REPLACE TRIGGER require_caller BEFORE INSERT ON public.context
  FOR EACH ROW EXECUTE FUNCTION public.require_caller('member');
CREATE OR REPLACE TRIGGER require_caller BEFORE INSERT ON public.deployment_server
  FOR EACH ROW EXECUTE FUNCTION public.require_caller('member');
CREATE OR REPLACE TRIGGER require_caller BEFORE INSERT ON public.job_secret
  FOR EACH ROW EXECUTE FUNCTION public.require_caller('member');
CREATE OR REPLACE TRIGGER require_caller BEFORE UPDATE ON public.rollback
  FOR EACH ROW EXECUTE FUNCTION public.require_caller('member');
CREATE OR REPLACE TRIGGER require_requester BEFORE INSERT ON public.job
  FOR EACH ROW EXECUTE FUNCTION public.require_requester();
CREATE OR REPLACE TRIGGER require_requester BEFORE INSERT ON public.build
  FOR EACH ROW EXECUTE FUNCTION public.require_requester();
CREATE OR REPLACE TRIGGER require_requester BEFORE INSERT ON public.deployment
  FOR EACH ROW EXECUTE FUNCTION public.require_requester();
CREATE OR REPLACE TRIGGER server_after_enrolment AFTER INSERT OR UPDATE OF public_key ON public.server_enrolment
  FOR EACH ROW EXECUTE FUNCTION public.server_after_enrolment();

-- Who may do what. Runs as the owner of the database (a role with CREATEROLE), after the functions.

DO $$
DECLARE
  wanted text;
BEGIN
  FOREACH wanted IN ARRAY ARRAY['wharf_api', 'wharf_control', 'wharf_functions', 'wharf_servers'] LOOP
    IF NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = wanted) THEN
      EXECUTE format('CREATE ROLE %I NOLOGIN', wanted);
    END IF;
  END LOOP;
  EXECUTE format('GRANT wharf_functions TO %I', current_user);
  EXECUTE format('REVOKE ALL ON DATABASE %I FROM PUBLIC', current_database());
  EXECUTE format('GRANT CONNECT ON DATABASE %I TO wharf_api, wharf_control, wharf_servers', current_database());
END $$;

REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO wharf_api, wharf_control, wharf_functions;
ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
REVOKE ALL ON ALL TABLES IN SCHEMA public FROM wharf_api, wharf_control, wharf_functions;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA public FROM PUBLIC;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA worker_v1 FROM PUBLIC;

-- The API stores requests, each for a key that was shown to it (authority.sql). It cannot change a server's key, forge an attempt, or change audit rows.
GRANT SELECT ON ALL TABLES IN SCHEMA public TO wharf_api;
REVOKE SELECT ON public.job_secret, public.database_epoch FROM wharf_api;
GRANT INSERT ON public.api_key, public.registry, public.server, public.server_token,
  public.job, public.job_secret, public.job_need, public.audit_event TO wharf_api;
GRANT UPDATE (last_used_at) ON public.api_key TO wharf_api;
-- Of secrets it adds those that are given with a job; a login is control's to give.
ALTER TABLE public.job_secret ENABLE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS password_by_api ON public.job_secret;
CREATE POLICY password_by_api ON public.job_secret FOR INSERT TO wharf_api WITH CHECK (purpose <> 'login');
DROP POLICY IF EXISTS all_by_control ON public.job_secret;
CREATE POLICY all_by_control ON public.job_secret TO wharf_control, wharf_functions USING (true);
GRANT DELETE ON public.api_key, public.registry TO wharf_api;
GRANT UPDATE (registry_name, image_prefix, username, password, registry_url, registry_type, host, allowed_servers,
  allowed_applications)
  ON public.registry TO wharf_api;
GRANT UPDATE (name, description, roles, removed_at, paused_at, paused_classes) ON public.server TO wharf_api;
GRANT INSERT, UPDATE ON public.idempotency TO wharf_api;
-- An application stays what it is and its organization's: its ids are not among these.
GRANT INSERT, DELETE ON public.application, public.application_server TO wharf_api;
-- A build and a deployment are asked for by the API, and end by what their jobs say.
GRANT INSERT ON public.build TO wharf_api;
GRANT INSERT ON public.deployment, public.deployment_server TO wharf_api;
-- A rollback point is control's to write, after a proof; the API asks for proofs, and gives points up.
GRANT UPDATE (proof_job_id, dropped_at) ON public.rollback TO wharf_api;
GRANT UPDATE (name, app_name, description, source_type, docker_image, git_url, git_host, git_branch, git_commit,
  git_build_path, git_username, git_token, build_type, dockerfile, docker_context_path, docker_build_stage,
  build_args, build_secrets, build_secret_names, env, env_names, platform, registry_id, build_registry_id,
  rollback_registry_id, rollback_active, build_server_id, health_check, ports, mounts, replicas, rollbacks_to_keep,
  latest_wins, last_version, runtime, rollout_batch, rollout_on_failure, allowed_keys) ON public.application TO wharf_api;
-- Of an attempt's right to fetch a context it notes that it was used; it gives none.
GRANT INSERT ON public.context TO wharf_api;
GRANT UPDATE (used_at) ON public.context_token TO wharf_api;
-- It stores endpoints of webhooks, and that a message is to be sent again. It makes no message.
GRANT INSERT, DELETE, UPDATE (url, events, secret, disabled_at, disabled_code) ON public.webhook TO wharf_api;
GRANT UPDATE (attempts, due_at, delivered_at, failed_at) ON public.webhook_delivery TO wharf_api;
GRANT INSERT, DELETE, UPDATE (last_used_at) ON public.deploy_hook TO wharf_api;
GRANT INSERT ON public.deploy_hook_event TO wharf_api;
GRANT EXECUTE ON FUNCTION public.job_cancel, public.server_enroll, public.organization_found, public.image_runs,
  public.caller, public.send_notification, public.repository_of, public.organization_resume,
  public.server_is_online, public.server_is_available, public.organization_lock TO wharf_api;

-- Control moves jobs and looks after servers; of credentials it reads what is sealed to it.
GRANT SELECT ON ALL TABLES IN SCHEMA public TO wharf_control;
GRANT INSERT, UPDATE, DELETE ON public.control, public.set_aside TO wharf_control;
GRANT INSERT, UPDATE ON public.digest_check TO wharf_control;
GRANT UPDATE (counter, raised_at) ON public.database_epoch TO wharf_control;
GRANT UPDATE ON public.job, public.job_attempt, public.release_gate TO wharf_control;
GRANT INSERT ON public.job_attempt, public.job_secret, public.audit_event TO wharf_control;
-- That a server is approved is nothing that the API could write.
GRANT UPDATE (approved_at) ON public.server TO wharf_control;
GRANT UPDATE (role_ready_at, quick_slots, transfer_slots, build_slots) ON public.server TO wharf_control;
GRANT DELETE ON public.server_token, public.idempotency, public.registry_check TO wharf_control;
GRANT INSERT, UPDATE, DELETE ON public.application_turn TO wharf_control;
GRANT UPDATE (outcome, digest, revision, error, finished_at, retained, image_deleted_at) ON public.build
  TO wharf_control;
GRANT UPDATE (outcome, error, finished_at, reference, digest, point_due, proof_job_id) ON public.deployment
  TO wharf_control;
-- An application it only locks, which needs a right to change it.
GRANT UPDATE (last_version) ON public.application TO wharf_control;
-- What it submits itself: proofs and deletions of retained images, and what puts back a failed deployment.
GRANT INSERT ON public.job, public.job_need, public.deployment, public.deployment_server TO wharf_control;
GRANT INSERT, UPDATE, DELETE ON public.rollback TO wharf_control;
GRANT UPDATE (outcome, error, container_id, gap_seconds, finished_at) ON public.deployment_server TO wharf_control;
GRANT INSERT ON public.context_token TO wharf_control;
GRANT DELETE ON public.context TO wharf_control;
-- It sends messages, and deletes them; an endpoint that answers that it is gone gets no more.
GRANT UPDATE (disabled_at, disabled_code) ON public.webhook TO wharf_control;
GRANT DELETE, UPDATE (attempts, due_at, delivered_at, failed_at, status, code)
  ON public.webhook_delivery TO wharf_control;
GRANT DELETE ON public.deploy_hook_event TO wharf_control;
GRANT EXECUTE ON FUNCTION public.job_cancel, public.job_delay, public.job_close_attempt,
  public.job_event_prune, public.job_prune, public.job_id_at, public.image_runs, public.repository_of,
  public.send_notification, public.server_is_online, public.server_is_available, public.job_lose
  TO wharf_control;

-- The functions of rules.sql and worker.sql run as a role that nobody can log in as.
GRANT SELECT, UPDATE ON public.server, public.server_token TO wharf_functions;
GRANT SELECT, INSERT ON public.server_enrolment TO wharf_functions;
GRANT SELECT, UPDATE ON public.job, public.job_attempt TO wharf_functions;
GRANT SELECT, DELETE ON public.job_secret TO wharf_functions;
GRANT SELECT, INSERT ON public.job_event TO wharf_functions;
GRANT SELECT ON public.job_need TO wharf_functions;
GRANT DELETE ON public.job, public.job_event TO wharf_functions;
GRANT SELECT, INSERT, UPDATE ON public.organization, public.database_epoch TO wharf_functions;
GRANT INSERT ON public.api_key, public.registry_check, public.audit_event TO wharf_functions;
-- An endpoint is locked while a message to it is stored, which takes the right to change some of it.
GRANT SELECT, UPDATE (disabled_at) ON public.webhook TO wharf_functions;
GRANT INSERT ON public.webhook_delivery TO wharf_functions;
GRANT EXECUTE ON FUNCTION public.job_delay, public.job_close_attempt, public.job_lose, public.job_id_at, public.registry_check_add,
  public.new_id, public.show_moment, public.webhook_error, public.webhook_add,
  public.send_notification, public.plain_text, public.readable_document, public.epoch_proof, public.epoch_mark,
  public.epoch_check, public.database_restored TO wharf_functions;
GRANT CREATE ON SCHEMA public, worker_v1 TO wharf_functions;
ALTER FUNCTION public.job_before_change OWNER TO wharf_functions;
ALTER FUNCTION public.job_after_change OWNER TO wharf_functions;
ALTER FUNCTION public.job_after_end OWNER TO wharf_functions;
ALTER FUNCTION public.build_after_end OWNER TO wharf_functions;
ALTER FUNCTION public.deployment_after_end OWNER TO wharf_functions;
ALTER FUNCTION public.job_need_check OWNER TO wharf_functions;
ALTER FUNCTION public.job_cancel OWNER TO wharf_functions;
ALTER FUNCTION public.job_event_prune OWNER TO wharf_functions;
ALTER FUNCTION public.job_prune OWNER TO wharf_functions;
ALTER FUNCTION public.server_after_enrolment OWNER TO wharf_functions;
ALTER FUNCTION public.server_enroll OWNER TO wharf_functions;
ALTER FUNCTION public.organization_found OWNER TO wharf_functions;
ALTER FUNCTION public.organization_lock OWNER TO wharf_functions;
ALTER FUNCTION public.database_restored OWNER TO wharf_functions;
ALTER FUNCTION public.organization_resume OWNER TO wharf_functions;
ALTER FUNCTION worker_v1.me OWNER TO wharf_functions;
ALTER FUNCTION worker_v1.is_current OWNER TO wharf_functions;
ALTER FUNCTION worker_v1.hello OWNER TO wharf_functions;
ALTER FUNCTION worker_v1.claim OWNER TO wharf_functions;
ALTER FUNCTION worker_v1.beat OWNER TO wharf_functions;
ALTER FUNCTION worker_v1.event OWNER TO wharf_functions;
ALTER FUNCTION worker_v1.finish OWNER TO wharf_functions;
REVOKE CREATE ON SCHEMA public, worker_v1 FROM wharf_functions;
GRANT USAGE ON SCHEMA worker_v1 TO wharf_functions, wharf_servers;

-- A server role is a member of wharf_servers and may call the five, nothing else.
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA worker_v1 FROM wharf_servers;
GRANT EXECUTE ON FUNCTION worker_v1.hello, worker_v1.claim, worker_v1.beat, worker_v1.event, worker_v1.finish
  TO wharf_servers;

INSERT INTO public.release_gate VALUES (1) ON CONFLICT DO NOTHING;
INSERT INTO public.database_epoch (epoch_id, secret)
SELECT gen_random_uuid()::text,
       decode(replace(gen_random_uuid()::text || gen_random_uuid()::text, '-', ''), 'hex')
 WHERE NOT EXISTS (SELECT FROM public.database_epoch);

-- The database roles of servers: made, bounded, watched, taken away. Applied after roles.sql, by the same owner.
-- A role can run any SQL on its sessions and undo most settings of its own, so control watches what they do.

-- Sets what bounds a server's role. Of these it can change all but `temp_file_limit`, which takes a right that
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

-- Makes the login role of an enrolled server, or gives it again what it should have; its password is known here
-- only as a SCRAM verifier.
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

-- Takes the login of a removed server. Commit this before the role is dropped: that may fail.
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

-- Ends what a removed server still has open, in every database, and drops its role. What it owns in another
-- database keeps the role from being dropped; `wharf migrate` removes that.
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

-- The servers that a role of this database is for, and that the database does not know: it was restored from a copy
-- that is older than they are. Roles are the whole cluster's: one of another database has another comment.
CREATE OR REPLACE FUNCTION public.server_roles_unknown() RETURNS SETOF text
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT substr(rolname, length('wharf_server_') + 1) FROM pg_roles
   WHERE rolname LIKE 'wharf\_server\_%'
     AND shobj_description(oid, 'pg_authid') = 'wharfinger: ' || current_database()
     AND NOT EXISTS (SELECT FROM public.server s WHERE ('wharf_server_' || s.server_id)::name = rolname)
$$;

-- Those that were made before roles had comments.
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

-- Removes large objects that servers made in this database, where a superuser did not take that right from all.
CREATE OR REPLACE FUNCTION public.server_objects_remove() RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT count(lo_unlink(o.oid)) FROM pg_largeobject_metadata o JOIN pg_roles r ON r.oid = o.lomowner
   WHERE r.rolname LIKE 'wharf\_server\_%' AND pg_has_role(r.oid, 'USAGE')
$$;

-- Ends sessions of servers that could keep others waiting, whatever they set their own time-outs to: one outside
-- this database, a statement or transaction older than `age` (the five functions take milliseconds; a COMMIT
-- inside a DO block renews xact_start and not query_start), one that does not read what it is sent, one older than
-- `session_age` (a worker opens a new one before), and all while notifications pile up: a session that listens and
-- does not read them keeps the whole queue. Gives whose they were, and why. Removes their large objects, too.
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

-- What only a superuser can do so that a server's role is confined: as SQL, one statement a row, to be run in this
-- database. Empty where all is done.
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

-- Roles that were made before get what bounds new ones.
SELECT public.server_role_bound(rolname) FROM pg_roles JOIN public.server ON rolname = 'wharf_server_' || server_id;
