-- Return whether some server of the organization runs an image: its last successful deployment of an application there
-- is one of this image.
CREATE OR REPLACE FUNCTION public.image_runs(organization text, image text) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT EXISTS (
    SELECT FROM public.deployment d JOIN public.deployment_server s USING (deployment_id)
     WHERE d.organization_id = organization AND d.digest = image AND s.outcome = 'succeeded'
       AND NOT EXISTS (
         SELECT FROM public.deployment_server later JOIN public.deployment newer USING (deployment_id)
          WHERE later.server_id = s.server_id AND newer.application_id = d.application_id
            AND later.outcome = 'succeeded' AND newer.number > d.number))
$$;

-- Return whether the application's last deployment to some server is this image.
CREATE OR REPLACE FUNCTION public.application_runs(application text, image text) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT EXISTS (
    SELECT FROM public.deployment d JOIN public.deployment_server s USING (deployment_id)
     WHERE d.application_id = application AND d.digest = image AND s.outcome = 'succeeded'
       AND NOT EXISTS (
         SELECT FROM public.deployment_server later JOIN public.deployment newer USING (deployment_id)
          WHERE later.server_id = s.server_id AND newer.application_id = application
            AND later.outcome = 'succeeded' AND newer.number > d.number))
$$;

-- Return the registry and repository of a reference, without its tag and its digest.
CREATE OR REPLACE FUNCTION public.repository_of(reference text) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
  SELECT regexp_replace(split_part(reference, '@', 1), ':[^/:]*$', '')
$$;
