-- Of each server and class: how many more jobs it takes (`available`).
CREATE VIEW public.server_capacity WITH (security_invoker) AS
SELECT s.server_id, c.job_class,
       CASE c.job_class WHEN 'quick' THEN s.quick_limit WHEN 'build' THEN s.build_limit ELSE s.transfer_limit END - (
         SELECT count(*) FROM public.job WHERE state IN ('dispatched', 'running')
            AND job.server_id = s.server_id AND job.job_class = c.job_class) AS available
  FROM public.server s CROSS JOIN (VALUES ('quick'), ('transfer'), ('build')) AS c (job_class);

-- Of each registry: how many more transfers it takes.
CREATE VIEW public.registry_capacity WITH (security_invoker) AS
SELECT r.registry_id, r.transfer_limit - (
         SELECT count(*) FROM public.job WHERE state IN ('dispatched', 'running') AND job_class = 'transfer'
            AND job.registry_id = r.registry_id) AS available
  FROM public.registry r;

-- Of each organization and class: its active jobs, and how many more it may have; null for any number.
CREATE VIEW public.organization_capacity WITH (security_invoker) AS
SELECT o.organization_id, c.job_class, held.jobs,
       CASE c.job_class WHEN 'transfer' THEN o.transfer_limit - held.jobs END AS available
  FROM public.organization o CROSS JOIN (VALUES ('quick'), ('transfer'), ('build')) AS c (job_class)
 CROSS JOIN LATERAL (
   SELECT count(*) AS jobs FROM public.job WHERE state IN ('dispatched', 'running')
      AND job.organization_id = o.organization_id AND job.job_class = c.job_class) held;

-- Of each quota that a registry named or enforced: how many pulls run that the registry may not have counted yet
-- (`active`), with all that share it, and how many more may start (`available`; null for any number). A registry counts
-- a pull within seconds after its start: a long one that was observed is not counted twice. After a block those count
-- that began since then.
CREATE VIEW public.registry_quota_capacity WITH (security_invoker) AS
SELECT (held.q).*, held.shared, held.active, public.quota_available(held.q, held.active, now()) AS available
  FROM (
    SELECT q, concat_ws(' ', q.organization_id, q.host, coalesce(q.source, q.quota_key)) AS shared,
           sum(CASE WHEN q.server_id IS NULL THEN (
             SELECT count(*) FROM public.job j CROSS JOIN unnest(j.quota_keys) AS k (quota_key)
              WHERE j.organization_id = q.organization_id AND j.state IN ('dispatched', 'running')
                AND k.quota_key = q.quota_key
                AND j.dispatched_at >= coalesce(q.blocked_until, q.observed_at - interval '30 seconds'))
           ELSE (
             SELECT count(*) FROM public.job j CROSS JOIN unnest(j.quota_keys) AS k (quota_key)
              WHERE j.server_id = q.server_id AND j.state IN ('dispatched', 'running')
                AND k.quota_key = q.quota_key
                AND j.dispatched_at >= coalesce(q.blocked_until, q.observed_at - interval '30 seconds'))
           END) OVER (PARTITION BY q.organization_id, q.host, coalesce(q.source, q.quota_key))::bigint AS active
      FROM public.registry_quota q) held;
