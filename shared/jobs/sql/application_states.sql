-- Return the deployment whose image an application runs on a server, if there is one: its last successful one that ran
-- something. One that control has not ended yet counts too.
CREATE OR REPLACE FUNCTION public.running_deployment(application text, server text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT d.deployment_id FROM public.deployment d JOIN public.deployment_server s USING (deployment_id)
   WHERE d.application_id = application AND s.server_id = server AND s.replace_job_id IS NOT NULL
     AND (s.outcome = 'succeeded' OR s.outcome IS NULL AND EXISTS (
       SELECT FROM public.job j WHERE j.job_id = s.replace_job_id AND j.state = 'succeeded'))
   ORDER BY d.number DESC LIMIT 1
$$;

-- Record that what runs of an application on a server was stopped or started on request.
CREATE OR REPLACE FUNCTION public.application_record_state(job public.job) RETURNS void
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
  UPDATE public.deployment_server s SET stopped_at =
         CASE WHEN job.result->>'state' = 'stopped' THEN coalesce(s.stopped_at, job.finished_at) END
   WHERE s.server_id = job.server_id AND s.organization_id = job.organization_id
     AND s.deployment_id = public.running_deployment(job.command->>'application_id', job.server_id)
$$;
