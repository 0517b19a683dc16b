-- Create the first organization, with the key that the operator chose for it, unless there is one already.
CREATE OR REPLACE FUNCTION public.organization_bootstrap(organization text, api_key text, beginning text, hash bytea)
RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  -- An advisory lock could be held by any role for ever; nobody else may lock this table.
  LOCK TABLE public.organization IN SHARE ROW EXCLUSIVE MODE;
  IF NOT EXISTS (SELECT FROM public.organization) THEN
    INSERT INTO public.organization (organization_id, name) VALUES (organization, 'default');
    INSERT INTO public.api_key (api_key_id, organization_id, name, role, start, key_hash)
    VALUES (api_key, organization, 'first admin key', 'admin', beginning, hash);
  END IF;
END $$;

-- Lock an organization until the transaction ends. The row is locked, because any role could hold an advisory lock for
-- ever.
CREATE OR REPLACE FUNCTION public.organization_lock(organization text) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT FROM public.organization o WHERE o.organization_id = organization_lock.organization FOR NO KEY UPDATE
$$;

-- Return the quota of jobs that have not ended, if the organization has no room for one more; null if it has. An
-- organization without a quota of its own has default_quota; 0 is no limit. Jobs that are stored at the same time do not
-- see each other, so they may pass the quota: nobody waits for a lock here.
CREATE OR REPLACE FUNCTION public.queue_full(organization text, default_quota integer) RETURNS integer
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT q.quota
    FROM (SELECT coalesce(o.queued_job_quota, queue_full.default_quota) AS quota
            FROM public.organization o WHERE o.organization_id = queue_full.organization) q
   WHERE q.quota > 0 AND q.quota <= (
     SELECT count(*) FROM (
       SELECT FROM public.job j WHERE j.organization_id = queue_full.organization
          AND j.state IN ('queued', 'dispatched', 'running') LIMIT q.quota) unended)
$$;

-- Raise WQ001 with the quota as its detail if there is no room for one more job.
CREATE OR REPLACE FUNCTION public.queue_require_room(organization text, default_quota integer) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  quota integer := public.queue_full(organization, default_quota);
BEGIN
  IF quota IS NOT NULL THEN
    RAISE EXCEPTION 'the organization has no room for another job' USING ERRCODE = 'WQ001', DETAIL = quota;
  END IF;
END $$;
