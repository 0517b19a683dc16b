-- The conditions of a release, each stated once: for the release itself, and for the reason why a job waits.
-- Views depend on the columns of tables, so `wharf migrate` drops them before Alembic runs.

-- Of each queued job: what holds it up. needs: the jobs that have not ended as it needs them; null if there are none.
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
