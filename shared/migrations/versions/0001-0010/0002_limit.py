"""Limit: registries, organizations, fairness, pauses, drains; one job for what is asked twice."""

from alembic import op
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

revision = '0002'
down_revision = '0001'
branch_labels = None
depends_on = None

UNDER_WAY = "state IN ('queued', 'dispatched', 'running')"


def upgrade() -> None:
    op.add_column('organization', sa.Column('weight', sa.Integer(), server_default=sa.text('1'), nullable=False))
    op.add_column('organization', sa.Column('transfer_limit', sa.Integer(), nullable=True))
    op.create_check_constraint('limits_positive', 'organization', 'weight > 0 AND transfer_limit > 0')
    op.add_column('registry', sa.Column('transfer_limit', sa.Integer(), server_default=sa.text('8'), nullable=False))
    op.create_check_constraint('limit_positive', 'registry', 'transfer_limit > 0')
    op.add_column('server', sa.Column('draining', sa.Boolean(), server_default=sa.text('false'), nullable=False))
    op.add_column('server', sa.Column('paused_at', sa.DateTime(timezone=True), nullable=True))
    op.add_column('server', sa.Column('paused_classes', sa.ARRAY(sa.String()), server_default=sa.text("'{}'"), nullable=False))
    op.create_check_constraint('paused_classes_known', 'server', "paused_classes <@ ARRAY['quick', 'transfer']::varchar[]")
    op.create_check_constraint('pause_has_start', 'server', "(paused_classes = '{}') = (paused_at IS NULL)")
    op.add_column('job', sa.Column('fair_key', sa.String(), server_default=sa.text("''"), nullable=False))
    op.add_column('job', sa.Column('dedupe_until', sa.String(), nullable=True))
    op.add_column('job', sa.Column('has_needs', sa.Boolean(), server_default=sa.text('false'), nullable=False))
    op.execute('UPDATE job SET has_needs = true WHERE job_id IN (SELECT job_id FROM job_need)')
    op.create_index('job_needing', 'job', ['job_id'], unique=False, postgresql_where=sa.text("state = 'queued' AND has_needs"))
    op.create_check_constraint('dedupe_until_known', 'job', "dedupe_until IN ('begun', 'ended')")
    op.create_check_constraint('dedupe_has_end', 'job', '(dedupe_key IS NULL) = (dedupe_until IS NULL)')
    op.drop_index('job_due', table_name='job')
    op.create_index('job_due', 'job', ['server_id', 'job_class', 'fair_key', sa.literal_column('priority DESC'), 'run_at', 'job_id'], unique=False, postgresql_where=sa.text("state = 'queued'"))
    op.create_index('job_held_for', 'job', ['organization_id', 'job_class', 'fair_key'], unique=False, postgresql_where=sa.text("state IN ('dispatched', 'running')"))
    op.create_index('job_held_at', 'job', ['registry_id'], unique=False, postgresql_where=sa.text("state IN ('dispatched', 'running') AND job_class = 'transfer'"))
    # A lease is prolonged every three seconds: no index may have to be told of it, and there is room beside the row.
    op.drop_index('job_lease', table_name='job')
    op.execute('ALTER TABLE job SET (fillfactor = 85, autovacuum_vacuum_scale_factor = 0.02)')
    op.create_index('job_dedupe', 'job', ['organization_id', 'kind', 'dedupe_key'], unique=True, postgresql_where=sa.text(f'dedupe_key IS NOT NULL AND {UNDER_WAY}'))
    op.create_index('job_in_state', 'job', ['organization_id', 'state', 'job_id'], unique=False)
    op.create_index('job_of_server', 'job', ['server_id', 'job_id'], unique=False)
    op.create_table('idempotency',
    sa.Column('api_key_id', sa.String(), nullable=False),
    sa.Column('key', sa.String(), nullable=False),
    sa.Column('position', sa.Integer(), nullable=False),
    sa.Column('organization_id', sa.String(), nullable=False),
    sa.Column('request_hash', sa.LargeBinary(), nullable=False),
    sa.Column('job_id', sa.String(), nullable=False),
    sa.Column('answer', postgresql.JSONB(astext_type=sa.Text()), nullable=True),
    sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.ForeignKeyConstraint(['api_key_id'], ['api_key.api_key_id'], ondelete='CASCADE'),
    sa.ForeignKeyConstraint(['organization_id'], ['organization.organization_id'], ),
    sa.PrimaryKeyConstraint('api_key_id', 'key', 'position')
    )
    op.create_index(op.f('ix_idempotency_created_at'), 'idempotency', ['created_at'], unique=False)
    op.create_table('application_turn',
    sa.Column('organization_id', sa.String(), nullable=False),
    sa.Column('job_class', sa.String(), nullable=False),
    sa.Column('fair_key', sa.String(), nullable=False),
    sa.Column('served_at', sa.DateTime(timezone=True), server_default=sa.text('clock_timestamp()'), nullable=False),
    sa.ForeignKeyConstraint(['organization_id'], ['organization.organization_id'], ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('organization_id', 'job_class', 'fair_key')
    )
