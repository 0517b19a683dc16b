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
