"""Webhooks: who is told of what ended, and each message; what registries call to have it deployed."""

from alembic import op
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

revision = '0014'
down_revision = '0013'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('webhook',
    sa.Column('webhook_id', sa.String(), nullable=False),
    sa.Column('organization_id', sa.String(), nullable=False),
    sa.Column('url', sa.String(), nullable=False),
    sa.Column('events', sa.ARRAY(sa.String()), nullable=False),
    sa.Column('secret', sa.String(), nullable=False),
    sa.Column('disabled_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('disabled_code', sa.String(), nullable=True),
    sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.CheckConstraint("events <@ ARRAY['job.ended', 'build.ended', 'deployment.ended']::varchar[] AND cardinality(events) > 0", name='events_known'),
    sa.CheckConstraint("starts_with(secret, 'v1.')", name='secret_sealed'),
    sa.CheckConstraint('disabled_code IS NULL OR disabled_at IS NOT NULL', name='disabled_has_moment'),
    sa.ForeignKeyConstraint(['organization_id'], ['organization.organization_id'], ),
    sa.PrimaryKeyConstraint('webhook_id'),
    sa.UniqueConstraint('organization_id', 'webhook_id')
    )
    op.create_table('webhook_delivery',
    sa.Column('delivery_id', sa.String(), nullable=False),
    sa.Column('organization_id', sa.String(), nullable=False),
    sa.Column('webhook_id', sa.String(), nullable=False),
    sa.Column('event', sa.String(), nullable=False),
    sa.Column('subject_id', sa.String(), nullable=False),
    sa.Column('payload', postgresql.JSONB(astext_type=sa.Text()), nullable=False),
    sa.Column('attempts', sa.Integer(), server_default=sa.text('0'), nullable=False),
    sa.Column('due_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=True),
    sa.Column('delivered_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('failed_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('status', sa.Integer(), nullable=True),
    sa.Column('code', sa.String(), nullable=True),
    sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.CheckConstraint("event IN ('job.ended', 'build.ended', 'deployment.ended')", name='event_known'),
    sa.CheckConstraint('attempts >= 0', name='attempts_counted'),
    sa.CheckConstraint('num_nonnulls(due_at, delivered_at, failed_at) = 1', name='due_or_done'),
    sa.ForeignKeyConstraint(['organization_id', 'webhook_id'], ['webhook.organization_id', 'webhook.webhook_id'], ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('delivery_id'),
    sa.UniqueConstraint('webhook_id', 'event', 'subject_id')
    )
    op.create_index('webhook_delivery_due', 'webhook_delivery', ['webhook_id', 'due_at'], unique=False, postgresql_where=sa.text('due_at IS NOT NULL'))
    op.create_index('webhook_delivery_of_webhook', 'webhook_delivery', ['webhook_id', 'delivery_id'], unique=False)
    op.create_table('deploy_hook',
    sa.Column('hook_id', sa.String(), nullable=False),
    sa.Column('organization_id', sa.String(), nullable=False),
    sa.Column('application_id', sa.String(), nullable=False),
    sa.Column('token_hash', sa.LargeBinary(), nullable=False),
    sa.Column('sealed_secret', sa.LargeBinary(), nullable=False),
    sa.Column('tag_filter', sa.String(), nullable=False),
    sa.Column('require_signature', sa.Boolean(), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.Column('last_used_at', sa.DateTime(timezone=True), nullable=True),
    sa.CheckConstraint("tag_filter <> ''", name='filter_given'),
    sa.ForeignKeyConstraint(['organization_id', 'application_id'], ['application.organization_id', 'application.application_id'], ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('hook_id'),
    sa.UniqueConstraint('token_hash')
    )
    op.create_index('deploy_hook_of_application', 'deploy_hook', ['application_id', 'hook_id'], unique=False)
    op.create_table('deploy_hook_event',
    sa.Column('hook_id', sa.String(), nullable=False),
    sa.Column('event_hash', sa.LargeBinary(), nullable=False),
    sa.Column('deployment_id', sa.String(), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.ForeignKeyConstraint(['hook_id'], ['deploy_hook.hook_id'], ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('hook_id', 'event_hash')
    )
    op.create_index(op.f('ix_deploy_hook_event_created_at'), 'deploy_hook_event', ['created_at'], unique=False)
