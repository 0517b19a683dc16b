-- Add entries of the audit log for a job: its submission, a request to cancel it, and the outcome of an attempt that was
-- given credentials. They stand beside the change, in its transaction.
CREATE OR REPLACE FUNCTION public.audit_job(new_job public.job, old_job public.job) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF old_job.job_id IS NULL THEN
    INSERT INTO public.audit_event (audit_event_id, organization_id, actor_id, action, object_id, data)
    VALUES (public.new_id(), new_job.organization_id, new_job.requested_by, 'job.submit', new_job.job_id,
            jsonb_strip_nulls(jsonb_build_object(
              'kind', new_job.kind, 'server', new_job.server_id, 'registry', new_job.registry_id,
              'deployment', new_job.deployment_id)));
    RETURN;
  END IF;
  IF new_job.cancel_requested_at IS NOT NULL AND old_job.cancel_requested_at IS NULL THEN
    INSERT INTO public.audit_event (audit_event_id, organization_id, actor_id, action, object_id, data)
    VALUES (public.new_id(), new_job.organization_id, (SELECT c.id FROM public.caller() c), 'job.cancel', new_job.job_id,
            jsonb_build_object('kind', new_job.kind, 'server', new_job.server_id));
  END IF;
  IF old_job.state IN ('dispatched', 'running') AND new_job.state NOT IN ('dispatched', 'running') THEN
    INSERT INTO public.audit_event (audit_event_id, organization_id, actor_id, action, object_id, data)
    SELECT public.new_id(), new_job.organization_id, new_job.requested_by, 'credential.outcome', new_job.registry_id,
           jsonb_strip_nulls(jsonb_build_object(
             'job', new_job.job_id, 'attempt', new_job.attempt, 'kind', new_job.kind, 'server', new_job.server_id,
             'outcome', new_job.state, 'code', new_job.error->'code'))
     WHERE EXISTS (SELECT FROM public.job_secret s WHERE s.job_id = new_job.job_id AND s.purpose = 'login'
                      AND s.attempt = new_job.attempt);
  END IF;
END $$;
