"""Rollback points; deployments that build, roll out in batches, go back and put back."""

from alembic import op
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

revision = '0013'
down_revision = '0012'
branch_labels = None
depends_on = None

OUTCOMES = "outcome IN ('succeeded', 'failed', 'cancelled', 'superseded', 'expired')"
FAILED = "on_failure = 'rollback' AND outcome IN ('failed', 'cancelled', 'expired')"


def upgrade() -> None:
    op.add_column('application', sa.Column('runtime', sa.String(), server_default='container', nullable=False))
    op.add_column('application', sa.Column('rollout_batch', sa.Integer(), server_default='0', nullable=False))
    op.add_column('application', sa.Column('rollout_on_failure', sa.String(), server_default='stop', nullable=False))
    op.create_check_constraint('runtime_known', 'application', "runtime IN ('container', 'service', 'none')")
    op.create_check_constraint('rollout_on_failure_known', 'application', "rollout_on_failure IN ('stop', 'rollback')")
    op.create_check_constraint('rollout_batch_not_negative', 'application', 'rollout_batch >= 0')

    op.alter_column('deployment', 'digest', nullable=True)
    op.add_column('deployment', sa.Column('registry_id', sa.String(), nullable=True))
    op.add_column('deployment', sa.Column('settings', postgresql.JSONB(astext_type=sa.Text()), server_default='{"name": ""}', nullable=False))
    op.alter_column('deployment', 'settings', server_default=None)
    for name, kind, first in (
        ('on_failure', sa.String(), 'stop'),
        ('point_due', sa.Boolean(), 'false'),
    ):
        op.add_column('deployment', sa.Column(name, kind, server_default=first, nullable=False))
        op.alter_column('deployment', name, server_default=None)
    for name in ('retained', 'retained_registry_id', 'proof_job_id', 'rollback_id', 'undoes'):
        op.add_column('deployment', sa.Column(name, sa.String(), nullable=True))
    op.drop_constraint('outcome_known', 'deployment')
    op.create_check_constraint('outcome_known', 'deployment', OUTCOMES)
    op.create_check_constraint('on_failure_known', 'deployment', "on_failure IN ('stop', 'rollback')")
    op.create_check_constraint('retained_somewhere', 'deployment', '(retained IS NULL) = (retained_registry_id IS NULL)')
    op.create_index('deployment_point_due', 'deployment', ['deployment_id'], unique=False, postgresql_where=sa.text('point_due'))
    op.create_index('deployment_undoes', 'deployment', ['undoes', 'reference'], unique=True, postgresql_where=sa.text('undoes IS NOT NULL'))
    op.create_index('deployment_failed', 'deployment', ['finished_at'], unique=False, postgresql_where=sa.text(FAILED))
    op.create_index('deployment_digest', 'deployment', ['organization_id', 'digest'], unique=False)
    op.alter_column('deployment_server', 'replace_job_id', nullable=True)

    op.create_table('rollback',
    sa.Column('rollback_id', sa.String(), nullable=False),
    sa.Column('organization_id', sa.String(), nullable=False),
    sa.Column('application_id', sa.String(), nullable=False),
    sa.Column('deployment_id', sa.String(), nullable=False),
    sa.Column('build_id', sa.String(), nullable=False),
    sa.Column('version', sa.Integer(), nullable=False),
    sa.Column('reference', sa.String(), nullable=False),
    sa.Column('digest', sa.String(), nullable=False),
    sa.Column('registry_id', sa.String(), nullable=True),
    sa.Column('settings', postgresql.JSONB(astext_type=sa.Text()), nullable=False),
    sa.Column('settings_hash', sa.String(), nullable=False),
    sa.Column('proof_job_id', sa.String(), nullable=True),
    sa.Column('proof_error', postgresql.JSONB(astext_type=sa.Text()), nullable=True),
    sa.Column('proved_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.Column('checked_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.Column('delete_job_id', sa.String(), nullable=True),
    sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.Column('used_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.Column('dropped_at', sa.DateTime(timezone=True), nullable=True),
    sa.CheckConstraint("reference LIKE '%@' || digest", name='reference_pinned'),
    sa.ForeignKeyConstraint(['build_id'], ['build.build_id'], ondelete='CASCADE'),
    sa.ForeignKeyConstraint(['organization_id', 'application_id'], ['application.organization_id', 'application.application_id'], ondelete='CASCADE'),
    sa.ForeignKeyConstraint(['registry_id'], ['registry.registry_id'], ondelete='SET NULL'),
    sa.PrimaryKeyConstraint('rollback_id'),
    sa.UniqueConstraint('organization_id', 'rollback_id')
    )
    op.create_index('rollback_of_application', 'rollback', ['application_id', 'digest', 'settings_hash'], unique=True, postgresql_where=sa.text('dropped_at IS NULL'))
    op.create_index('rollback_checked', 'rollback', ['checked_at'], unique=False, postgresql_where=sa.text('dropped_at IS NULL'))
    op.create_index('rollback_dropped', 'rollback', ['dropped_at'], unique=False, postgresql_where=sa.text('dropped_at IS NOT NULL'))
    op.create_index('rollback_at', 'rollback', ['reference'], unique=False)
