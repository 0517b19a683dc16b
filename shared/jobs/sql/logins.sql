-- Delete the login of a job whose attempt has ended: each attempt gets one of its own.
CREATE OR REPLACE FUNCTION public.job_delete_login(job text) RETURNS void
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
  DELETE FROM public.job_secret WHERE job_id = job AND purpose = 'login'
$$;

-- Delete all secrets of a job that has ended: its login, and those that were given with it.
CREATE OR REPLACE FUNCTION public.job_delete_secrets(job text) RETURNS void
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
  DELETE FROM public.job_secret WHERE job_id = job
$$;
