-- The conditions of a release, each stated once: for the release itself, and for the reason why a job waits.
-- Views depend on the columns of tables, so `wharf migrate` drops them before Alembic runs.

-- Registries whose login control has yet to get from the provider: their jobs wait. If the provider has refused the
-- source for good, there is nothing to wait for until the next attempt: the jobs are released, and fail with its error.
CREATE VIEW public.registry_without_login WITH (security_invoker) AS
SELECT r.registry_id, r.organization_id, r.registry_name, s.error
  FROM public.credential_source s JOIN public.registry r USING (registry_id)
 WHERE (r.password IS NULL OR r.password_expires_at <= now())
   AND NOT (s.renew_at > now() AND coalesce(s.error->>'retryable' = 'false', false));

-- Logins that may not be sent freely, see `login_use.sql`. One without a row was never used.
CREATE VIEW public.login_on_trial WITH (security_invoker) AS
SELECT r.registry_id, r.organization_id, r.registry_name, r.login_revision, u.accepted_at,
       coalesce(u.refusals, '{}') AS refusals,
       public.login_verdict(u.accepted_at, coalesce(u.refusals, '{}')) AS verdict
  FROM public.registry r LEFT JOIN public.login_use u USING (registry_id, login_revision)
 WHERE u.accepted_at IS NULL OR u.refusals <> '{}';

-- Logins that are sent nowhere now, or not to one server (`REGISTRY@SERVER`), or not for a test of the registry
-- (`REGISTRY@test`). cause: `refused`; or `trial`, as a job tries it at this moment. After half a minute of a trial the
-- next job may try it too. One test at a time may try a login that was refused.
CREATE VIEW public.held_login WITH (security_invoker) AS
WITH on_trial AS MATERIALIZED (SELECT * FROM public.login_on_trial
), tried AS MATERIALIZED (
  SELECT DISTINCT l.key AS registry_id, l.value AS login_revision, j.kind = 'registry.test' AS is_test
    FROM public.job j JOIN public.job_attempt a USING (job_id, attempt)
   CROSS JOIN LATERAL jsonb_each_text(a.login_revisions) l
   WHERE (SELECT EXISTS (SELECT FROM on_trial)) AND j.state IN ('dispatched', 'running')
     AND a.dispatched_at > now() - interval '30 seconds'
)
SELECT registry_id AS key, registry_id, 'refused' AS cause FROM on_trial WHERE verdict = 'refused'
UNION ALL
SELECT registry_id || '@' || server, registry_id, 'refused'
  FROM on_trial CROSS JOIN LATERAL jsonb_each(refusals) AS refused (server, value)
 WHERE (value->>'times')::integer >= 2
UNION ALL
SELECT registry_id, registry_id, 'trial'
  FROM on_trial WHERE verdict = 'trial' AND (registry_id, login_revision) IN (SELECT registry_id, login_revision FROM tried)
UNION ALL
SELECT registry_id || '@test', registry_id, 'trial'
  FROM on_trial JOIN tried USING (registry_id, login_revision) WHERE is_test AND refusals <> '{}';

-- Of each queued job: what holds it up. needs: the jobs that have not ended as it needs them; null if there are none.
-- login_keys: of its logins in `held_login`. base_keys: of logins that a build may send for its bases, so it waits only
-- while one is refused. trial: what one job at a time may try, if this is such a job.
CREATE VIEW public.queued_job WITH (security_invoker) AS
SELECT j.*,
       coalesce(j.created_at <= (
         SELECT held_at FROM public.organization o WHERE o.organization_id = j.organization_id), false) AS is_restored,
       j.run_at <= now() AND j.cancel_requested_at IS NULL
         AND (j.deadline_at IS NULL OR j.deadline_at > now()) AS is_due,
       CASE WHEN j.has_needs THEN (
         SELECT array_agg(n.needs_job_id) FROM public.job_need n JOIN public.job needed ON needed.job_id = n.needs_job_id
          WHERE n.job_id = j.job_id AND NOT CASE n.on_state
            WHEN 'succeeded' THEN needed.state = 'succeeded'
            WHEN 'failed' THEN needed.state IN ('failed', 'expired')
            ELSE needed.finished_at IS NOT NULL END) END AS needs,
       j.exclusive_key IS NOT NULL AND EXISTS (
         SELECT FROM public.job other WHERE other.exclusive_key = j.exclusive_key
            AND other.state IN ('dispatched', 'running')) AS target_is_busy,
       -- Of a test with a source in place of a password, control clears `credential` when it has the login. The next
       -- condition is evaluated once; it is almost always false.
       j.kind = 'registry.test' AND j.command->>'credential' IS NOT NULL
       OR (SELECT EXISTS (SELECT FROM public.registry_without_login)) AND EXISTS (
         SELECT FROM public.registry_without_login r
          WHERE r.organization_id = j.organization_id
            AND (r.registry_id = j.registry_id OR r.registry_id = j.command->>'source_registry_id'
                 OR j.command->'images' @> jsonb_build_array(jsonb_build_object('registry_id', r.registry_id))
                 OR j.command->'bases' @> jsonb_build_array(jsonb_build_object('registry_id', r.registry_id)))
       ) AS lacks_login,
       -- Control compares the image's signatures with the policy first, see `signature_checks.py`.
       j.kind = 'image.pull' AND coalesce(j.command->>'control_check' = 'due', false) AS lacks_check,
       login.keys AS login_keys, login.base_keys,
       login.keys && coalesce((SELECT array_agg(h.key) FROM public.held_login h), '{}')
         OR login.base_keys && coalesce((
              SELECT array_agg(h.key::text) FROM public.held_login h WHERE h.cause = 'refused'), '{}') AS login_is_held,
       CASE WHEN j.kind = 'registry.test' THEN (
              SELECT t.registry_id || '@test' FROM public.login_on_trial t
               WHERE t.registry_id = j.registry_id AND t.refusals <> '{}')
            ELSE (SELECT min(t.registry_id) FROM public.login_on_trial t
                   WHERE t.registry_id = ANY (login.keys) AND t.verdict = 'trial') END AS trial
  FROM public.job j
 CROSS JOIN LATERAL (
   SELECT CASE j.kind
     WHEN 'registry.test' THEN ARRAY[j.registry_id || '@test']
     WHEN 'image.copy' THEN ARRAY[
       j.registry_id, j.registry_id || '@' || j.server_id,
       j.command->>'source_registry_id', j.command->>'source_registry_id' || '@' || j.server_id]
     WHEN 'compose.pull' THEN ARRAY(
       SELECT unnest(ARRAY[id #>> '{}', id #>> '{}' || '@' || j.server_id])
         FROM jsonb_path_query(j.command, '$.images[*].registry_id') id)
     ELSE ARRAY[j.registry_id, j.registry_id || '@' || j.server_id] END AS keys,
          CASE j.kind WHEN 'image.build' THEN ARRAY(
       SELECT unnest(ARRAY[id #>> '{}', id #>> '{}' || '@' || j.server_id])::text
         FROM jsonb_path_query(j.command, '$.bases[*].registry_id') id)
     ELSE '{}' END AS base_keys) login
 WHERE j.state = 'queued';

-- Of each rotation that keeps a registry's former login: the jobs that were released with it and have not ended.
CREATE VIEW public.former_login_use WITH (security_invoker) AS
SELECT t.rotation_id, j.job_id
  FROM public.rotation t JOIN public.job j USING (organization_id) JOIN public.job_attempt a USING (job_id, attempt)
 WHERE t.state = 'switched' AND j.state IN ('dispatched', 'running')
   AND a.login_revisions->>t.registry_id = t.slot->>'login_revision';
