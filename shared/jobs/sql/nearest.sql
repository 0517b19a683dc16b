-- Return how many characters two names have between their common beginning and their common end.
CREATE OR REPLACE FUNCTION public.spelling_difference(one text, other text) RETURNS integer
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  WHILE one <> '' AND left(one, 1) = left(other, 1) LOOP
    one := substr(one, 2);
    other := substr(other, 2);
  END LOOP;
  WHILE one <> '' AND right(one, 1) = right(other, 1) LOOP
    one := left(one, -1);
    other := left(other, -1);
  END LOOP;
  RETURN greatest(length(one), length(other));
END $$;

-- Return the repository that was probably meant by a job whose image is missing: one that applications have at the
-- registry with whose login the job pulls, and that is spelled alike. Null if there is none, or if the job's was there
-- when an application was built.
CREATE OR REPLACE FUNCTION public.nearest_repository(job public.job, code text, stage text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  WITH wanted AS (
    SELECT public.repository_of(job.command->>CASE job.kind WHEN 'image.copy' THEN 'source' ELSE 'reference' END) AS name,
           CASE job.kind WHEN 'image.copy' THEN job.command->>'source_registry_id' ELSE job.registry_id END AS registry_id
     WHERE code IN ('repo_missing', 'image_not_found')
       AND (job.kind IN ('image.pull', 'service.replace')
            OR job.kind = 'image.copy' AND (code = 'image_not_found' OR stage = 'pull'))
  ), known AS (
    SELECT public.repository_of(image.reference) AS name, bool_or(image.is_there) AS is_there
      FROM wanted JOIN public.registry r USING (registry_id)
      JOIN public.application a USING (organization_id)
      LEFT JOIN LATERAL (
        SELECT b.reference, b.retained FROM public.build b
         WHERE b.application_id = a.application_id AND b.outcome = 'succeeded' ORDER BY b.build_id DESC LIMIT 1
      ) newest ON true
     CROSS JOIN LATERAL (VALUES
       (CASE WHEN r.registry_id IN (a.registry_id, coalesce(a.build_registry_id, a.rollback_registry_id))
             THEN newest.reference END, true),
       (CASE WHEN r.registry_id = a.rollback_registry_id THEN newest.retained END, true),
       (CASE WHEN r.registry_id = a.registry_id THEN a.docker_image END, false)) image (reference, is_there)
     WHERE r.organization_id = job.organization_id AND starts_with(image.reference, r.host || '/') GROUP BY 1
  )
  SELECT known.name FROM known, wanted
   WHERE NOT EXISTS (SELECT FROM known same WHERE same.name = wanted.name AND same.is_there)
     AND known.name <> wanted.name AND public.spelling_difference(known.name, wanted.name) <= 2
   ORDER BY public.spelling_difference(known.name, wanted.name), known.name LIMIT 1
$$;
