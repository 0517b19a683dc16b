-- claim {incarnation, job_id, attempt}
--   → {status: claimed, kind, version, command, timeout_seconds, secrets: [{purpose, sealed, number}]} | {status: fenced}
-- A repeat by the same incarnation gets the same answer.
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
    -- From here on the worker may have looked up what a tag means: a later request gets a job of its own.
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
    'secrets', (SELECT coalesce(jsonb_agg(jsonb_build_object(
                    'purpose', purpose, 'sealed', sealed, 'number', number)), '[]')
                  FROM public.job_secret WHERE job_id = j.job_id AND attempt = j.attempt));
END $$;
