-- The conditions of a release, each stated once: for the release itself, and for the reason why a job waits.
-- Views depend on the columns of tables, so `wharf migrate` drops them before Alembic runs.

-- Registries whose login control has yet to get from the provider: their jobs wait. If the provider has refused the
-- source for good, there is nothing to wait for until the next attempt: the jobs are released, and fail with its error.
CREATE VIEW public.registry_without_login WITH (security_invoker) AS
SELECT r.registry_id, r.organization_id, r.registry_name, s.error
  FROM public.credential_source s JOIN public.registry r USING (registry_id)
 WHERE (r.password IS NULL OR r.password_expires_at <= now())
   AND NOT (s.renew_at > now() AND coalesce(s.error->>'retryable' = 'false', false));

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
            AND other.state IN ('dispatched', 'running')) AS target_is_busy,
       -- Of a test with a source in place of a password, control clears `credential` when it has the login. The next
       -- condition is evaluated once; it is almost always false.
       j.kind = 'registry.test' AND j.command->>'credential' IS NOT NULL
       OR (SELECT EXISTS (SELECT FROM public.registry_without_login)) AND EXISTS (
         SELECT FROM public.registry_without_login r
          WHERE r.organization_id = j.organization_id
            AND (r.registry_id = j.registry_id OR r.registry_id = j.command->>'source_registry_id'
                 OR j.command->'images' @> jsonb_build_array(jsonb_build_object('registry_id', r.registry_id)))
       ) AS lacks_login
  FROM public.job j WHERE j.state = 'queued';

-- Of each rotation that keeps a registry's former login: the jobs that were released with it and have not ended.
CREATE VIEW public.former_login_use WITH (security_invoker) AS
SELECT t.rotation_id, j.job_id
  FROM public.rotation t JOIN public.job j USING (organization_id) JOIN public.job_attempt a USING (job_id, attempt)
 WHERE t.state = 'switched' AND j.state IN ('dispatched', 'running')
   AND a.login_revisions->>t.registry_id = t.slot->>'login_revision';
