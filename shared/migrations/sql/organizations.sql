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
