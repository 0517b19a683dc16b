-- event {incarnation, job_id, attempt, number, kind: progress | log, data}
--   → {status: recorded, seq} | {status: already_recorded} | {status: fenced}
-- `number` counts from 1 within the attempt: an event that is repeated after a lost answer is stored once.
CREATE OR REPLACE FUNCTION worker_v1.event(document jsonb) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  number integer;
  data jsonb := public.readable_document(document->'data', 16385);
BEGIN
  IF coalesce(document->>'kind', '') NOT IN ('progress', 'log') OR data IS NULL THEN
    RETURN jsonb_build_object('status', 'refused');
  END IF;
  SELECT event_seq + 1 INTO number FROM public.job
   WHERE job_id = document->>'job_id' AND attempt = (document->>'attempt')::integer AND state = 'running'
     AND server_id = worker_v1.me() AND incarnation = document->>'incarnation' AND event_seq < 10000
     FOR NO KEY UPDATE;
  IF number IS NULL THEN
    RETURN jsonb_build_object('status', 'fenced');
  END IF;
  UPDATE public.job_attempt SET last_event_number = coalesce((document->>'number')::integer, last_event_number + 1)
   WHERE job_id = document->>'job_id' AND attempt = (document->>'attempt')::integer
     AND last_event_number < coalesce((document->>'number')::integer, last_event_number + 1);
  IF NOT FOUND THEN
    RETURN jsonb_build_object('status', 'already_recorded');
  END IF;
  UPDATE public.job SET event_seq = number WHERE job_id = document->>'job_id';
  INSERT INTO public.job_event (job_id, seq, attempt, kind, data)
  VALUES (document->>'job_id', number, (document->>'attempt')::integer, document->>'kind', data);
  PERFORM public.send_notification('wharf_job', document->>'job_id');
  RETURN jsonb_build_object('status', 'recorded', 'seq', number);
END $$;
