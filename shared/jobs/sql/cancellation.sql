-- Record a request to cancel. A job that no worker has claimed ends at once. Return the state; null if there is no
-- such job or it has ended already.
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
