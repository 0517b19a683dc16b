-- Authority: the API stores only what a key that was shown to it may store.
-- The API proves a key (or a deploy hook's token) by its SHA-256, which it sets for one transaction:
-- `SET LOCAL wharf.proof`. Only the SHA-256 of that is stored, so that nothing in the database is a proof.

-- Return the key, the member or the hook of this transaction; no row without a proof. A member's key has no more rights
-- than the member.
CREATE OR REPLACE FUNCTION public.caller(OUT id text, OUT organization_id text, OUT role text)
RETURNS SETOF record LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  WITH shown AS (
    SELECT sha256(decode(nullif(current_setting('wharf.proof', true), ''), 'hex')) AS hash
  )
  SELECT k.api_key_id, k.organization_id, public.lesser_role(k.role, (
           SELECT m.role FROM public.member m WHERE m.member_id = k.member_id))
    FROM public.api_key k, shown
   WHERE k.key_hash = shown.hash AND (k.expires_at IS NULL OR k.expires_at > now())
  UNION ALL
  SELECT m.member_id, m.organization_id, m.role
    FROM shown JOIN public.user_session s ON s.token_hash = shown.hash JOIN public.member m USING (user_id, organization_id)
   WHERE public.session_is_valid(s)
  UNION ALL
  SELECT h.hook_id, h.organization_id, 'member' FROM public.deploy_hook h, shown WHERE h.token_hash = shown.hash
$$;

-- Return whether this transaction's key is limited to applications, and the row is of none of them.
CREATE OR REPLACE FUNCTION public.is_beyond_key(p_table text, p_row jsonb) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT EXISTS (
    SELECT FROM public.api_key k
     WHERE k.key_hash = sha256(decode(nullif(current_setting('wharf.proof', true), ''), 'hex')) AND k.application_ids <> '{}'
       AND p_table NOT IN ('audit_event', 'deployment_server', 'job_secret')
       AND NOT coalesce(p_row->>'application_id', p_row->>'fair_key', '') = ANY (k.application_ids))
$$;

-- require_caller(role, column …): refuse the API a change of a row without a key of the row's organization that has
-- this role; a change of these columns alone needs none. An audit row names the key of its proof. A viewer's key
-- changes nothing, but what it has read may be recorded. Members have keys of their own, with at most their own role.
CREATE OR REPLACE FUNCTION public.require_caller() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  who record;
  changed jsonb;
  free text[] := TG_ARGV[1:];
BEGIN
  IF current_user <> 'wharf_api' THEN
    RETURN CASE WHEN TG_OP = 'DELETE' THEN OLD ELSE NEW END;
  END IF;
  changed := to_jsonb(CASE WHEN TG_OP = 'DELETE' THEN OLD ELSE NEW END);
  IF TG_OP = 'UPDATE' AND changed - free = to_jsonb(OLD) - free THEN
    IF coalesce((changed->>'last_used_at')::timestamptz, '-infinity') > now() + interval '5 minutes'
       OR changed->>'last_used_at' = '-infinity' THEN
      RAISE EXCEPTION '% of %: a time to come', lower(TG_OP), TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NEW;
  END IF;
  SELECT * INTO who FROM public.caller();
  IF who.id IS NULL
     OR who.organization_id <> coalesce(changed->>'organization_id', (
       SELECT s.organization_id FROM public.server s WHERE s.server_id = changed->>'server_id'))
     OR (TG_ARGV[0] = 'admin' AND who.role NOT IN ('owner', 'admin')
         AND NOT (TG_TABLE_NAME = 'api_key' AND coalesce(changed->>'member_id' = who.id, false)))
     OR (who.role = 'viewer' AND TG_TABLE_NAME NOT IN ('audit_event', 'api_key'))
     OR (TG_TABLE_NAME = 'api_key' AND changed->>'member_id' IS NOT NULL
         AND changed->>'member_id' IS DISTINCT FROM who.id AND TG_OP = 'INSERT')
     OR (TG_TABLE_NAME = 'audit_event' AND changed->>'actor_id' IS DISTINCT FROM who.id)
     OR public.is_beyond_key(TG_TABLE_NAME, changed) THEN
    RAISE EXCEPTION '% of %: needs a key that may', lower(TG_OP), TG_TABLE_NAME
      USING ERRCODE = 'insufficient_privilege';
  END IF;
  IF TG_OP = 'DELETE' THEN
    RETURN OLD;
  END IF;
  IF TG_TABLE_NAME = 'audit_event' THEN
    NEW.at := clock_timestamp();
  END IF;
  RETURN NEW;
END $$;

-- Refuse the API a change of a membership without an administrator's proof, and of an owner's without an owner's, once
-- the organization has an owner; members leave by themselves. An owner is invited as one is made.
CREATE OR REPLACE FUNCTION public.require_inviter() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  who record;
  subject jsonb := to_jsonb(CASE WHEN TG_OP = 'DELETE' THEN OLD ELSE NEW END);
BEGIN
  IF current_user <> 'wharf_api' THEN
    RETURN CASE WHEN TG_OP = 'DELETE' THEN OLD ELSE NEW END;
  END IF;
  SELECT * INTO who FROM public.caller();
  IF NOT (TG_OP = 'DELETE' AND coalesce(subject->>'member_id' = who.id, false))
     AND (who.organization_id IS DISTINCT FROM subject->>'organization_id' OR who.role NOT IN ('owner', 'admin')
          OR public.is_beyond_key(TG_TABLE_NAME, subject)
          OR who.role <> 'owner' AND 'owner' IN (subject->>'role', CASE WHEN TG_OP = 'UPDATE' THEN OLD.role END)
             AND EXISTS (SELECT FROM public.member m WHERE m.organization_id = who.organization_id AND m.role = 'owner'))
  THEN
    RAISE EXCEPTION '% of %: needs an owner', lower(TG_OP), TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege';
  END IF;
  RETURN CASE WHEN TG_OP = 'DELETE' THEN OLD ELSE NEW END;
END $$;

-- Create an organization whose owner is the member of this transaction's session. Null without such a session, or for a
-- member of 50 organizations.
CREATE OR REPLACE FUNCTION public.organization_create(p_name text) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  creator text := (SELECT m.user_id FROM public.caller() c JOIN public.member m ON m.member_id = c.id);
  p_organization text := public.new_id();
BEGIN
  IF creator IS NULL OR (SELECT count(*) FROM public.member m WHERE m.user_id = creator) >= 50 THEN
    RETURN NULL;
  END IF;
  INSERT INTO public.organization (organization_id, name) VALUES (p_organization, p_name);
  INSERT INTO public.member (member_id, organization_id, user_id, role) VALUES (public.new_id(), p_organization, creator, 'owner');
  RETURN p_organization;
END $$;

-- Refuse the API a job, a build or a deployment without a key of its organization, and in another one's name. The
-- jobs of a viewer's key only read: the log of a container, and what is in a registry.
CREATE OR REPLACE FUNCTION public.require_requester() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  who record;
BEGIN
  IF current_user <> 'wharf_api' THEN
    RETURN NEW;
  END IF;
  SELECT * INTO who FROM public.caller();
  IF who.organization_id IS DISTINCT FROM NEW.organization_id OR NEW.requested_by <> who.id
     OR who.role = 'viewer' AND coalesce(to_jsonb(NEW)->>'kind', '') NOT IN (
          'application.logs', 'image.inspect', 'image.tags', 'image.repositories',
          'signature.verify')
     OR public.is_beyond_key(TG_TABLE_NAME, to_jsonb(NEW)) THEN
    RAISE EXCEPTION '%: needs the key of who asks for it', TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege';
  END IF;
  RETURN NEW;
END $$;

-- Refuse the API another number of an application's newest build than the next one, and this one without a key of its
-- organization.
CREATE OR REPLACE FUNCTION public.require_next_version() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF current_user = 'wharf_api' AND NEW.last_version <> OLD.last_version
     AND (NEW.last_version <> OLD.last_version + 1
          OR NOT EXISTS (SELECT FROM public.caller() c
                          WHERE c.organization_id = NEW.organization_id AND c.role <> 'viewer')) THEN
    RAISE EXCEPTION 'application: not its next version' USING ERRCODE = 'insufficient_privilege';
  END IF;
  RETURN NEW;
END $$;

-- Refuse the API an answer under an Idempotency-Key without the API key that it is stored for.
CREATE OR REPLACE FUNCTION public.require_key_of_answer() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF current_user = 'wharf_api'
     AND NOT EXISTS (SELECT FROM public.caller() c
                      WHERE c.id = NEW.actor_id AND (TG_OP = 'INSERT' OR c.id = OLD.actor_id)) THEN
    RAISE EXCEPTION '% of an answer: needs its key', lower(TG_OP) USING ERRCODE = 'insufficient_privilege';
  END IF;
  RETURN NEW;
END $$;

-- Withdraw the approval of a server that joins, or joins again with another key: it gets no stored login.
CREATE OR REPLACE FUNCTION public.server_after_enrolment() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  UPDATE public.server SET approved_at = NULL WHERE server_id = NEW.server_id;
  RETURN NULL;
END $$;

-- Notify control of a source whose login is due, or is needed for a test.
CREATE OR REPLACE FUNCTION public.credential_source_after_change() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM public.send_notification('wharf_credential', '');
  RETURN NULL;
END $$;

-- Notify control of the next step of a rotation, and the callers that wait for it.
CREATE OR REPLACE FUNCTION public.rotation_after_change() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM public.send_notification('wharf_rotation', '');
  PERFORM public.send_notification('wharf_job', NEW.rotation_id);
  PERFORM public.send_notification('wharf_release', '');
  RETURN NULL;
END $$;

CREATE OR REPLACE TRIGGER require_caller BEFORE INSERT OR UPDATE OR DELETE ON public.organization
  FOR EACH ROW EXECUTE FUNCTION public.require_caller('admin');
CREATE OR REPLACE TRIGGER require_caller BEFORE INSERT OR UPDATE OR DELETE ON public.api_key
  FOR EACH ROW EXECUTE FUNCTION public.require_caller('admin', 'last_used_at');
CREATE OR REPLACE TRIGGER require_inviter BEFORE INSERT OR UPDATE OR DELETE ON public.member
  FOR EACH ROW EXECUTE FUNCTION public.require_inviter();
CREATE OR REPLACE TRIGGER require_inviter BEFORE INSERT OR UPDATE OR DELETE ON public.invitation
  FOR EACH ROW EXECUTE FUNCTION public.require_inviter();
CREATE OR REPLACE TRIGGER require_caller BEFORE INSERT OR UPDATE OR DELETE ON public.registry
  FOR EACH ROW EXECUTE FUNCTION public.require_caller('admin');
CREATE OR REPLACE TRIGGER require_caller BEFORE INSERT OR UPDATE OR DELETE ON public.credential_source
  FOR EACH ROW EXECUTE FUNCTION public.require_caller('admin', 'renew_at');
CREATE OR REPLACE TRIGGER require_caller BEFORE INSERT OR UPDATE OR DELETE ON public.rotation
  FOR EACH ROW EXECUTE FUNCTION public.require_caller('admin');
CREATE OR REPLACE TRIGGER require_caller BEFORE INSERT OR UPDATE OR DELETE ON public.server
  FOR EACH ROW EXECUTE FUNCTION public.require_caller('admin');
CREATE OR REPLACE TRIGGER require_caller BEFORE INSERT OR UPDATE OR DELETE ON public.server_token
  FOR EACH ROW EXECUTE FUNCTION public.require_caller('admin');
CREATE OR REPLACE TRIGGER require_caller BEFORE INSERT OR UPDATE OR DELETE ON public.application
  FOR EACH ROW EXECUTE FUNCTION public.require_caller('admin', 'last_version');
CREATE OR REPLACE TRIGGER require_next_version BEFORE UPDATE OF last_version ON public.application
  FOR EACH ROW EXECUTE FUNCTION public.require_next_version();
CREATE OR REPLACE TRIGGER require_key_of_answer BEFORE INSERT OR UPDATE ON public.idempotency
  FOR EACH ROW EXECUTE FUNCTION public.require_key_of_answer();
CREATE OR REPLACE TRIGGER require_caller BEFORE INSERT OR UPDATE OR DELETE ON public.application_server
  FOR EACH ROW EXECUTE FUNCTION public.require_caller('admin');
CREATE OR REPLACE TRIGGER require_caller BEFORE INSERT OR UPDATE OR DELETE ON public.webhook
  FOR EACH ROW EXECUTE FUNCTION public.require_caller('admin');
CREATE OR REPLACE TRIGGER require_caller BEFORE INSERT OR UPDATE OR DELETE ON public.signing_key
  FOR EACH ROW EXECUTE FUNCTION public.require_caller('admin');
CREATE OR REPLACE TRIGGER require_caller BEFORE INSERT OR UPDATE OR DELETE ON public.deploy_hook
  FOR EACH ROW EXECUTE FUNCTION public.require_caller('admin', 'last_used_at');
CREATE OR REPLACE TRIGGER require_caller BEFORE INSERT OR UPDATE OR DELETE ON public.audit_event
  FOR EACH ROW EXECUTE FUNCTION public.require_caller('member');
CREATE OR REPLACE TRIGGER require_caller BEFORE INSERT ON public.context
  FOR EACH ROW EXECUTE FUNCTION public.require_caller('member');
CREATE OR REPLACE TRIGGER require_caller BEFORE INSERT ON public.deployment_server
  FOR EACH ROW EXECUTE FUNCTION public.require_caller('member');
CREATE OR REPLACE TRIGGER require_caller BEFORE INSERT ON public.job_secret
  FOR EACH ROW EXECUTE FUNCTION public.require_caller('member');
CREATE OR REPLACE TRIGGER require_caller BEFORE UPDATE ON public.rollback
  FOR EACH ROW EXECUTE FUNCTION public.require_caller('member');
CREATE OR REPLACE TRIGGER require_requester BEFORE INSERT ON public.job
  FOR EACH ROW EXECUTE FUNCTION public.require_requester();
CREATE OR REPLACE TRIGGER require_requester BEFORE INSERT ON public.build
  FOR EACH ROW EXECUTE FUNCTION public.require_requester();
CREATE OR REPLACE TRIGGER require_requester BEFORE INSERT ON public.deployment
  FOR EACH ROW EXECUTE FUNCTION public.require_requester();
CREATE OR REPLACE TRIGGER credential_source_after_change AFTER INSERT OR UPDATE OF renew_at ON public.credential_source
  FOR EACH ROW WHEN (NEW.renew_at <= now()) EXECUTE FUNCTION public.credential_source_after_change();
CREATE OR REPLACE TRIGGER job_secret_after_insert AFTER INSERT ON public.job_secret
  FOR EACH ROW WHEN (NEW.purpose = 'credential_source') EXECUTE FUNCTION public.credential_source_after_change();
CREATE OR REPLACE TRIGGER rotation_after_change AFTER INSERT OR UPDATE OF state ON public.rotation
  FOR EACH ROW EXECUTE FUNCTION public.rotation_after_change();
CREATE OR REPLACE TRIGGER server_after_enrolment AFTER INSERT OR UPDATE OF public_key ON public.server_enrolment
  FOR EACH ROW EXECUTE FUNCTION public.server_after_enrolment();
