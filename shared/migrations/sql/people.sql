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

-- Begin a session of the user with this proof, in the organization that was joined first; false if the proof is wrong,
-- or the user is no member of an organization.
CREATE OR REPLACE FUNCTION public.session_begin(p_session text, p_user text, p_proof bytea, p_token_hash bytea,
  p_address text, p_user_agent text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  p_organization text := (SELECT m.organization_id FROM public.member m WHERE m.user_id = p_user
                           ORDER BY m.created_at, m.member_id LIMIT 1);
BEGIN
  UPDATE public.user_account SET signed_in_at = now()
   WHERE user_id = p_user AND proof_hash = sha256(p_proof) AND p_organization IS NOT NULL;
  IF NOT FOUND THEN
    RETURN false;
  END IF;
  INSERT INTO public.user_session (session_id, user_id, organization_id, token_hash, address, user_agent)
  VALUES (p_session, p_user, p_organization, p_token_hash, left(p_address, 100), left(p_user_agent, 300));
  RETURN true;
END $$;

-- Use an invitation: make the user, unless there is one with this proof, and the membership. Return the invitation's
-- organization; null if the invitation is not open, is for another address, or the user's proof is wrong.
CREATE OR REPLACE FUNCTION public.invitation_accept(p_invitation_proof bytea, p_member text, p_user text, p_email text,
  p_name text, p_salt bytea, p_derivation jsonb, p_proof bytea) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  opened public.invitation;
BEGIN
  SELECT * INTO opened FROM public.invitation i
   WHERE i.token_hash = sha256(p_invitation_proof) AND i.accepted_at IS NULL AND i.expires_at > now()
     AND coalesce(i.email, p_email) = p_email FOR UPDATE;
  IF NOT FOUND THEN
    RETURN NULL;
  END IF;
  IF EXISTS (SELECT FROM public.user_account u WHERE u.email = p_email) THEN
    IF NOT EXISTS (SELECT FROM public.user_account u
                    WHERE u.email = p_email AND u.user_id = p_user AND u.proof_hash = sha256(p_proof)) THEN
      RETURN NULL;
    END IF;
  ELSE
    INSERT INTO public.user_account (user_id, email, name, salt, derivation, proof_hash)
    VALUES (p_user, p_email, p_name, p_salt, p_derivation, sha256(p_proof));
  END IF;
  INSERT INTO public.member (member_id, organization_id, user_id, role)
  VALUES (p_member, opened.organization_id, p_user, opened.role)
  ON CONFLICT (organization_id, user_id) DO UPDATE SET role = EXCLUDED.role;
  UPDATE public.invitation SET accepted_at = now() WHERE invitation_id = opened.invitation_id;
  RETURN opened.organization_id;
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
