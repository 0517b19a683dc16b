-- People: sign in, join, leave. The API shows the proof of a password or of an invitation; without one it makes no
-- session and no member. A proof is the SHA-256 of a secret, and only the SHA-256 of the proof is stored.

-- Return the role with fewer rights; one of them may be null.
CREATE OR REPLACE FUNCTION public.lesser_role(first text, second text) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT CASE WHEN 'viewer' IN (first, second) THEN 'viewer' WHEN 'member' IN (first, second) THEN 'member'
              WHEN 'admin' IN (first, second) THEN 'admin' ELSE coalesce(first, second) END
$$;

-- Return whether this session may still be used: 12 hours after its last use it ends, and after 30 days in any case.
CREATE OR REPLACE FUNCTION public.session_is_valid(s public.user_session) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT s.last_used_at > now() - interval '12 hours' AND s.created_at > now() - interval '30 days'
$$;

-- Begin a session of the user with this proof, in this organization, or in the one that was joined first; false if the
-- proof is wrong, or the user is no member of an organization.
CREATE OR REPLACE FUNCTION public.session_begin(p_session text, p_user text, p_proof bytea, p_token_hash bytea,
  p_address text, p_user_agent text, p_organization text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  chosen text := (SELECT m.organization_id FROM public.member m WHERE m.user_id = p_user
                   ORDER BY m.organization_id = p_organization DESC NULLS LAST, m.created_at, m.member_id LIMIT 1);
BEGIN
  UPDATE public.user_account SET signed_in_at = now()
   WHERE user_id = p_user AND proof_hash = sha256(p_proof) AND chosen IS NOT NULL;
  IF NOT FOUND THEN
    RETURN false;
  END IF;
  INSERT INTO public.user_session (session_id, user_id, organization_id, token_hash, address, user_agent)
  VALUES (p_session, p_user, chosen, p_token_hash, left(p_address, 100), left(p_user_agent, 300));
  RETURN true;
END $$;

-- Return the user of the session with this proof; null if it is over.
CREATE OR REPLACE FUNCTION public.session_user_of(p_proof bytea) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT s.user_id FROM public.user_session s WHERE s.token_hash = sha256(p_proof) AND public.session_is_valid(s)
$$;

-- Continue the session with this proof in another organization of its user; false if the user is no member there.
CREATE OR REPLACE FUNCTION public.session_switch(p_proof bytea, p_organization text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  UPDATE public.user_session s SET organization_id = p_organization
   WHERE s.token_hash = sha256(p_proof) AND public.session_is_valid(s)
     AND EXISTS (SELECT FROM public.member m WHERE m.user_id = s.user_id AND m.organization_id = p_organization);
  RETURN FOUND;
END $$;

-- End a session of the user whose session has this proof; all of them if none is named.
CREATE OR REPLACE FUNCTION public.session_end(p_proof bytea, p_session text) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  DELETE FROM public.user_session s
   WHERE s.user_id = public.session_user_of(p_proof) AND s.session_id = coalesce(p_session, s.session_id)
$$;

-- Change the name of the user whose session has this proof.
CREATE OR REPLACE FUNCTION public.user_change_name(p_proof bytea, p_name text) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  UPDATE public.user_account SET name = p_name WHERE user_id = public.session_user_of(p_proof)
$$;

-- Let the API record the use of a session that is not over: nobody extends an expired one, or one into the future.
CREATE OR REPLACE FUNCTION public.require_valid_session() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF current_user = 'wharf_api' AND NOT (public.session_is_valid(OLD) AND NEW.last_used_at >= OLD.last_used_at
                                         AND NEW.last_used_at <= now() + interval '5 minutes') THEN
    RAISE EXCEPTION 'update of user_session: it is over' USING ERRCODE = 'insufficient_privilege';
  END IF;
  RETURN NEW;
END $$;

CREATE OR REPLACE TRIGGER require_valid_session BEFORE UPDATE ON public.user_session
  FOR EACH ROW EXECUTE FUNCTION public.require_valid_session();

-- Return whether an invitation can still be accepted: its inviter may still invite with this role.
CREATE OR REPLACE FUNCTION public.invitation_is_open(i public.invitation) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT i.accepted_at IS NULL AND i.expires_at > now() AND EXISTS (
    SELECT FROM (
      SELECT m.role FROM public.member m WHERE m.member_id = i.invited_by AND m.organization_id = i.organization_id
      UNION ALL
      SELECT public.lesser_role(k.role, (SELECT m.role FROM public.member m WHERE m.member_id = k.member_id))
        FROM public.api_key k WHERE k.api_key_id = i.invited_by AND k.organization_id = i.organization_id
         AND (k.expires_at IS NULL OR k.expires_at > now())
    ) inviter
     WHERE inviter.role IN ('owner', 'admin')
       AND (i.role <> 'owner' OR inviter.role = 'owner' OR NOT EXISTS (
         SELECT FROM public.member m WHERE m.organization_id = i.organization_id AND m.role = 'owner')))
$$;

-- Use an invitation: make the user, unless one with this address and proof is given, and the membership. A member keeps
-- a role that has more rights. Return the user and the organization; no row if the invitation is not open or is for
-- another address, or the user's proof is wrong.
CREATE OR REPLACE FUNCTION public.invitation_accept(p_invitation_proof bytea, p_user text, p_email text, p_name text,
  p_salt bytea, p_derivation jsonb, p_proof bytea, OUT accepted_user text, OUT accepted_organization text)
RETURNS SETOF record LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  opened public.invitation;
BEGIN
  SELECT * INTO opened FROM public.invitation i
   WHERE i.token_hash = sha256(p_invitation_proof) AND public.invitation_is_open(i)
     AND coalesce(i.email, p_email) = p_email FOR UPDATE;
  IF NOT FOUND THEN
    RETURN;
  END IF;
  IF p_user IS NULL THEN
    accepted_user := public.new_id();
    INSERT INTO public.user_account (user_id, email, name, salt, derivation, proof_hash)
    VALUES (accepted_user, p_email, p_name, p_salt, p_derivation, sha256(p_proof)) ON CONFLICT DO NOTHING;
  ELSE
    accepted_user := p_user;
    PERFORM FROM public.user_account u
      WHERE u.user_id = p_user AND u.email = p_email AND u.proof_hash = sha256(p_proof);
  END IF;
  IF NOT FOUND THEN
    RETURN;
  END IF;
  INSERT INTO public.member AS m (member_id, organization_id, user_id, role)
  VALUES (public.new_id(), opened.organization_id, accepted_user, opened.role)
  ON CONFLICT (organization_id, user_id) DO UPDATE SET role = EXCLUDED.role
   WHERE public.lesser_role(m.role, EXCLUDED.role) = m.role;
  UPDATE public.invitation SET accepted_at = now() WHERE invitation_id = opened.invitation_id;
  accepted_organization := opened.organization_id;
  RETURN NEXT;
END $$;

-- Change the password of the user with this proof and end all sessions but one; the second factor is encrypted anew by
-- the caller. False if the proof is wrong.
CREATE OR REPLACE FUNCTION public.user_change_password(p_user text, p_proof bytea, p_salt bytea, p_derivation jsonb,
  p_new_proof bytea, p_second_factor bytea, p_session text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  UPDATE public.user_account SET salt = p_salt, derivation = p_derivation, proof_hash = sha256(p_new_proof),
         second_factor = p_second_factor
   WHERE user_id = p_user AND proof_hash = sha256(p_proof);
  IF NOT FOUND THEN
    RETURN false;
  END IF;
  DELETE FROM public.user_session WHERE user_id = p_user AND session_id <> p_session;
  RETURN true;
END $$;

-- Set or remove the second factor of the user with this proof. False if the proof is wrong.
CREATE OR REPLACE FUNCTION public.user_set_second_factor(p_user text, p_proof bytea, p_second_factor bytea)
RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  UPDATE public.user_account SET second_factor = p_second_factor WHERE user_id = p_user AND proof_hash = sha256(p_proof);
  RETURN FOUND;
END $$;

-- The answers that are stored for the repeated requests of a key or a member go with it.
CREATE OR REPLACE FUNCTION public.actor_after_delete() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  DELETE FROM public.idempotency WHERE actor_id = to_jsonb(OLD)->>TG_ARGV[0];
  RETURN NULL;
END $$;

CREATE OR REPLACE TRIGGER actor_after_delete AFTER DELETE ON public.api_key
  FOR EACH ROW EXECUTE FUNCTION public.actor_after_delete('api_key_id');
CREATE OR REPLACE TRIGGER actor_after_delete AFTER DELETE ON public.member
  FOR EACH ROW EXECUTE FUNCTION public.actor_after_delete('member_id');
