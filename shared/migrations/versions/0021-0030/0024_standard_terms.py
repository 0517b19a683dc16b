"""Columns, indexes, kinds, codes and functions are called by the field's standard terms."""

from alembic import op

revision = '0024'
down_revision = '0023'
branch_labels = None
depends_on = None

KINDS = "kind IN ('server.check', 'registry.test', 'image.pull', 'image.push', 'image.tag', 'image.build', 'image.copy', 'image.verify', 'image.delete', 'compose.pull', 'container.replace', 'service.replace')"

COLUMNS = (
    ('job', 'rung_at', 'published_at'),
    ('job_attempt', 'told', 'last_event_number'),
    ('deployment', 'undoes', 'rolls_back'),
    ('deployment', 'proof_job_id', 'verification_job_id'),
    ('rollback', 'proof_job_id', 'verification_job_id'),
    ('rollback', 'proof_error', 'verification_error'),
    ('rollback', 'proved_at', 'verified_at'),
    ('server', 'hello_at', 'registered_at'),
    ('server', 'quick_slots', 'quick_limit'),
    ('server', 'transfer_slots', 'transfer_limit'),
    ('server', 'build_slots', 'build_limit'),
)
INDEXES = (
    ('job_ring', 'job_published'),
    ('job_held', 'job_active_of_server'),
    ('job_held_for', 'job_active_of_organization'),
    ('job_held_at', 'job_active_of_registry'),
    ('deployment_undoes', 'deployment_rolls_back'),
)
CONSTRAINTS = (
    ('job', 'held_has_attempt', 'active_has_attempt'),
    ('job_event', 'state_said', 'state_event_has_state'),
    ('server', 'slots_counted', 'limits_not_negative'),
)
SERVICES = (
    ('settle_builds', 'reconcile_builds'),
    ('settle_servers', 'reconcile_servers'),
    ('settle_deployments', 'reconcile_deployments'),
    ('prove', 'verify_image'),
    ('prove_again', 'verify_point'),
)
# They are called by name only, so that nothing depends on them; the files make the new ones.
FORMER = (
    'FUNCTION public.job_delay(integer, double precision, interval)',
    'FUNCTION public.organization_found(text, text, text, bytea)',
    'FUNCTION public.epoch_proof(bytea, text, bigint)',
)


def upgrade() -> None:
    rename_kind()
    rename_code()
    rename_fields_of_reports()
    rename_in_messages()
    for former, name in SERVICES:
        op.execute(f"UPDATE set_aside SET service = '{name}' WHERE service = '{former}'")
    for table, former, name in COLUMNS:
        op.alter_column(table, former, new_column_name=name)
    for former, name in INDEXES:
        op.execute(f'ALTER INDEX {former} RENAME TO {name}')
    for table, former, name in CONSTRAINTS:
        op.execute(f'ALTER TABLE {table} RENAME CONSTRAINT {former} TO {name}')
    for former in FORMER:
        op.execute(f'DROP {former.replace(" ", " IF EXISTS ", 1)}')


def rename_kind() -> None:
    # A worker that is older does not know the new kind: what was sent to it goes to one that does.
    op.execute("""
        UPDATE job_attempt a SET outcome = 'returned', ended_at = clock_timestamp() FROM job j
         WHERE j.job_id = a.job_id AND j.attempt = a.attempt AND a.outcome IS NULL
           AND j.kind = 'image.prove' AND j.state = 'dispatched'""")
    op.execute("UPDATE job SET state = 'queued', run_at = now() WHERE kind = 'image.prove' AND state = 'dispatched'")
    op.drop_constraint('kind_known', 'job')
    op.execute("UPDATE job SET kind = 'image.verify' WHERE kind = 'image.prove'")
    op.create_check_constraint('kind_known', 'job', KINDS)


def rename_code() -> None:
    for table in ('job', 'job_attempt', 'deployment', 'deployment_server'):
        op.execute(f"""
            UPDATE {table} SET error = jsonb_set(error, '{{code}}', '"restore_failed"')
             WHERE error->>'code' = 'not_put_back'""")
    op.execute("""
        UPDATE job_event SET data = jsonb_set(data, '{error,code}', '"restore_failed"')
         WHERE data->'error'->>'code' = 'not_put_back'""")


def rename_fields_of_reports() -> None:
    """Reports of tests of registries: results, and parts of errors."""
    for table, column, path in (
        ('job', 'result', '{}'), ('job', 'error', '{report}'),
        ('job_attempt', 'error', '{report}'), ('job_event', 'data', '{error,report}'),
    ):
        report = f"({column} #> '{path}')"
        renamed = f"""{report} - 'proved' - 'notProved' || jsonb_build_object(
            'verified', coalesce({report}->'proved', '[]'), 'notVerified', coalesce({report}->'notProved', '[]'))"""
        whole = renamed if path == '{}' else f"jsonb_set({column}, '{path}', {renamed})"
        op.execute(f"""
            UPDATE {table} SET {column} = {whole}
             WHERE jsonb_typeof({report}->'stages') = 'array' AND {report} ?| ARRAY['proved', 'notProved']""")


def rename_in_messages() -> None:
    """Rename the fields of deliveries to be sent; what an endpoint has received stays as it was."""
    waiting = 'delivered_at IS NULL'
    op.execute(f"""
        UPDATE webhook_delivery SET payload = jsonb_set(payload, '{{data,kind}}', '"image.verify"')
         WHERE {waiting} AND payload->'data'->>'kind' = 'image.prove'""")
    op.execute(f"""
        UPDATE webhook_delivery SET payload = jsonb_set(payload, '{{data,error,code}}', '"restore_failed"')
         WHERE {waiting} AND payload->'data'->'error'->>'code' = 'not_put_back'""")
    op.execute(f"""
        UPDATE webhook_delivery SET payload = jsonb_set(
            payload #- '{{data,undoes}}', '{{data,rollsBack}}', payload->'data'->'undoes')
         WHERE {waiting} AND payload->'data' ? 'undoes'""")
