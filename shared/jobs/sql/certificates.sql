-- Decide whether a worker keeps a certificate that it has stored for its Engine, in the directory of a registry's host:
-- {registry_id, host, file, sha256}. `registry_id` is that of the registry for which it was written, `sha256` the digest
-- of the PEM, for a client's key that of its certificate. It is kept for a registry at that host that still lets this
-- server store it, if it is the same registry or has the same certificate; and while a job has the registry's login.
CREATE OR REPLACE FUNCTION public.certificate_is_wanted(server text, stored jsonb) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT EXISTS (
    SELECT FROM public.registry r JOIN public.server s USING (organization_id)
     CROSS JOIN LATERAL (SELECT CASE WHEN stored->>'file' = 'ca.crt' THEN r.ca_certificate ELSE r.client_certificate END
                             AS pem) certificate
     WHERE s.server_id = server AND r.host = stored->>'host' AND r.install_ca AND certificate.pem IS NOT NULL
       AND (r.allowed_servers = '{}' OR server = ANY (r.allowed_servers))
       AND (r.registry_id = stored->>'registry_id'
            OR encode(sha256(convert_to(certificate.pem, 'UTF8')), 'hex') = stored->>'sha256')
  ) OR EXISTS (
    SELECT FROM public.job j JOIN public.job_attempt a USING (job_id, attempt)
     WHERE j.server_id = server AND j.state IN ('dispatched', 'running')
       AND jsonb_exists(a.login_revisions, stored->>'registry_id')
  )
$$;
