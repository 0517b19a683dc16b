-- The rights of the database roles. Run as the owner of the database (a role with CREATEROLE), after the functions.

DO $$
DECLARE
  wanted text;
BEGIN
  FOREACH wanted IN ARRAY ARRAY['wharf_api', 'wharf_control', 'wharf_functions', 'wharf_servers'] LOOP
    IF NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = wanted) THEN
      EXECUTE format('CREATE ROLE %I NOLOGIN', wanted);
    END IF;
  END LOOP;
  EXECUTE format('GRANT wharf_functions TO %I', current_user);
  EXECUTE format('REVOKE ALL ON DATABASE %I FROM PUBLIC', current_database());
  EXECUTE format('GRANT CONNECT ON DATABASE %I TO wharf_api, wharf_control, wharf_servers', current_database());
END $$;

REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO wharf_api, wharf_control, wharf_functions;
ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
REVOKE ALL ON ALL TABLES IN SCHEMA public FROM wharf_api, wharf_control, wharf_functions;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA public FROM PUBLIC;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA worker_v1 FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION public.image_runs FROM wharf_api;

-- The API stores requests, each for a key that was shown to it (authority.sql). It cannot
-- change a server's key, forge an attempt, or change audit rows.
GRANT SELECT ON ALL TABLES IN SCHEMA public TO wharf_api;
REVOKE SELECT ON public.job_secret, public.database_epoch, public.audit_key FROM wharf_api;
GRANT SELECT (key_id, public_key, created_at) ON public.audit_key TO wharf_api;
GRANT INSERT ON public.api_key, public.registry, public.server, public.server_token,
  public.job, public.job_secret, public.job_need, public.audit_event TO wharf_api;
GRANT UPDATE (last_used_at) ON public.api_key TO wharf_api;
GRANT UPDATE (rotate_after_days, name, signature_policy, scan_policy, networks, server_networks)
  ON public.organization TO wharf_api;
GRANT INSERT, DELETE, UPDATE (name, retired_at) ON public.signing_key TO wharf_api;
-- Sessions and members begin and change with a proof (people.sql). The API records the use of a session.
REVOKE SELECT ON public.user_account FROM wharf_api;
GRANT SELECT (user_id, email, name, salt, derivation, second_factor, created_at, signed_in_at)
  ON public.user_account TO wharf_api;
GRANT UPDATE (last_used_at) ON public.user_session TO wharf_api;
GRANT UPDATE (role, networks), DELETE ON public.member TO wharf_api;
GRANT INSERT, DELETE ON public.invitation TO wharf_api;
GRANT EXECUTE ON FUNCTION public.session_begin, public.session_switch, public.session_end, public.user_change_name,
  public.invitation_is_open, public.invitation_accept, public.user_change_password,
  public.user_set_second_factor, public.organization_create, public.lesser_role, public.session_is_valid,
  public.job_id_at, public.user_has_proof, public.user_use_code, public.sign_in_refused, public.password_reset_make,
  public.password_reset_use, public.session_begin_by_provider, public.has_provider_proof TO wharf_api;
REVOKE SELECT ON public.sign_in_provider FROM wharf_api;
GRANT SELECT (issuer, created_at) ON public.sign_in_provider TO wharf_api;
-- Of secrets it adds those that are given with a job. Only control adds logins.
ALTER TABLE public.job_secret ENABLE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS password_by_api ON public.job_secret;
CREATE POLICY password_by_api ON public.job_secret FOR INSERT TO wharf_api WITH CHECK (purpose <> 'login');
DROP POLICY IF EXISTS all_by_control ON public.job_secret;
CREATE POLICY all_by_control ON public.job_secret TO wharf_control, wharf_functions USING (true);
-- Of an attempt's secrets control renews the login alone.
DROP POLICY IF EXISTS logins_by_control ON public.job_secret;
CREATE POLICY logins_by_control ON public.job_secret AS RESTRICTIVE FOR UPDATE TO wharf_control
  USING (purpose = 'login');
GRANT DELETE ON public.api_key, public.registry TO wharf_api;
GRANT UPDATE (registry_name, image_prefix, username, password, registry_url, registry_type, host, allowed_servers,
  allowed_applications, password_changed_at, password_expires_at, rotate_after_days, login_revision, ca_certificate,
  client_certificate, client_key, certificates, install_ca, plain_http)
  ON public.registry TO wharf_api;
