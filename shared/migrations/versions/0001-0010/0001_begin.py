"""Begin: organizations, keys, registries, servers, jobs."""

from alembic import op
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

revision = '0001'
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('control',
    sa.Column('control_id', sa.String(), nullable=False),
    sa.Column('version', sa.String(), nullable=False),
    sa.Column('started_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.Column('seen_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.PrimaryKeyConstraint('control_id')
    )
    op.create_table('organization',
    sa.Column('organization_id', sa.String(), nullable=False),
    sa.Column('name', sa.String(), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.PrimaryKeyConstraint('organization_id')
    )
    op.create_table('release_gate',
    sa.Column('gate', sa.Integer(), nullable=False),
    sa.CheckConstraint('gate = 1', name='one_row'),
    sa.PrimaryKeyConstraint('gate')
    )
    op.create_table('api_key',
    sa.Column('api_key_id', sa.String(), nullable=False),
    sa.Column('organization_id', sa.String(), nullable=False),
    sa.Column('name', sa.String(), nullable=False),
    sa.Column('role', sa.String(), nullable=False),
    sa.Column('start', sa.String(), nullable=False),
    sa.Column('key_hash', sa.LargeBinary(), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.Column('expires_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('last_used_at', sa.DateTime(timezone=True), nullable=True),
    sa.CheckConstraint("role IN ('admin', 'member')", name='role_known'),
    sa.ForeignKeyConstraint(['organization_id'], ['organization.organization_id'], ),
    sa.PrimaryKeyConstraint('api_key_id'),
    sa.UniqueConstraint('key_hash')
    )
    op.create_index(op.f('ix_api_key_organization_id'), 'api_key', ['organization_id'], unique=False)
    op.create_table('audit_event',
    sa.Column('audit_event_id', sa.String(), nullable=False),
    sa.Column('organization_id', sa.String(), nullable=False),
    sa.Column('api_key_id', sa.String(), nullable=True),
    sa.Column('action', sa.String(), nullable=False),
    sa.Column('object_id', sa.String(), nullable=True),
    sa.Column('data', postgresql.JSONB(astext_type=sa.Text()), nullable=True),
    sa.Column('at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.ForeignKeyConstraint(['organization_id'], ['organization.organization_id'], ),
    sa.PrimaryKeyConstraint('audit_event_id')
    )
    op.create_index(op.f('ix_audit_event_organization_id'), 'audit_event', ['organization_id'], unique=False)
    op.create_table('registry',
    sa.Column('registry_id', sa.String(), nullable=False),
    sa.Column('registry_name', sa.String(), nullable=False),
    sa.Column('image_prefix', sa.String(), nullable=True),
    sa.Column('username', sa.String(), nullable=False),
    sa.Column('password', sa.String(), nullable=False),
    sa.Column('registry_url', sa.String(), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.Column('registry_type', sa.String(), nullable=False),
    sa.Column('organization_id', sa.String(), nullable=False),
    sa.Column('host', sa.String(), nullable=False),
    sa.CheckConstraint("starts_with(password, 'v1.')", name='password_sealed'),
    sa.CheckConstraint("registry_type IN ('cloud', 'selfHosted')", name='registry_type_known'),
    sa.ForeignKeyConstraint(['organization_id'], ['organization.organization_id'], ),
    sa.PrimaryKeyConstraint('registry_id'),
    sa.UniqueConstraint('organization_id', 'registry_id')
    )
    op.create_table('server',
    sa.Column('server_id', sa.String(), nullable=False),
    sa.Column('organization_id', sa.String(), nullable=False),
    sa.Column('name', sa.String(), nullable=False),
    sa.Column('description', sa.String(), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.Column('removed_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('role_ready_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('incarnation', sa.String(), nullable=True),
    sa.Column('hello_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('seen_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('wire_version', sa.Integer(), nullable=True),
    sa.Column('worker_version', sa.String(), nullable=True),
    sa.Column('kinds', sa.ARRAY(sa.String()), server_default=sa.text("'{}'"), nullable=False),
    sa.Column('quick_slots', sa.Integer(), server_default=sa.text('16'), nullable=False),
    sa.Column('transfer_slots', sa.Integer(), server_default=sa.text('4'), nullable=False),
    sa.Column('engine', postgresql.JSONB(astext_type=sa.Text()), nullable=True),
    sa.CheckConstraint('quick_slots >= 0 AND transfer_slots >= 0', name='slots_counted'),
    sa.ForeignKeyConstraint(['organization_id'], ['organization.organization_id'], ),
    sa.PrimaryKeyConstraint('server_id'),
    sa.UniqueConstraint('organization_id', 'server_id')
    )
    op.create_index('server_name', 'server', ['organization_id', 'name'], unique=True, postgresql_where=sa.text('removed_at IS NULL'))
    op.create_table('job',
    sa.Column('job_id', sa.String(), nullable=False),
    sa.Column('organization_id', sa.String(), nullable=False),
    sa.Column('server_id', sa.String(), nullable=False),
    sa.Column('kind', sa.String(), nullable=False),
    sa.Column('version', sa.Integer(), nullable=False),
    sa.Column('job_class', sa.String(), nullable=False),
    sa.Column('state', sa.String(), server_default=sa.text("'queued'"), nullable=False),
    sa.Column('priority', sa.Integer(), server_default=sa.text('0'), nullable=False),
    sa.Column('command', postgresql.JSONB(astext_type=sa.Text()), nullable=False),
    sa.Column('registry_id', sa.String(), nullable=True),
    sa.Column('exclusive_key', sa.String(), nullable=True),
    sa.Column('attempt', sa.Integer(), server_default=sa.text('0'), nullable=False),
    sa.Column('failures', sa.Integer(), server_default=sa.text('0'), nullable=False),
    sa.Column('max_failures', sa.Integer(), nullable=False),
    sa.Column('timeout_seconds', sa.Integer(), nullable=False),
    sa.Column('run_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.Column('deadline_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('lease_until', sa.DateTime(timezone=True), nullable=True),
    sa.Column('incarnation', sa.String(), nullable=True),
    sa.Column('cancel_requested_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('progress', postgresql.JSONB(astext_type=sa.Text()), nullable=True),
    sa.Column('result', postgresql.JSONB(astext_type=sa.Text()), nullable=True),
    sa.Column('error', postgresql.JSONB(astext_type=sa.Text()), nullable=True),
    sa.Column('dedupe_key', sa.String(), nullable=True),
    sa.Column('deployment_id', sa.String(), nullable=True),
    sa.Column('requested_by', sa.String(), nullable=True),
    sa.Column('event_seq', sa.Integer(), server_default=sa.text('0'), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.Column('dispatched_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('rung_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('started_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('finished_at', sa.DateTime(timezone=True), nullable=True),
    sa.CheckConstraint("(state = 'running') = (lease_until IS NOT NULL AND incarnation IS NOT NULL)", name='running_has_lease'),
    sa.CheckConstraint("(state = 'succeeded') = (result IS NOT NULL)", name='success_has_result'),
    sa.CheckConstraint("(state IN ('cancelled', 'expired', 'failed', 'succeeded')) = (finished_at IS NOT NULL)", name='final_has_end'),
    sa.CheckConstraint("job_class IN ('quick', 'transfer')", name='job_class_known'),
    sa.CheckConstraint("kind IN ('registry.test', 'image.pull', 'image.push', 'image.tag')", name='kind_known'),
    sa.CheckConstraint("state IN ('queued', 'dispatched', 'running', 'succeeded', 'failed', 'cancelled', 'expired')", name='state_known'),
    sa.CheckConstraint("state NOT IN ('dispatched', 'running') OR attempt > 0", name='held_has_attempt'),
    sa.CheckConstraint("state NOT IN ('failed', 'expired') OR error IS NOT NULL", name='failure_has_error'),
    sa.CheckConstraint('failures BETWEEN 0 AND attempt AND failures <= max_failures', name='failures_bounded'),
    sa.CheckConstraint('timeout_seconds > 0 AND max_failures > 0', name='bounds_positive'),
    sa.ForeignKeyConstraint(['organization_id', 'server_id'], ['server.organization_id', 'server.server_id'], ),
    sa.ForeignKeyConstraint(['organization_id'], ['organization.organization_id'], ),
    sa.PrimaryKeyConstraint('job_id')
    )
    op.create_index('job_deadline', 'job', ['deadline_at'], unique=False, postgresql_where=sa.text("state IN ('queued', 'dispatched') AND deadline_at IS NOT NULL"))
    op.create_index('job_due', 'job', ['server_id', 'run_at'], unique=False, postgresql_where=sa.text("state = 'queued'"))
    op.create_index('job_exclusive', 'job', ['exclusive_key'], unique=True, postgresql_where=sa.text("state IN ('dispatched', 'running')"))
    op.create_index('job_held', 'job', ['server_id', 'job_class'], unique=False, postgresql_where=sa.text("state IN ('dispatched', 'running')"))
    op.create_index('job_lease', 'job', ['lease_until'], unique=False, postgresql_where=sa.text("state = 'running'"))
    op.create_index('job_recent', 'job', ['organization_id', 'job_id'], unique=False)
    op.create_index('job_ring', 'job', ['rung_at'], unique=False, postgresql_where=sa.text("state = 'dispatched'"))
    op.create_table('server_enrolment',
    sa.Column('server_id', sa.String(), nullable=False),
    sa.Column('public_key', sa.String(), nullable=False),
    sa.Column('role_verifier', sa.String(), nullable=False),
    sa.Column('enrolled_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.CheckConstraint("starts_with(role_verifier, 'SCRAM-SHA-256$')", name='verifier_is_scram'),
    sa.ForeignKeyConstraint(['server_id'], ['server.server_id'], ),
    sa.PrimaryKeyConstraint('server_id')
    )
    op.create_table('server_token',
    sa.Column('token_hash', sa.LargeBinary(), nullable=False),
    sa.Column('server_id', sa.String(), nullable=False),
    sa.Column('expires_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.Column('used_at', sa.DateTime(timezone=True), nullable=True),
    sa.ForeignKeyConstraint(['server_id'], ['server.server_id'], ),
    sa.PrimaryKeyConstraint('token_hash')
    )
    op.create_index(op.f('ix_server_token_server_id'), 'server_token', ['server_id'], unique=False)
    op.create_table('job_attempt',
    sa.Column('job_id', sa.String(), nullable=False),
    sa.Column('attempt', sa.Integer(), nullable=False),
    sa.Column('server_id', sa.String(), nullable=False),
    sa.Column('incarnation', sa.String(), nullable=True),
    sa.Column('dispatched_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.Column('started_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('ended_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('outcome', sa.String(), nullable=True),
    sa.Column('error', postgresql.JSONB(astext_type=sa.Text()), nullable=True),
    sa.CheckConstraint("outcome IS NULL OR outcome IN ('succeeded', 'failed', 'cancelled', 'returned', 'lost')", name='outcome_known'),
    sa.CheckConstraint('(outcome IS NULL) = (ended_at IS NULL)', name='outcome_has_end'),
    sa.ForeignKeyConstraint(['job_id'], ['job.job_id'], ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('job_id', 'attempt')
    )
    op.create_index('job_attempt_open', 'job_attempt', ['job_id'], unique=True, postgresql_where=sa.text('outcome IS NULL'))
    op.create_table('job_event',
    sa.Column('job_id', sa.String(), nullable=False),
    sa.Column('seq', sa.Integer(), nullable=False),
    sa.Column('attempt', sa.Integer(), nullable=False),
    sa.Column('kind', sa.String(), nullable=False),
    sa.Column('state', sa.String(), nullable=True),
    sa.Column('data', postgresql.JSONB(astext_type=sa.Text()), nullable=True),
    sa.Column('at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.CheckConstraint("(kind = 'state') = (state IS NOT NULL)", name='state_said'),
    sa.CheckConstraint("kind IN ('state', 'progress', 'log')", name='kind_known'),
    sa.ForeignKeyConstraint(['job_id'], ['job.job_id'], ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('job_id', 'seq')
    )
    op.create_index('job_event_end', 'job_event', ['job_id'], unique=True, postgresql_where=sa.text("state IN ('cancelled', 'expired', 'failed', 'succeeded')"))
    op.create_table('job_need',
    sa.Column('job_id', sa.String(), nullable=False),
    sa.Column('needs_job_id', sa.String(), nullable=False),
    sa.Column('on_state', sa.String(), server_default=sa.text("'succeeded'"), nullable=False),
    sa.CheckConstraint("on_state IN ('succeeded', 'failed', 'ended')", name='on_state_known'),
    sa.CheckConstraint('job_id <> needs_job_id', name='not_itself'),
    sa.ForeignKeyConstraint(['job_id'], ['job.job_id'], ondelete='CASCADE'),
    sa.ForeignKeyConstraint(['needs_job_id'], ['job.job_id'], ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('job_id', 'needs_job_id'),
    sa.UniqueConstraint('needs_job_id', 'job_id')
    )
    op.create_table('job_secret',
    sa.Column('job_id', sa.String(), nullable=False),
    sa.Column('purpose', sa.String(), nullable=False),
    sa.Column('attempt', sa.Integer(), nullable=False),
    sa.Column('sealed', sa.String(), nullable=False),
    sa.CheckConstraint("(purpose = 'password' AND attempt = 0) OR (purpose = 'login' AND attempt > 0)", name='purpose_known'),
    sa.CheckConstraint("starts_with(sealed, 'v1.')", name='sealed'),
    sa.ForeignKeyConstraint(['job_id'], ['job.job_id'], ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('job_id', 'purpose', 'attempt')
    )
