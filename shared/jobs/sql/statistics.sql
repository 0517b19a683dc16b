-- Record that a job has ended, for the counters. `before` is the job as it was while it ran, or waited.
CREATE OR REPLACE FUNCTION public.job_ended_add(job public.job, before public.job) RETURNS void
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
  INSERT INTO public.job_ended (job_id, kind, state, code, waited_seconds, ran_seconds, moved_bytes)
  SELECT job.job_id, job.kind, job.state,
         CASE WHEN job.state = 'succeeded' THEN '' ELSE left(coalesce(job.error->>'code', ''), 100) END,
         CASE WHEN before.state = 'running' THEN
           greatest(extract(epoch FROM before.started_at - before.run_at), 0) END,
         CASE WHEN before.state = 'running' THEN
           greatest(extract(epoch FROM job.finished_at - before.started_at), 0) END,
         CASE WHEN job.job_class = 'transfer' AND job.state = 'succeeded'
                   AND jsonb_typeof(job.progress->'current_bytes') = 'number'
              THEN least(greatest((job.progress->>'current_bytes')::numeric, 0), 1e15)::bigint ELSE 0 END
$$;
