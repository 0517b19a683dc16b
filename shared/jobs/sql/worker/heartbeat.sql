-- heartbeat {incarnation, jobs: [{job_id, attempt, progress, login}], begun: [job_id], draining, leaving, engine,
--       clock_ahead_seconds, certificates: [{registry_id, host, file, sha256}], mark}
--   → {status: current, jobs: [{job_id, attempt, cancel, hand_back, login: {sealed, number}}], ended: [job_id],
--      unwanted: [{registry_id, host, file, sha256}], now, mark} | {status: superseded}
-- Renew the lease of every job in `jobs`. A job that is missing in the answer is not the caller's any more. A worker
-- that is `draining` gets no new jobs; one that is `leaving` is not the current worker any more. `engine` and
-- `clock_ahead_seconds` may be missing: then they stay as they were. `now` is in seconds since the epoch. `begun` are
-- the jobs in the recovery journal; `ended` are those of them that the caller gets no further attempt at, also a job
-- that there is no record of. `login` of a reported job is the number of the login that its worker has: if control has
-- made a newer one, the answer has it; a worker that reports none gets none. `certificates` are files that the worker
-- has stored for its Engine; `hand_back`: the server is being drained, and this transfer can be repeated later. `unwanted` are those of them that no registry needs any more.
CREATE OR REPLACE FUNCTION worker_v1.heartbeat(document jsonb) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  held jsonb;
  is_drained boolean;
  ended jsonb;
  unwanted jsonb;
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
   WHERE server_id = worker_v1.me() AND incarnation = document->>'incarnation'
  RETURNING drain_requested_at IS NOT NULL INTO is_drained;
  IF NOT FOUND THEN
    -- The state directory showed that this one is dead: it was copied.
    UPDATE public.server SET second_worker_at = now()
     WHERE server_id = worker_v1.me() AND predecessor = document->>'incarnation' AND incarnation IS NOT NULL;
    RETURN jsonb_build_object('status', 'superseded');
  END IF;
  WITH reported AS (
    SELECT job->>'job_id' AS job_id, (job->>'attempt')::integer AS attempt, job->'progress' AS progress,
           CASE WHEN jsonb_typeof(job->'login') = 'number' THEN (job->>'login')::numeric END AS login
      FROM jsonb_array_elements(document->'jobs') job LIMIT 1000
  ), renewed AS (
    UPDATE public.job j SET
      lease_until = now() + interval '15 seconds',
      progress = coalesce(public.readable_document(reported.progress, 32768), j.progress)
      FROM reported
     WHERE j.job_id = reported.job_id AND j.attempt = reported.attempt AND j.state = 'running'
       AND j.server_id = worker_v1.me() AND j.incarnation = document->>'incarnation'
    RETURNING j.job_id, j.attempt, j.cancel_requested_at IS NOT NULL AS cancel, reported.login AS known,
              is_drained AND j.kind IN ('image.pull', 'image.push', 'image.copy', 'compose.pull') AS hand_back
  )
  SELECT coalesce(jsonb_agg(to_jsonb(renewed) - 'known' || coalesce(newer.login, '{}')), '[]') INTO held
    FROM renewed LEFT JOIN LATERAL (
      SELECT jsonb_build_object('login', jsonb_build_object('sealed', s.sealed, 'number', s.number)) AS login
        FROM public.job_secret s
       WHERE s.job_id = renewed.job_id AND s.purpose = 'login' AND s.attempt = renewed.attempt
         AND s.number > renewed.known) newer ON true;
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
  SELECT coalesce(jsonb_agg(stored.file), '[]') INTO unwanted
    FROM (SELECT file FROM jsonb_array_elements(CASE WHEN jsonb_typeof(document->'certificates') = 'array'
                                                     THEN document->'certificates' ELSE '[]' END) file
           WHERE jsonb_typeof(file) = 'object' LIMIT 1000) stored
   WHERE NOT public.certificate_is_wanted(worker_v1.me(), stored.file);
  RETURN jsonb_build_object('status', 'current', 'jobs', held, 'ended', ended, 'unwanted', unwanted,
                            'now', extract(epoch FROM clock_timestamp()), 'mark', public.epoch_mark());
END $$;
