-- Refuse a need that would make a job need itself. Mark the job that has needs, so that it is found among many.
CREATE OR REPLACE FUNCTION public.job_need_check() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF EXISTS (
    WITH RECURSIVE needed(job_id) AS (
      SELECT NEW.needs_job_id
      UNION SELECT n.needs_job_id FROM public.job_need n JOIN needed USING (job_id))
    SELECT 1 FROM needed WHERE job_id = NEW.job_id
  ) THEN
    RAISE EXCEPTION 'job %: needs itself by way of %', NEW.job_id, NEW.needs_job_id USING ERRCODE = 'check_violation';
  END IF;
  UPDATE public.job SET has_needs = true WHERE job_id = NEW.job_id AND NOT has_needs;
  RETURN NULL;
END $$;

CREATE OR REPLACE TRIGGER job_need_check AFTER INSERT OR UPDATE ON public.job_need
  FOR EACH ROW EXECUTE FUNCTION public.job_need_check();
