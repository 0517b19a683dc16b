-- register {incarnation, predecessor, wire_version, worker_version, kinds, engine, mark}
--   → {status: current, server_id, organization_id, mark} | {status: wait, seconds} | {status: unknown}
-- `predecessor` is the incarnation before, from the state directory. The worker holds the lock of that directory, so
-- the predecessor is dead. Without it the new worker waits until the other one was silent for the length of a lease.
CREATE OR REPLACE FUNCTION worker_v1.register(document jsonb) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  s public.server;
BEGIN
  IF coalesce(length(document->>'incarnation'), 0) NOT BETWEEN 1 AND 100 OR pg_column_size(document) > 65536 THEN
    RAISE EXCEPTION 'register: a worker names its incarnation' USING ERRCODE = 'invalid_parameter_value';
  END IF;
  PERFORM public.epoch_check(document->>'mark');
  SELECT * INTO s FROM public.server WHERE server_id = worker_v1.me() FOR NO KEY UPDATE;
  IF s.server_id IS NULL THEN
    RETURN jsonb_build_object('status', 'unknown');
  END IF;
  IF s.incarnation IS NOT NULL AND s.incarnation <> document->>'incarnation'
     AND s.incarnation IS DISTINCT FROM document->>'predecessor'
     AND s.seen_at > now() - interval '15 seconds' THEN
    RETURN jsonb_build_object('status', 'wait', 'seconds',
      ceil(extract(epoch FROM s.seen_at + interval '15 seconds' - now())));
  END IF;
  PERFORM public.job_lose(job_id, interval '0', 'the worker of this attempt died',
                          'See the worker''s log on the server.')
     FROM public.job
    WHERE server_id = s.server_id AND state = 'running' AND incarnation <> document->>'incarnation';
  UPDATE public.job SET published_at = 'epoch' WHERE server_id = s.server_id AND state = 'dispatched';
  UPDATE public.server SET
    predecessor = CASE WHEN incarnation = document->>'predecessor' THEN incarnation
                       WHEN incarnation = document->>'incarnation' THEN predecessor END,
    incarnation = document->>'incarnation', registered_at = now(), seen_at = now(), draining = false,
    -- A loopback address is that of a relay in front of PostgreSQL: the address from which the server joined stays.
    seen_address = CASE WHEN inet_client_addr() <<= '127.0.0.0/8' OR inet_client_addr() = '::1'
                        THEN nullif(seen_address, host(inet_client_addr()))
                        ELSE host(inet_client_addr()) END,
    wire_version = (document->>'wire_version')::integer,
    worker_version = public.plain_text(left(document->>'worker_version', 100)),
    kinds = coalesce((SELECT array_agg(public.plain_text(left(kind #>> '{}', 100))) FROM jsonb_array_elements(
        CASE WHEN jsonb_typeof(document->'kinds') = 'array' THEN document->'kinds' ELSE '[]' END) kind
      WHERE jsonb_typeof(kind) = 'string'), '{}'),
    engine = public.readable_document(document->'engine', 16384)
   WHERE server_id = s.server_id;
  PERFORM public.send_notification('wharf_release', '');
  RETURN jsonb_build_object('status', 'current', 'server_id', s.server_id, 'organization_id', s.organization_id,
                            'mark', public.epoch_mark());
END $$;
