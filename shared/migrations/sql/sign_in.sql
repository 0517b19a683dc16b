-- Ways to sign in besides the password: links for a new password, an OIDC provider, codes of a second factor.

-- Return whether the user's proof is right.
CREATE OR REPLACE FUNCTION public.user_has_proof(p_user text, p_proof bytea) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT EXISTS (SELECT FROM public.user_account u WHERE u.user_id = p_user AND u.proof_hash = sha256(p_proof))
$$;

-- Use the code of a second factor, by the number of its 30 seconds, once. False if it or a later one was used; null if
-- the proof is wrong.
CREATE OR REPLACE FUNCTION public.user_use_code(p_user text, p_proof bytea, p_step bigint) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  UPDATE public.user_account SET second_factor_step = p_step
   WHERE user_id = p_user AND proof_hash = sha256(p_proof) AND coalesce(second_factor_step, -1) < p_step;
  IF FOUND THEN
    RETURN true;
  END IF;
  RETURN CASE WHEN public.user_has_proof(p_user, p_proof) THEN false END;
END $$;

-- Record in the audit log of the user's organizations that a sign-in was refused, once a minute at most.
CREATE OR REPLACE FUNCTION public.sign_in_refused(p_email text, p_address text, p_method text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  refused text;
BEGIN
  UPDATE public.user_account SET refused_at = now()
   WHERE email = p_email AND (refused_at IS NULL OR refused_at < now() - interval '1 minute')
  RETURNING user_id INTO refused;
  INSERT INTO public.audit_event (audit_event_id, organization_id, action, object_id, data)
  SELECT public.new_id(), m.organization_id, 'user.signInRefused', refused,
         jsonb_build_object('address', left(p_address, 100), 'method', left(p_method, 20))
    FROM public.member m WHERE m.user_id = refused;
END $$;

-- Return whether the member, or the key, may make a link for a new password of this user: an administrator in all
-- organizations of the user, and an owner where the user is one. Nobody makes one for oneself.
CREATE OR REPLACE FUNCTION public.may_reset(p_maker text, p_user text) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  WITH rights AS (
    SELECT o.organization_id, o.role
      FROM public.member m JOIN public.member o USING (user_id) WHERE m.member_id = p_maker AND m.user_id <> p_user
    UNION ALL
    SELECT k.organization_id, public.lesser_role(k.role, m.role)
      FROM public.api_key k LEFT JOIN public.member m USING (member_id)
     WHERE k.api_key_id = p_maker AND k.application_ids = '{}' AND (k.expires_at IS NULL OR k.expires_at > now())
       AND m.user_id IS DISTINCT FROM p_user
  )
  SELECT EXISTS (SELECT FROM public.member t WHERE t.user_id = p_user)
     AND NOT EXISTS (
       SELECT FROM public.member t
        WHERE t.user_id = p_user AND NOT EXISTS (
          SELECT FROM rights r
           WHERE r.organization_id = t.organization_id AND r.role IN ('owner', 'admin')
             AND (t.role <> 'owner' OR r.role = 'owner')))
$$;

-- Return whether a link for a new password can still be used: its maker may still make it. The operator made one
-- without a maker.
CREATE OR REPLACE FUNCTION public.password_reset_is_open(r public.password_reset) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT r.used_at IS NULL AND r.expires_at > now() AND (r.made_by IS NULL OR public.may_reset(r.made_by, r.user_id))
$$;

-- Make a link for a new password, for the caller of this transaction; links that were made before end. False if the
-- caller may not.
CREATE OR REPLACE FUNCTION public.password_reset_make(p_reset text, p_user text, p_token_hash bytea) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  maker text := (SELECT c.id FROM public.caller() c);
BEGIN
  IF maker IS NULL OR NOT public.may_reset(maker, p_user) THEN
    RETURN false;
  END IF;
  DELETE FROM public.password_reset WHERE user_id = p_user;
  INSERT INTO public.password_reset (reset_id, user_id, token_hash, made_by, expires_at)
  VALUES (p_reset, p_user, p_token_hash, maker, now() + interval '1 hour');
  RETURN true;
END $$;

-- Use a link: store another password, remove the second factor, which the former one encrypted, and end all sessions.
-- Return the user; null if the link is not open.
CREATE OR REPLACE FUNCTION public.password_reset_use(p_token_proof bytea, p_salt bytea, p_derivation jsonb, p_proof bytea,
  p_address text) RETURNS text LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  opened public.password_reset;
BEGIN
  SELECT * INTO opened FROM public.password_reset r
   WHERE r.token_hash = sha256(p_token_proof) AND public.password_reset_is_open(r) FOR UPDATE;
  IF NOT FOUND THEN
    RETURN NULL;
  END IF;
  UPDATE public.password_reset SET used_at = now() WHERE reset_id = opened.reset_id;
  UPDATE public.user_account SET salt = p_salt, derivation = p_derivation, proof_hash = sha256(p_proof),
         second_factor = NULL
   WHERE user_id = opened.user_id;
  DELETE FROM public.user_session WHERE user_id = opened.user_id;
  INSERT INTO public.audit_event (audit_event_id, organization_id, action, object_id, data)
  SELECT public.new_id(), m.organization_id, 'user.usePasswordReset', opened.user_id,
         jsonb_build_object('address', left(p_address, 100), 'madeBy', opened.made_by)
    FROM public.member m WHERE m.user_id = opened.user_id;
  RETURN opened.user_id;
END $$;

-- Return whether the API has the proof of the OIDC provider, which wharf migrate stored.
CREATE OR REPLACE FUNCTION public.has_provider_proof(p_provider_proof bytea) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT EXISTS (SELECT FROM public.sign_in_provider p WHERE p.proof_hash = sha256(p_provider_proof))
$$;

-- Begin a session of the person whom the OIDC provider vouches for; the proof is made of the client secret, and of its
-- hash only. An invitation that was opened is accepted; so is one for the address, if the person is no member yet. No
-- row if the person may not sign in.
CREATE OR REPLACE FUNCTION public.session_begin_by_provider(p_provider_proof bytea, p_invitation_proof bytea, p_session text,
  p_email text, p_name text, p_token_hash bytea, p_address text, p_user_agent text, OUT begun_user text, OUT joined boolean)
RETURNS SETOF record LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  opened public.invitation;
  chosen text;
BEGIN
  IF NOT public.has_provider_proof(p_provider_proof) THEN
    RAISE EXCEPTION 'session_begin_by_provider: needs the proof of the provider' USING ERRCODE = 'insufficient_privilege';
  END IF;
  SELECT u.user_id INTO begun_user FROM public.user_account u WHERE u.email = p_email;
  SELECT * INTO opened FROM public.invitation i
   WHERE public.invitation_is_open(i)
     AND (i.token_hash = sha256(p_invitation_proof) AND coalesce(i.email, p_email) = p_email
          OR p_invitation_proof IS NULL AND i.email = p_email
             AND NOT EXISTS (SELECT FROM public.member m WHERE m.user_id = begun_user))
   ORDER BY i.created_at LIMIT 1 FOR UPDATE;
  joined := FOUND;
  IF p_invitation_proof IS NOT NULL AND NOT joined THEN
    RETURN;
  END IF;
  IF joined THEN
    IF begun_user IS NULL THEN
      begun_user := public.new_id();
      INSERT INTO public.user_account (user_id, email, name, salt, derivation, proof_hash)
      VALUES (begun_user, p_email, left(p_name, 200), uuid_send(gen_random_uuid()), '{}',
              sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())));
    END IF;
    INSERT INTO public.member AS m (member_id, organization_id, user_id, role)
    VALUES (public.new_id(), opened.organization_id, begun_user, opened.role)
    ON CONFLICT (organization_id, user_id) DO UPDATE SET role = EXCLUDED.role
     WHERE public.lesser_role(m.role, EXCLUDED.role) = m.role;
    UPDATE public.invitation SET accepted_at = now() WHERE invitation_id = opened.invitation_id;
  END IF;
  SELECT m.organization_id INTO chosen FROM public.member m WHERE m.user_id = begun_user
   ORDER BY m.organization_id = opened.organization_id DESC NULLS LAST, m.created_at, m.member_id LIMIT 1;
  IF chosen IS NULL THEN
    RETURN;
  END IF;
  UPDATE public.user_account SET signed_in_at = now() WHERE user_id = begun_user;
  INSERT INTO public.user_session (session_id, user_id, organization_id, token_hash, address, user_agent)
  VALUES (p_session, begun_user, chosen, p_token_hash, left(p_address, 100), left(p_user_agent, 300));
  RETURN NEXT;
END $$;
