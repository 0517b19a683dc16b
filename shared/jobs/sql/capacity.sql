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