-- It stores sources of logins, and asks for a renewal. Control alone records the outcome of one.
GRANT INSERT, DELETE, UPDATE (renew_at) ON public.credential_source TO wharf_api;
-- It stages a login, ends a rotation, and goes back to the login that is kept. Control tests and switches.
GRANT INSERT, UPDATE (state, slot, finished_at, settled_at) ON public.rotation TO wharf_api;
GRANT UPDATE (name, description, ip_address, roles, removed_at, paused_at, paused_classes, drain_requested_at,
  networks) ON public.server TO wharf_api;
GRANT INSERT, UPDATE ON public.idempotency TO wharf_api;
-- An application keeps its id and its organization.
GRANT INSERT, DELETE ON public.application, public.application_server TO wharf_api;
-- The API requests builds and deployments. Control ends them, by the outcomes of their jobs.
GRANT INSERT ON public.build TO wharf_api;
GRANT INSERT ON public.deployment, public.deployment_server TO wharf_api;
-- Control writes rollback points, after a verification. The API requests verifications, and drops points.
GRANT UPDATE (verification_job_id, dropped_at) ON public.rollback TO wharf_api;
GRANT UPDATE (name, app_name, description, source_type, docker_image, git_url, git_host, git_branch, git_commit,
  git_build_path, git_username, git_token, git_ssh_key, git_ssh_public_key, git_host_key, build_type, dockerfile, docker_context_path, docker_build_stage,
  build_args, build_secrets, build_secret_names, env, env_names, platform, registry_id, build_registry_id,
  rollback_registry_id, rollback_active, build_server_id, health_check, ports, mounts, replicas, rollbacks_to_keep,
  latest_wins, last_version, runtime, rollout_batch, rollout_on_failure, stop_signal, stop_grace_seconds,
  allowed_keys, signature_policy, scan_policy) ON public.application TO wharf_api;
-- It records that a token for a context was used. It makes no token.
GRANT INSERT ON public.context TO wharf_api;
GRANT UPDATE (used_at) ON public.context_token TO wharf_api;
-- It stores endpoints of webhooks, and that a message is to be sent again. It makes no message.
GRANT INSERT, DELETE, UPDATE (url, events, secret, disabled_at, disabled_code) ON public.webhook TO wharf_api;
GRANT UPDATE (attempts, due_at, delivered_at, failed_at) ON public.webhook_delivery TO wharf_api;
GRANT INSERT, DELETE, UPDATE (last_used_at) ON public.deploy_hook TO wharf_api;
GRANT INSERT ON public.deploy_hook_event TO wharf_api;
GRANT EXECUTE ON FUNCTION public.login_verdict TO wharf_api;
GRANT EXECUTE ON FUNCTION public.job_cancel, public.server_enroll, public.server_address_refused, public.organization_bootstrap,
  public.application_runs,
  public.caller, public.is_beyond_key, public.send_notification, public.repository_of, public.organization_resume,
  public.server_is_online, public.server_is_available, public.organization_lock, public.running_deployment,
  public.quota_available, public.queue_full, public.queue_require_room
  TO wharf_api;

-- Control moves jobs and looks after servers; of credentials it reads what is sealed to it.
GRANT SELECT ON ALL TABLES IN SCHEMA public TO wharf_control;
GRANT INSERT, UPDATE, DELETE ON public.control, public.set_aside TO wharf_control;
GRANT INSERT, UPDATE ON public.digest_check, public.job_count, public.job_duration TO wharf_control;
-- It only locks an ended job before it deletes it, which takes the right to change it.
GRANT UPDATE (kind), DELETE ON public.job_ended TO wharf_control;
GRANT UPDATE (counter, raised_at) ON public.database_epoch TO wharf_control;
GRANT UPDATE ON public.job, public.job_attempt, public.release_gate TO wharf_control;
GRANT INSERT ON public.job_attempt, public.job_secret, public.audit_event TO wharf_control;
-- It gives entries of the audit log their places, once, signs checkpoints, and closes exported segments.
GRANT UPDATE (sequence, previous_hash, hash) ON public.audit_event TO wharf_control;
GRANT INSERT, UPDATE ON public.audit_chain, public.audit_forwarded TO wharf_control;
GRANT INSERT ON public.audit_checkpoint, public.audit_key TO wharf_control;
GRANT EXECUTE ON FUNCTION public.audit_segment_close TO wharf_control;
-- It renews the logins of registries that have a source of them.
GRANT UPDATE (renew_at, claimed_until, failures, error, minted_at) ON public.credential_source TO wharf_control;
GRANT UPDATE (username, password, password_expires_at) ON public.registry TO wharf_control;
-- It renews the login of a running attempt.
GRANT UPDATE (sealed, number, expires_at) ON public.job_secret TO wharf_control;
-- It puts the staged login of a rotation in use.
GRANT UPDATE (password_changed_at, login_revision) ON public.registry TO wharf_control;
GRANT DELETE ON public.credential_source TO wharf_control;
GRANT DELETE, UPDATE (state, slot, tests, error, switched_at, settled_at, kept_until, finished_at)
  ON public.rotation TO wharf_control;
