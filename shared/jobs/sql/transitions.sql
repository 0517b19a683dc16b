-- Refuse every transition that is not legal, and set the columns that follow from one.
CREATE OR REPLACE FUNCTION public.job_before_change() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF TG_OP = 'INSERT' THEN
    IF NEW.state <> 'queued' OR NEW.attempt <> 0 THEN
      RAISE EXCEPTION 'job %: a job begins as queued', NEW.job_id USING ERRCODE = 'check_violation';
    END IF;
    NEW.event_seq := 1;
    RETURN NEW;
  END IF;
  IF NEW.attempt < OLD.attempt OR NEW.failures < OLD.failures THEN
    RAISE EXCEPTION 'job %: attempt and failures only grow', NEW.job_id USING ERRCODE = 'check_violation';
  END IF;
  IF NEW.state = OLD.state THEN
    RETURN NEW;
  END IF;
  IF (OLD.state, NEW.state) NOT IN (
    ('queued', 'dispatched'), ('queued', 'cancelled'), ('queued', 'expired'),
    ('dispatched', 'queued'), ('dispatched', 'running'), ('dispatched', 'failed'), ('dispatched', 'cancelled'),
    ('dispatched', 'expired'),
    ('running', 'queued'), ('running', 'succeeded'), ('running', 'failed'), ('running', 'cancelled')
  ) THEN
    RAISE EXCEPTION 'job %: % does not become %', NEW.job_id, OLD.state, NEW.state USING ERRCODE = 'check_violation';
  END IF;
  IF NEW.state = 'dispatched' AND NEW.attempt <> OLD.attempt + 1 THEN
    RAISE EXCEPTION 'job %: each release is a new attempt', NEW.job_id USING ERRCODE = 'check_violation';
  END IF;
  NEW.event_seq := OLD.event_seq + 1;
  IF NEW.state IN ('queued', 'succeeded', 'failed', 'cancelled', 'expired') THEN
    NEW.lease_until := NULL;
    NEW.incarnation := NULL;
  END IF;
  IF NEW.state IN ('succeeded', 'failed', 'cancelled', 'expired') THEN
    NEW.finished_at := clock_timestamp();
  END IF;
  RETURN NEW;
END $$;

-- Record a transition as an event, delete secrets that are not needed any more, and notify those who wait for it.
CREATE OR REPLACE FUNCTION public.job_after_change() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM public.audit_job(NEW, OLD);
  IF TG_OP = 'UPDATE' AND NEW.state = OLD.state THEN
    IF NEW.cancel_requested_at IS NOT NULL AND OLD.cancel_requested_at IS NULL THEN
      PERFORM public.send_notification('wharf_heartbeat', NEW.server_id);
    END IF;
    RETURN NULL;
  END IF;
  INSERT INTO public.job_event (job_id, seq, attempt, kind, state, data)
  VALUES (NEW.job_id, NEW.event_seq, NEW.attempt, 'state', NEW.state,
          CASE WHEN TG_OP = 'UPDATE' THEN jsonb_strip_nulls(jsonb_build_object('error', NEW.error)) END);
  IF TG_OP = 'UPDATE' AND OLD.state IN ('dispatched', 'running') AND NEW.state NOT IN ('dispatched', 'running') THEN
    PERFORM public.job_delete_login(NEW.job_id);
    PERFORM public.send_notification('wharf_release', '');
  END IF;
  IF NEW.state IN ('succeeded', 'failed', 'cancelled', 'expired') THEN
    PERFORM public.job_delete_secrets(NEW.job_id);
    PERFORM public.job_ended_add(NEW, OLD);
    IF NEW.kind = 'registry.test' AND NEW.registry_id IS NOT NULL THEN
      PERFORM public.registry_check_add(NEW);
    END IF;
    IF NEW.kind = 'application.control' AND NEW.state = 'succeeded' THEN
      PERFORM public.application_record_state(NEW);
    END IF;
    PERFORM public.send_notification('wharf_job', NEW.job_id);
    PERFORM public.send_notification('wharf_release', '');
    IF NEW.deployment_id IS NOT NULL THEN
      PERFORM public.send_notification('wharf_deployment', '');
    END IF;
  ELSIF NEW.state = 'queued' THEN
    PERFORM public.send_notification('wharf_release', '');
  END IF;
  RETURN NULL;
END $$;

CREATE OR REPLACE TRIGGER job_before_change BEFORE INSERT OR UPDATE ON public.job
  FOR EACH ROW EXECUTE FUNCTION public.job_before_change();
CREATE OR REPLACE TRIGGER job_after_change AFTER INSERT OR UPDATE OF state, cancel_requested_at ON public.job
  FOR EACH ROW EXECUTE FUNCTION public.job_after_change();
