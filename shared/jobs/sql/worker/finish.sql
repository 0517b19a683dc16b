-- finish {incarnation, job_id, attempt, outcome: succeeded | failed | cancelled | returned, result, error, progress,
--         jitter, quotas: [{host, registry_id, source, by_address, limit, remaining, window_seconds, refused,
--                           retry_after_seconds, age_seconds, pulls}]}
--   → {status: recorded, state} | {status: already_recorded, outcome} | {status: refused | fenced}
-- A failed job is tried again if its error is retryable and `max_failures` is not reached; `retry_after_seconds` is
-- honoured up to an hour. A job that is returned, or cancelled without a request, is queued again: the first
-- three times this is no failure, later it is (`returned_too_often`). A job whose short-lived login ended during the
-- attempt, so that the registry refused it, is queued again and gets a fresh one; that is never a failure. Nor is it
-- one if a registry allows no more pulls now: the job waits for its quota (quotas.sql), unless somebody waits for its
-- answer (class quick). A push that found no repository, at a registry for which control creates them, is queued
-- again for control to make it due: three times at most. A result that cannot be stored, or that has an invalid
-- digest, is a failure. The remedy of a missing image names the repository that is spelled alike, if there is one.
CREATE OR REPLACE FUNCTION worker_v1.finish(document jsonb) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  j public.job;
  outcome text := document->>'outcome';
  kept jsonb := public.readable_document(document->'result', 262144);
  what jsonb := public.readable_document(document->'error', 262144);
  login_ended boolean;
  is_limited boolean;
  refused text[];
  is_created boolean;
  nearest text;
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
    what := jsonb_build_object('code', 'result_unreadable', 'message', 'the result that the worker reported cannot be read',
      'remedy', 'See the worker''s log on the server, and update it.', 'retryable', false);
  ELSIF (jsonb_typeof(what->'code') = 'string' AND jsonb_typeof(what->'message') = 'string') IS NOT TRUE THEN
    what := CASE WHEN outcome = 'failed' THEN
      '{"code": "internal", "message": "the worker reported a failure without its cause", "remedy": "Read the worker''s log on the server.", "retryable": false}'::jsonb END;
  END IF;
  -- Decided here, by the clock of the database: a worker cannot prolong its attempts by saying so.
  login_ended := outcome = 'failed'
    AND coalesce(what->>'code' IN ('auth_expired', 'auth_bad_credentials', 'auth_missing', 'pull_denied', 'push_denied'), false)
    AND EXISTS (
      SELECT FROM public.job_attempt a
       WHERE a.job_id = document->>'job_id' AND a.attempt = (document->>'attempt')::integer
         AND a.started_at < a.login_expires_at AND a.login_expires_at <= now() + interval '2 seconds');
  IF login_ended THEN
    outcome := 'returned';
    what := jsonb_build_object('code', 'auth_expired', 'message', 'the login ended during the transfer',
      'remedy', 'Nothing is to be done: the job is repeated with a fresh login.', 'retryable', true);
  END IF;
  is_limited := outcome = 'failed' AND coalesce(what->>'code', '') = 'rate_limited' AND EXISTS (
    SELECT FROM public.job q WHERE q.job_id = document->>'job_id' AND q.job_class <> 'quick');
  IF is_limited THEN
    outcome := 'returned';
  END IF;
  is_created := outcome = 'failed' AND coalesce(what->>'code' = 'repo_missing', false)
    AND EXISTS (
      SELECT FROM public.job p JOIN public.credential_source s USING (registry_id)
       WHERE p.job_id = document->>'job_id' AND p.kind IN ('image.push', 'image.copy')
         AND s.shown->'create_repository' = 'true')
    AND 3 > (SELECT count(*) FROM public.job_attempt a
              WHERE a.job_id = document->>'job_id' AND a.outcome = 'returned' AND a.error->>'code' = 'repo_missing');
  IF is_created THEN
    outcome := 'returned';
    what := what || '{"remedy": "Nothing is to be done: wharf control creates the repository.", "retryable": true}';
  END IF;
  IF outcome = 'failed' AND what->>'code' IN ('repo_missing', 'image_not_found')
     AND coalesce(what->>'remedy', '') NOT LIKE 'Did you mean%' THEN
    SELECT public.nearest_repository(m, what->>'code', what->>'stage') INTO nearest
      FROM public.job m WHERE m.job_id = document->>'job_id' AND m.server_id = worker_v1.me();
    IF nearest IS NOT NULL THEN
      what := what || jsonb_build_object('remedy', concat_ws(' ', 'Did you mean ' || nearest || '?', what->>'remedy'));
    END IF;
  END IF;
  too_often := outcome IN ('cancelled', 'returned') AND NOT login_ended AND NOT is_limited
    AND NOT is_created AND 3 <= (
    SELECT count(*) FROM public.job_attempt a WHERE a.job_id = document->>'job_id' AND a.outcome = 'returned'
       AND coalesce(a.error->>'code', '') NOT IN ('auth_expired', 'rate_limited', 'repo_missing'));
  IF too_often THEN
    what := jsonb_build_object('code', 'returned_too_often', 'message', 'the worker gave back this job four times unfinished',
      'remedy', 'Read the worker''s log on the server: something stops or restarts it. If the job has failed, submit it again.', 'retryable', true);
  END IF;
  UPDATE public.job SET
    failures = failures + (outcome = 'failed' OR too_often AND cancel_requested_at IS NULL)::integer,
    state = CASE
      WHEN outcome = 'succeeded' THEN 'succeeded'
      WHEN cancel_requested_at IS NOT NULL THEN 'cancelled'
      WHEN outcome <> 'failed' AND NOT too_often THEN 'queued'
      WHEN (what->>'retryable')::boolean IS TRUE AND failures + 1 < max_failures THEN 'queued'
      ELSE 'failed' END,
    result = CASE WHEN outcome = 'succeeded'
      THEN coalesce(CASE WHEN kind = 'image.scan' THEN public.image_report_summary(kept) ELSE kept END, '{}') END,
    error = CASE WHEN outcome <> 'succeeded'
      THEN CASE WHEN kind = 'image.scan' THEN what - 'report' ELSE what END END,
    progress = coalesce(public.readable_document(document->'progress', 32768), progress),
    run_at = CASE WHEN outcome = 'failed' OR too_often THEN now() + public.job_backoff(
        failures, least(greatest(coalesce((document->>'jitter')::double precision, random()), 0), 1),
        make_interval(secs => CASE WHEN what->>'retry_after_seconds' IS NOT NULL
          THEN least((what->>'retry_after_seconds')::double precision, 3600) END))
      WHEN is_created THEN now() + interval '5 minutes'
      ELSE now() END
   WHERE job_id = document->>'job_id' AND attempt = (document->>'attempt')::integer AND state = 'running'
     AND server_id = worker_v1.me() AND incarnation = document->>'incarnation'
     AND worker_v1.is_current(document->>'incarnation')
  RETURNING * INTO j;
  IF j.job_id IS NOT NULL THEN
    IF is_created THEN
      PERFORM public.send_notification('wharf_credential', '');
    END IF;
    PERFORM public.job_close_attempt(j.job_id, j.attempt,
      CASE WHEN outcome = 'cancelled' AND j.state <> 'cancelled' THEN 'returned' ELSE outcome END,
      CASE WHEN j.kind = 'image.scan' THEN what - 'report' ELSE what END);
    IF j.kind = 'image.scan' AND outcome IN ('succeeded', 'failed') THEN
      PERFORM public.image_report_add(j, CASE WHEN outcome = 'succeeded' THEN kept ELSE what->'report' END);
    END IF;
    IF outcome IN ('succeeded', 'failed')
       AND (j.registry_id IS NOT NULL OR j.kind IN ('image.copy', 'compose.pull')) THEN
      PERFORM public.job_record_logins(
        j.job_id, j.attempt, j.server_id, j.started_at, j.kind = 'registry.test', outcome, what);
    END IF;
    refused := public.quota_record(j, document->'quotas', outcome = 'succeeded');
    -- It waits for what refused it, also if that was not known before: the base image of a build, for example.
    IF is_limited AND refused = '{}' THEN
      -- Nobody knows which quota it was.
      UPDATE public.job SET run_at = now() + public.job_backoff((
          SELECT count(*)::integer - 1 FROM public.job_attempt a
           WHERE a.job_id = j.job_id AND a.outcome = 'returned' AND a.error->>'code' = 'rate_limited'),
        random(), make_interval(secs => public.quota_number(what->'retry_after_seconds', 3600)::double precision))
       WHERE job_id = j.job_id AND state = 'queued';
    END IF;
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
