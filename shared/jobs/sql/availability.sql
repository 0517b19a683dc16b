-- Return whether the worker of a server sent a heartbeat in the last 15 s, the length of a lease. The function has no
-- search path of its own, so that PostgreSQL inlines it into statements about many servers; it names no object.
CREATE OR REPLACE FUNCTION public.server_is_online(s public.server) RETURNS boolean LANGUAGE sql STABLE AS $$
  SELECT coalesce(s.removed_at IS NULL AND s.incarnation IS NOT NULL AND s.seen_at > now() - interval '15 seconds', false)
$$;

-- Return whether a server gets jobs of a class now: it is online, approved, not shutting down and not paused.
CREATE OR REPLACE FUNCTION public.server_is_available(s public.server, class text) RETURNS boolean
LANGUAGE sql STABLE AS $$
  SELECT public.server_is_online(s) AND s.approved_at IS NOT NULL AND NOT s.draining
     AND class <> ALL (s.paused_classes)
$$;
