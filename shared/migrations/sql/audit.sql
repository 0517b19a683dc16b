-- The audit log. Every entry, whoever inserts it, goes through audit_event_append, in the transaction of its change. It
-- has no place in the organization's chain yet: control gives it one as soon as it is committed. So a change waits for
-- no other one, and an entry of a change that is rolled back leaves no gap.
CREATE OR REPLACE FUNCTION public.audit_event_append() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  NEW.at := clock_timestamp();
  NEW.sequence := NULL;
  NEW.previous_hash := NULL;
  NEW.hash := NULL;
  RETURN NEW;
END $$;

-- Refuse every change of an entry but that it gets its place, once, and every removal but that of a closed segment.
CREATE OR REPLACE FUNCTION public.audit_event_keep() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF TG_OP = 'DELETE' THEN
    IF EXISTS (SELECT FROM public.audit_segment s WHERE s.organization_id = OLD.organization_id
                  AND OLD.sequence BETWEEN s.first_sequence AND s.last_sequence) THEN
      RETURN OLD;
    END IF;
  ELSIF TG_OP = 'UPDATE' AND OLD.sequence IS NULL
    AND to_jsonb(NEW) - '{sequence,previous_hash,hash}'::text[] = to_jsonb(OLD) - '{sequence,previous_hash,hash}'::text[] THEN
    RETURN NEW;
  END IF;
  RAISE EXCEPTION 'audit_event: entries are only added' USING ERRCODE = 'insufficient_privilege';
END $$;

-- Close a segment: store its signed statement, and remove its entries. They must be the oldest ones, without a gap, and
-- end at a checkpoint; its checkpoints go with them. Return how many they were.
CREATE OR REPLACE FUNCTION public.audit_segment_close(segment jsonb) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  s public.audit_segment := jsonb_populate_record(NULL::public.audit_segment, segment);
  removed bigint;
BEGIN
  PERFORM FROM public.audit_chain c WHERE c.organization_id = s.organization_id FOR UPDATE;
  IF s.first_sequence <> 1 + coalesce((SELECT max(o.last_sequence) FROM public.audit_segment o
                                        WHERE o.organization_id = s.organization_id), 0)
     OR s.last_sequence IS DISTINCT FROM (SELECT c.sequence FROM public.audit_checkpoint c
                                           WHERE c.organization_id = s.organization_id AND c.number = s.checkpoint)
     OR s.last_hash IS DISTINCT FROM (SELECT e.hash FROM public.audit_event e
                                       WHERE e.organization_id = s.organization_id AND e.sequence = s.last_sequence)
     OR s.previous_hash IS DISTINCT FROM (SELECT e.previous_hash FROM public.audit_event e
                                           WHERE e.organization_id = s.organization_id
                                             AND e.sequence = s.first_sequence) THEN
    RAISE EXCEPTION 'audit_segment: not the oldest entries up to a checkpoint' USING ERRCODE = 'check_violation';
  END IF;
  INSERT INTO public.audit_segment SELECT s.*;
  DELETE FROM public.audit_checkpoint c WHERE c.organization_id = s.organization_id AND c.number <= s.checkpoint;
  DELETE FROM public.audit_event e
   WHERE e.organization_id = s.organization_id AND e.sequence BETWEEN s.first_sequence AND s.last_sequence;
  GET DIAGNOSTICS removed = ROW_COUNT;
  IF removed <> s.last_sequence - s.first_sequence + 1 THEN
    RAISE EXCEPTION 'audit_segment: entries are missing' USING ERRCODE = 'check_violation';
  END IF;
  RETURN removed;
END $$;

-- Add an entry for a build, a deployment or an upload that was stored: audit_work(action, column of its id).
CREATE OR REPLACE FUNCTION public.audit_work() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  work jsonb := to_jsonb(NEW);
BEGIN
  INSERT INTO public.audit_event (audit_event_id, organization_id, actor_id, action, object_id, data)
  VALUES (public.new_id(), work->>'organization_id', coalesce(work->>'requested_by', (SELECT c.id FROM public.caller() c)),
          TG_ARGV[0], work->>TG_ARGV[1],
          jsonb_strip_nulls(jsonb_build_object('application', work->'application_id', 'build', work->'build_id')));
  RETURN NULL;
END $$;

CREATE OR REPLACE TRIGGER audit_work AFTER INSERT ON public.build
  FOR EACH ROW EXECUTE FUNCTION public.audit_work('build.create', 'build_id');
CREATE OR REPLACE TRIGGER audit_work AFTER INSERT ON public.deployment
  FOR EACH ROW EXECUTE FUNCTION public.audit_work('deployment.create', 'deployment_id');
CREATE OR REPLACE TRIGGER audit_work AFTER INSERT ON public.context
  FOR EACH ROW EXECUTE FUNCTION public.audit_work('context.upload', 'context_id');

CREATE OR REPLACE TRIGGER audit_event_append BEFORE INSERT ON public.audit_event
  FOR EACH ROW EXECUTE FUNCTION public.audit_event_append();
CREATE OR REPLACE TRIGGER audit_event_keep BEFORE UPDATE OR DELETE ON public.audit_event
  FOR EACH ROW EXECUTE FUNCTION public.audit_event_keep();
CREATE OR REPLACE TRIGGER audit_event_keep_all BEFORE TRUNCATE ON public.audit_event
  FOR EACH STATEMENT EXECUTE FUNCTION public.audit_event_keep();
