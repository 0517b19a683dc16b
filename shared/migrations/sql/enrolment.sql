-- Use a join token, given by its SHA-256, to store a server's public key and the verifiers of its two passwords. Return
-- the server's id; null if the token is unknown, used or expired. The token stands for the server's organization: the
-- audit row names no API key. `seen` is the address from which it was sent.
DROP FUNCTION IF EXISTS public.server_enroll(bytea, text, text, text);
DROP FUNCTION IF EXISTS public.server_enroll(bytea, text, text, text, text);
CREATE OR REPLACE FUNCTION public.server_enroll(
  token bytea, key text, verifier text, broker text DEFAULT NULL, key_id text DEFAULT NULL,
  seen text DEFAULT NULL)
RETURNS text LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  server text;
BEGIN
  -- A worker that lost the answer sends the same key again, and gets the same answer.
  SELECT e.server_id INTO server FROM public.server_token t JOIN public.server_enrolment e USING (server_id)
   WHERE t.token_hash = sha256(token) AND t.used_at IS NOT NULL AND t.expires_at > now() AND e.public_key = key;
  IF server IS NOT NULL THEN
    RETURN server;
  END IF;
  UPDATE public.server_token t SET used_at = now()
    FROM public.server s
   WHERE t.token_hash = sha256(token) AND t.used_at IS NULL AND t.expires_at > now()
     AND s.server_id = t.server_id AND s.removed_at IS NULL
  RETURNING t.server_id INTO server;
  IF server IS NULL THEN
    RETURN NULL;
  END IF;
  INSERT INTO public.server_enrolment (server_id, public_key, role_verifier, broker_hash)
  VALUES (server, key, verifier, broker);
  UPDATE public.server s SET seen_address = public.plain_text(left(seen, 100))
   WHERE s.server_id = server AND seen IS NOT NULL;
  INSERT INTO public.audit_event (audit_event_id, organization_id, action, object_id, data)
  SELECT public.new_id(), s.organization_id, 'server.enroll', server, jsonb_build_object('key', key_id)
    FROM public.server s WHERE s.server_id = server;
  PERFORM public.send_notification('wharf_release', '');
  RETURN server;
END $$;

-- Record in the audit log that a worker sent a server's token from an address outside of the server's networks.
CREATE OR REPLACE FUNCTION public.server_address_refused(p_server text, p_address text) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  INSERT INTO public.audit_event (audit_event_id, organization_id, action, object_id, data)
  SELECT public.new_id(), s.organization_id, 'server.refuseAddress', s.server_id,
         jsonb_build_object('address', left(p_address, 100))
    FROM public.server s WHERE s.server_id = p_server
$$;
