-- End the open attempt of a job. An attempt that has ended is not changed.
CREATE OR REPLACE FUNCTION public.job_close_attempt(job text, number integer, how text, what jsonb)
RETURNS void LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
  UPDATE public.job_attempt SET outcome = how, error = what, ended_at = clock_timestamp()
   WHERE job_id = job AND attempt = number AND outcome IS NULL
$$;

-- End the attempt of a running job whose worker is gone. It counts as a failure. The job is queued again after the
-- pause, unless it failed too often or was cancelled. Return false if the job does not run any more.
CREATE OR REPLACE FUNCTION public.job_lose(job text, pause interval, message text, remedy text) RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  lost public.job;
BEGIN
  UPDATE public.job j SET
    failures = failures + 1,
    state = CASE WHEN cancel_requested_at IS NOT NULL THEN 'cancelled'
                 WHEN failures + 1 >= max_failures THEN 'failed' ELSE 'queued' END,
    run_at = now() + coalesce(pause, public.job_backoff(failures, random(), NULL)),
    error = jsonb_build_object(
      'code', 'worker_lost', 'message', message, 'remedy', remedy, 'retryable', true)
   WHERE j.job_id = job AND j.state = 'running'
  RETURNING * INTO lost;
  PERFORM public.job_close_attempt(lost.job_id, lost.attempt, 'lost', lost.error);
  RETURN lost.job_id IS NOT NULL;
END $$;
