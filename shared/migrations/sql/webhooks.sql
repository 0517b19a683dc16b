-- Store a message for each endpoint when something happens, in the same statement that records it, so that no message is lost
-- or stored twice. Control sends them.

-- Make a new id, as shared.ids does: UUIDv7 (RFC 9562), sorted by time.
CREATE OR REPLACE FUNCTION public.new_id() RETURNS text
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
  SELECT public.job_id_at(clock_timestamp()) || '-7' || substr(gen_random_uuid()::text, 16)
$$;

-- Format a moment: 2024-01-15T10:30:00.000Z
CREATE OR REPLACE FUNCTION public.show_moment(moment timestamptz) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT to_char(moment AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')
$$;

-- Return the part of an error that is sent: evidence and reports are not.
CREATE OR REPLACE FUNCTION public.webhook_error(error jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT CASE WHEN error IS NOT NULL THEN jsonb_build_object(
    'code', left(error->>'code', 100), 'message', left(error->>'message', 2000),
    'remedy', left(error->>'remedy', 2000)) END
$$;

-- Store a message for each endpoint of the organization that subscribes to this kind, and notify control. An endpoint
-- that is being removed at this moment gets no message: its row is locked until all messages to it are deleted. Nothing
-- else locks it so.
CREATE OR REPLACE FUNCTION public.webhook_add(
  organization text, kind text, subject text, ended_at timestamptz, data jsonb
) RETURNS void LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
  WITH added AS (
    INSERT INTO public.webhook_delivery (delivery_id, organization_id, webhook_id, event, subject_id, payload)
    SELECT public.new_id(), w.organization_id, w.webhook_id, kind, subject,
           jsonb_build_object('type', kind, 'timestamp', public.show_moment(ended_at), 'data', data)
      FROM public.webhook w
     WHERE w.organization_id = organization AND w.disabled_at IS NULL AND kind = ANY (w.events)
       FOR KEY SHARE OF w SKIP LOCKED
    ON CONFLICT DO NOTHING RETURNING 1
  )
  SELECT public.send_notification('wharf_webhook', '') FROM added LIMIT 1
$$;

-- Neither the command nor the whole result is sent: a compose file may be in both.
CREATE OR REPLACE FUNCTION public.job_after_end() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF EXISTS (SELECT FROM public.webhook w WHERE w.organization_id = NEW.organization_id) THEN
    PERFORM public.webhook_add(NEW.organization_id, 'job.ended', NEW.job_id, NEW.finished_at, jsonb_build_object(
      'jobId', NEW.job_id, 'kind', NEW.kind, 'state', NEW.state, 'serverId', NEW.server_id,
      'applicationId', left(NEW.command->>'application_id', 100), 'deploymentId', NEW.deployment_id,
      'reference', left(NEW.result->>'reference', 700), 'digest', substring(NEW.result->>'digest' from '^sha256:[0-9a-f]{64}$'),
      'error', public.webhook_error(NEW.error), 'attempt', NEW.attempt,
      'createdAt', public.show_moment(NEW.created_at), 'finishedAt', public.show_moment(NEW.finished_at)));
  END IF;
  RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION public.build_after_end() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM public.webhook_add(NEW.organization_id, 'build.ended', NEW.build_id, NEW.finished_at, jsonb_build_object(
    'buildId', NEW.build_id, 'applicationId', NEW.application_id, 'version', NEW.version, 'title', NEW.title,
    'state', NEW.outcome, 'reference', NEW.reference, 'retained', NEW.retained, 'digest', NEW.digest,
    'revision', NEW.revision, 'error', public.webhook_error(NEW.error),
    'createdAt', public.show_moment(NEW.created_at), 'finishedAt', public.show_moment(NEW.finished_at)));
  RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION public.deployment_after_end() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM public.webhook_add(NEW.organization_id, 'deployment.ended', NEW.deployment_id, NEW.finished_at,
    jsonb_build_object(
      'deploymentId', NEW.deployment_id, 'applicationId', NEW.application_id, 'buildId', NEW.build_id,
      'title', NEW.title, 'state', NEW.outcome, 'reference', NEW.reference, 'digest', NEW.digest,
      'rollbackId', NEW.rollback_id, 'rollsBack', NEW.rolls_back, 'error', public.webhook_error(NEW.error),
      'createdAt', public.show_moment(NEW.created_at), 'finishedAt', public.show_moment(NEW.finished_at)));
  RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION public.credential_notice_after_insert() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM public.webhook_add(
    NEW.organization_id, NEW.event, NEW.registry_id || ':' || NEW.subject, NEW.created_at, NEW.data);
  RETURN NULL;
END $$;

-- The username is that of the login that is in use after the change.
CREATE OR REPLACE FUNCTION public.rotation_event() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM public.webhook_add(
    NEW.organization_id,
    CASE NEW.state WHEN 'switched' THEN 'credential.rotated' WHEN 'rolled_back' THEN 'credential.rolled_back'
      ELSE 'credential.rotation_refused' END,
    NEW.rotation_id, now(), jsonb_build_object(
      'rotationId', NEW.rotation_id, 'registryId', r.registry_id, 'registryName', r.registry_name,
      'host', r.host, 'username', r.username, 'forced', NEW.forced, 'error', public.webhook_error(NEW.error),
      'keptUntil', CASE WHEN NEW.state = 'switched' THEN public.show_moment(NEW.kept_until) END,
      'createdAt', public.show_moment(NEW.created_at)))
    FROM public.registry r WHERE r.registry_id = NEW.registry_id;
  RETURN NULL;
END $$;

CREATE OR REPLACE TRIGGER rotation_event AFTER INSERT OR UPDATE OF state ON public.rotation
  FOR EACH ROW WHEN (NEW.state IN ('switched', 'rolled_back', 'refused'))
  EXECUTE FUNCTION public.rotation_event();
CREATE OR REPLACE TRIGGER credential_notice_after_insert AFTER INSERT ON public.credential_notice
  FOR EACH ROW EXECUTE FUNCTION public.credential_notice_after_insert();
CREATE OR REPLACE TRIGGER job_after_end AFTER UPDATE OF state ON public.job
  FOR EACH ROW WHEN (OLD.finished_at IS NULL AND NEW.finished_at IS NOT NULL)
  EXECUTE FUNCTION public.job_after_end();
CREATE OR REPLACE TRIGGER build_after_end AFTER UPDATE OF outcome ON public.build
  FOR EACH ROW WHEN (OLD.outcome IS NULL AND NEW.outcome IS NOT NULL)
  EXECUTE FUNCTION public.build_after_end();
CREATE OR REPLACE TRIGGER deployment_after_end AFTER UPDATE OF outcome ON public.deployment
  FOR EACH ROW WHEN (OLD.outcome IS NULL AND NEW.outcome IS NOT NULL)
  EXECUTE FUNCTION public.deployment_after_end();
