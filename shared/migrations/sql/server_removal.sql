-- A removed server stays removed: its role and its key are gone.
CREATE OR REPLACE FUNCTION public.server_before_change() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF OLD.removed_at IS NOT NULL AND NEW.removed_at IS DISTINCT FROM OLD.removed_at THEN
    RAISE EXCEPTION 'server %: is removed', OLD.server_id USING ERRCODE = 'check_violation';
  END IF;
  RETURN NEW;
END $$;

CREATE OR REPLACE TRIGGER server_before_change BEFORE UPDATE OF removed_at ON public.server
  FOR EACH ROW EXECUTE FUNCTION public.server_before_change();
