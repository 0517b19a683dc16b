-- Record the outcome of a test of a stored registry. It is kept for longer than the job.
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