-- It turns stored keys of Google into sources.
GRANT INSERT ON public.credential_source TO wharf_control;
-- It records what it sees of their use.
GRANT INSERT, UPDATE ON public.login_use TO wharf_control;
-- It tells endpoints of credentials and certificates that are due, refused or expired, each once.
GRANT INSERT ON public.credential_notice TO wharf_control;
GRANT EXECUTE ON FUNCTION public.show_moment TO wharf_control;
GRANT EXECUTE ON FUNCTION public.login_verdict, public.login_refusals_after, public.login_record TO wharf_control;
-- The API cannot approve a server.
GRANT UPDATE (approved_at) ON public.server TO wharf_control;
GRANT UPDATE (role_ready_at, quick_limit, transfer_limit, build_limit) ON public.server TO wharf_control;
GRANT DELETE ON public.server_token, public.idempotency, public.registry_check, public.registry_quota,
  public.user_session, public.invitation, public.password_reset TO wharf_control;
-- The operator makes a link for a new password, also of the last owner.
GRANT INSERT ON public.password_reset TO wharf_control;
GRANT EXECUTE ON FUNCTION public.session_is_valid, public.queue_full TO wharf_control;
GRANT INSERT, UPDATE, DELETE ON public.application_turn TO wharf_control;
GRANT UPDATE (outcome, digest, revision, error, finished_at, retained, image_deleted_at) ON public.build
  TO wharf_control;
GRANT UPDATE (outcome, error, finished_at, reference, digest, point_due, verification_job_id) ON public.deployment
  TO wharf_control;
-- It only locks an application, which takes the right to change it.
GRANT UPDATE (last_version) ON public.application TO wharf_control;
-- It submits verifications and deletions of retained images, and automatic rollbacks.
GRANT INSERT ON public.job, public.job_need, public.deployment, public.deployment_server TO wharf_control;
GRANT INSERT, UPDATE, DELETE ON public.rollback TO wharf_control;
GRANT UPDATE (outcome, error, container_id, gap_seconds, finished_at) ON public.deployment_server TO wharf_control;
GRANT INSERT ON public.context_token TO wharf_control;
GRANT DELETE ON public.context TO wharf_control;
-- It sends messages, and deletes them; an endpoint that answers that it is gone gets no more.
GRANT UPDATE (disabled_at, disabled_code) ON public.webhook TO wharf_control;
GRANT DELETE, UPDATE (attempts, due_at, delivered_at, failed_at, status, code)
  ON public.webhook_delivery TO wharf_control;
GRANT DELETE ON public.deploy_hook_event, public.image_report, public.image_package TO wharf_control;
GRANT EXECUTE ON FUNCTION public.job_cancel, public.job_backoff, public.job_close_attempt,
  public.job_event_prune, public.job_prune, public.job_id_at, public.image_runs, public.repository_of,
  public.send_notification, public.server_is_online, public.server_is_available, public.job_lose,
  public.quota_available, public.running_deployment TO wharf_control;

-- The functions that are SECURITY DEFINER run as a role that nobody can log in as.
GRANT SELECT, UPDATE ON public.server, public.server_token TO wharf_functions;
GRANT SELECT, INSERT ON public.server_enrolment TO wharf_functions;
GRANT SELECT, UPDATE ON public.job, public.job_attempt TO wharf_functions;
GRANT SELECT, DELETE ON public.job_secret TO wharf_functions;
GRANT SELECT (registry_id, organization_id, login_revision, registry_name, host, username, install_ca, ca_certificate,
  client_certificate, allowed_servers) ON public.registry TO wharf_functions;
