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
