-- Return the least id of a job of that moment. Ids begin with their time (RFC 9562), so the primary key finds old jobs.
CREATE OR REPLACE FUNCTION public.job_id_at(moment timestamptz) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT substr(hex, 1, 8) || '-' || substr(hex, 9, 4)
    FROM (SELECT lpad(to_hex((extract(epoch FROM moment) * 1000)::bigint), 12, '0') AS hex) AS time
$$;

-- Delete the events of jobs that ended so long ago, the oldest first. Return the number.
CREATE OR REPLACE FUNCTION public.job_event_prune(age interval, many integer) RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  WITH old AS (
    SELECT e.job_id, e.seq FROM public.job_event e JOIN public.job j USING (job_id)
     WHERE e.job_id < (SELECT public.job_id_at(now() - age)) AND j.finished_at < now() - age
     ORDER BY e.job_id, e.seq LIMIT many
  ), gone AS (
    DELETE FROM public.job_event e USING old WHERE e.job_id = old.job_id AND e.seq = old.seq RETURNING 1
  )
  SELECT count(*) FROM gone
$$;

-- Delete the jobs that ended so long ago, with all that belongs to them, the oldest first. Return the number. A job
-- that an unfinished job needs is kept.
CREATE OR REPLACE FUNCTION public.job_prune(age interval, many integer) RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  WITH old AS (
    SELECT job_id FROM public.job j
     WHERE job_id < (SELECT public.job_id_at(now() - age)) AND finished_at < now() - age
       AND NOT EXISTS (SELECT 1 FROM public.job_need n JOIN public.job waits USING (job_id)
                        WHERE n.needs_job_id = j.job_id AND waits.finished_at IS NULL)
     ORDER BY job_id LIMIT many FOR UPDATE SKIP LOCKED
  ), gone AS (
    DELETE FROM public.job USING old WHERE job.job_id = old.job_id RETURNING 1
  )
  SELECT count(*) FROM gone
$$;
