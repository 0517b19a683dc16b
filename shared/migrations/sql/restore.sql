-- Notice that the database was restored from an older copy, and hold the jobs of that copy.
--
-- The database is in one epoch at a time, with a counter that control raises. A worker gets both, as a mark, and
-- presents the newest one. A mark that is newer than the database knows was given after the copy was made.
-- It is signed, so that no server can make one up and so stop the others.

-- Sign an epoch and its counter with the secret of the database.
CREATE OR REPLACE FUNCTION public.epoch_signature(secret bytea, epoch text, counter bigint) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT encode(sha256(secret || sha256(secret || convert_to(epoch || ':' || counter, 'UTF8'))), 'hex')
$$;

-- Return the current mark for workers.
CREATE OR REPLACE FUNCTION public.epoch_mark() RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT e.epoch_id || ':' || e.counter || ':' || public.epoch_signature(e.secret, e.epoch_id, e.counter)
    FROM public.database_epoch e WHERE e.ended_at IS NULL
$$;

-- Begin a new epoch: the jobs that are there wait for organization_resume. Dispatched jobs are queued again; a job that
-- a worker still runs goes on, and waits once its lease is over. `later` is the epoch in the mark of a worker, if there
-- is one; nothing happens if it is known already.
CREATE OR REPLACE FUNCTION public.database_restored(later text DEFAULT NULL) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  known public.database_epoch;
  back record;
BEGIN
  UPDATE public.database_epoch SET ended_at = clock_timestamp() WHERE ended_at IS NULL RETURNING * INTO known;
  IF known.epoch_id IS NULL THEN
    RETURN;  -- Somebody else has just done it.
  END IF;
  INSERT INTO public.database_epoch (epoch_id, secret, ended_at)
  SELECT later, known.secret, clock_timestamp() WHERE later IS NOT NULL ON CONFLICT DO NOTHING;
  INSERT INTO public.database_epoch (epoch_id, secret) VALUES (gen_random_uuid()::text, known.secret);
  FOR back IN
    UPDATE public.job SET state = 'queued', run_at = now() WHERE state = 'dispatched' RETURNING job_id, attempt
  LOOP
    PERFORM public.job_close_attempt(back.job_id, back.attempt, 'returned', NULL);
  END LOOP;
  UPDATE public.organization SET held_at = clock_timestamp();
END $$;

-- Check the mark that a worker presents.
CREATE OR REPLACE FUNCTION public.epoch_check(mark text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  known public.database_epoch;
  epoch text := split_part(mark, ':', 1);
  counter bigint;
BEGIN
  IF coalesce(mark !~ '^[0-9a-f-]{36}:[0-9]{1,18}:[0-9a-f]{64}$', true) THEN
    RETURN;
  END IF;
  counter := split_part(mark, ':', 2)::bigint;
  SELECT * INTO known FROM public.database_epoch e WHERE e.ended_at IS NULL;
  IF known.epoch_id = epoch AND counter <= known.counter
     OR EXISTS (SELECT FROM public.database_epoch e WHERE e.epoch_id = epoch AND e.ended_at IS NOT NULL)
     OR split_part(mark, ':', 3) <> public.epoch_signature(known.secret, epoch, counter) THEN
    RETURN;
  END IF;
  PERFORM public.database_restored(epoch);
END $$;

-- Let the jobs of an organization run that wait since the database was restored. Return their number. The API needs the
-- key of an administrator.
CREATE OR REPLACE FUNCTION public.organization_resume(organization text) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  many bigint;
BEGIN
  IF session_user = 'wharf_api'
     AND NOT EXISTS (SELECT FROM public.caller() c
                      WHERE c.organization_id = organization_resume.organization AND c.role = 'admin') THEN
    RAISE EXCEPTION 'resume: needs a key of an administrator' USING ERRCODE = 'insufficient_privilege';
  END IF;
  SELECT count(*) INTO many FROM public.job j JOIN public.organization o USING (organization_id)
   WHERE j.organization_id = organization_resume.organization AND j.state = 'queued' AND j.created_at <= o.held_at;
  UPDATE public.organization o SET held_at = NULL
   WHERE o.organization_id = organization_resume.organization AND o.held_at IS NOT NULL;
  PERFORM public.send_notification('wharf_release', '');
  RETURN many;
END $$;