GRANT SELECT (application_id, organization_id, registry_id, build_registry_id, rollback_registry_id, docker_image)
  ON public.application TO wharf_functions;
GRANT SELECT (application_id, build_id, outcome, reference, retained) ON public.build TO wharf_functions;
GRANT SELECT, INSERT, UPDATE ON public.login_use TO wharf_functions;
GRANT SELECT, INSERT ON public.job_event TO wharf_functions;
GRANT SELECT ON public.deployment, public.deployment_server TO wharf_functions;
GRANT UPDATE (stopped_at) ON public.deployment_server TO wharf_functions;
GRANT SELECT ON public.job_need TO wharf_functions;
GRANT SELECT (registry_id, shown) ON public.credential_source TO wharf_functions;
GRANT DELETE ON public.job, public.job_event TO wharf_functions;
GRANT SELECT, INSERT, UPDATE ON public.organization, public.database_epoch TO wharf_functions;
GRANT INSERT ON public.api_key, public.registry_check, public.job_ended, public.audit_event TO wharf_functions;
GRANT SELECT, DELETE ON public.audit_event, public.audit_checkpoint TO wharf_functions;
GRANT SELECT, INSERT ON public.audit_segment TO wharf_functions;
GRANT SELECT, UPDATE (sequence) ON public.audit_chain TO wharf_functions;
GRANT SELECT (api_key_id, organization_id, role, member_id, key_hash, expires_at, application_ids) ON public.api_key TO wharf_functions;
GRANT SELECT, INSERT, UPDATE ON public.user_account, public.member, public.invitation TO wharf_functions;
GRANT SELECT, INSERT, UPDATE, DELETE ON public.user_session TO wharf_functions;
GRANT SELECT, INSERT, UPDATE, DELETE ON public.password_reset TO wharf_functions;
GRANT SELECT ON public.sign_in_provider TO wharf_functions;
GRANT SELECT (actor_id), DELETE ON public.idempotency TO wharf_functions;
GRANT SELECT (hook_id, organization_id, token_hash) ON public.deploy_hook TO wharf_functions;
GRANT SELECT, INSERT, UPDATE, DELETE ON public.registry_quota TO wharf_functions;
-- It stores what a server found in an image.
GRANT SELECT, INSERT, UPDATE ON public.image_report TO wharf_functions;
GRANT SELECT, INSERT, DELETE ON public.image_package TO wharf_functions;
-- An endpoint is locked while a message to it is stored, which takes the right to change it.
GRANT SELECT, UPDATE (disabled_at) ON public.webhook TO wharf_functions;
GRANT INSERT ON public.webhook_delivery TO wharf_functions;
GRANT EXECUTE ON FUNCTION public.audit_job, public.job_backoff, public.job_close_attempt, public.job_lose, public.job_id_at,
  public.job_delete_login, public.job_delete_secrets, public.certificate_is_wanted, public.registry_check_add,
  public.repository_of, public.spelling_difference, public.nearest_repository, public.job_ended_add,
  public.login_verdict, public.login_refusals_after, public.login_record, public.job_record_logins,
  public.running_deployment, public.application_record_state, public.image_report_summary, public.image_report_add,
  public.quota_number, public.quota_available, public.quota_next_try, public.quota_after, public.quota_spent,
  public.quota_store, public.quota_reserve, public.quota_key, public.quota_observe, public.quota_record,
  public.new_id, public.show_moment, public.webhook_error, public.webhook_add,
  public.send_notification, public.plain_text, public.readable_document, public.epoch_signature, public.epoch_mark,
  public.epoch_check, public.database_restored, public.caller, public.lesser_role, public.session_is_valid,
  public.session_user_of, public.invitation_is_open, public.user_has_proof, public.may_reset,
  public.password_reset_is_open TO wharf_functions;
GRANT CREATE ON SCHEMA public, worker_v1 TO wharf_functions;
ALTER FUNCTION public.job_before_change OWNER TO wharf_functions;
ALTER FUNCTION public.job_after_change OWNER TO wharf_functions;
ALTER FUNCTION public.job_after_end OWNER TO wharf_functions;
ALTER FUNCTION public.build_after_end OWNER TO wharf_functions;
ALTER FUNCTION public.deployment_after_end OWNER TO wharf_functions;
ALTER FUNCTION public.credential_notice_after_insert OWNER TO wharf_functions;
ALTER FUNCTION public.rotation_event OWNER TO wharf_functions;
ALTER FUNCTION public.quota_forget OWNER TO wharf_functions;
ALTER FUNCTION public.job_need_check OWNER TO wharf_functions;
ALTER FUNCTION public.audit_work OWNER TO wharf_functions;
ALTER FUNCTION public.audit_event_keep OWNER TO wharf_functions;
ALTER FUNCTION public.audit_segment_close OWNER TO wharf_functions;
ALTER FUNCTION public.job_cancel OWNER TO wharf_functions;
ALTER FUNCTION public.job_event_prune OWNER TO wharf_functions;
ALTER FUNCTION public.job_prune OWNER TO wharf_functions;
ALTER FUNCTION public.server_after_enrolment OWNER TO wharf_functions;
ALTER FUNCTION public.server_enroll OWNER TO wharf_functions;
ALTER FUNCTION public.organization_bootstrap OWNER TO wharf_functions;
ALTER FUNCTION public.organization_lock OWNER TO wharf_functions;
ALTER FUNCTION public.organization_create OWNER TO wharf_functions;
ALTER FUNCTION public.actor_after_delete OWNER TO wharf_functions;
ALTER FUNCTION public.session_begin OWNER TO wharf_functions;
ALTER FUNCTION public.session_switch OWNER TO wharf_functions;
ALTER FUNCTION public.session_end OWNER TO wharf_functions;
ALTER FUNCTION public.user_change_name OWNER TO wharf_functions;
ALTER FUNCTION public.invitation_accept OWNER TO wharf_functions;
ALTER FUNCTION public.user_change_password OWNER TO wharf_functions;
ALTER FUNCTION public.user_set_second_factor OWNER TO wharf_functions;
ALTER FUNCTION public.user_has_proof OWNER TO wharf_functions;
ALTER FUNCTION public.user_use_code OWNER TO wharf_functions;
ALTER FUNCTION public.sign_in_refused OWNER TO wharf_functions;
ALTER FUNCTION public.password_reset_make OWNER TO wharf_functions;
ALTER FUNCTION public.password_reset_use OWNER TO wharf_functions;
ALTER FUNCTION public.has_provider_proof OWNER TO wharf_functions;
ALTER FUNCTION public.session_begin_by_provider OWNER TO wharf_functions;
ALTER FUNCTION public.database_restored OWNER TO wharf_functions;
ALTER FUNCTION public.organization_resume OWNER TO wharf_functions;
ALTER FUNCTION worker_v1.me OWNER TO wharf_functions;
ALTER FUNCTION worker_v1.is_current OWNER TO wharf_functions;
ALTER FUNCTION worker_v1.register OWNER TO wharf_functions;
ALTER FUNCTION worker_v1.claim OWNER TO wharf_functions;
ALTER FUNCTION worker_v1.heartbeat OWNER TO wharf_functions;
ALTER FUNCTION worker_v1.event OWNER TO wharf_functions;
ALTER FUNCTION worker_v1.finish OWNER TO wharf_functions;
ALTER FUNCTION worker_v1.hello OWNER TO wharf_functions;
ALTER FUNCTION worker_v1.beat OWNER TO wharf_functions;
REVOKE CREATE ON SCHEMA public, worker_v1 FROM wharf_functions;
GRANT USAGE ON SCHEMA worker_v1 TO wharf_functions, wharf_servers;

-- A server role is a member of wharf_servers and may call the five, two of them by their former names too, nothing else.
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA worker_v1 FROM wharf_servers;
GRANT EXECUTE ON FUNCTION worker_v1.register, worker_v1.claim, worker_v1.heartbeat, worker_v1.event, worker_v1.finish,
  worker_v1.hello, worker_v1.beat TO wharf_servers;

INSERT INTO public.release_gate VALUES (1) ON CONFLICT DO NOTHING;
INSERT INTO public.database_epoch (epoch_id, secret)
SELECT gen_random_uuid()::text,
       decode(replace(gen_random_uuid()::text || gen_random_uuid()::text, '-', ''), 'hex')
 WHERE NOT EXISTS (SELECT FROM public.database_epoch);
