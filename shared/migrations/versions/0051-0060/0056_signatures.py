"""Keys that sign images, the policies that require signatures, and the jobs for both."""

from alembic import op
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

revision = '0056'
down_revision = '0055'
branch_labels = None
depends_on = None

KINDS = "kind IN ('server.check', 'registry.test', 'image.pull', 'image.push', 'image.tag', 'image.build', 'image.copy', 'image.verify', 'image.delete', 'image.inspect', 'image.tags', 'image.repositories', 'signature.sign', 'signature.verify', 'compose.pull', 'container.replace', 'service.replace', 'service.login', 'application.control', 'application.logs')"
PURPOSES = "(purpose IN ('password', 'client_key', 'git_token', 'git_ssh_key', 'build_secrets', 'environment', 'credential_source', 'signing_key') AND attempt = 0) OR (purpose = 'login' AND attempt > 0)"


def upgrade() -> None:
    op.create_table(
        'signing_key',
        sa.Column('signing_key_id', sa.String(), nullable=False),
        sa.Column('organization_id', sa.String(), nullable=False),
        sa.Column('name', sa.String(), nullable=False),
        sa.Column('fingerprint', sa.String(), nullable=False),
        sa.Column('public_key', sa.String(), nullable=False),
        sa.Column('private_key', sa.String(), nullable=True),
        sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
        sa.Column('retired_at', sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("starts_with(private_key, 'v1.')", name='private_key_sealed'),
        sa.ForeignKeyConstraint(['organization_id'], ['organization.organization_id'], ondelete='CASCADE'),
        sa.PrimaryKeyConstraint('signing_key_id'),
        sa.UniqueConstraint('organization_id', 'signing_key_id'),
        sa.UniqueConstraint('organization_id', 'fingerprint'),
    )
    op.create_index(
        'signing_key_name', 'signing_key', ['organization_id', sa.text('lower(name)')], unique=True
    )
    for table in ('organization', 'application'):
        op.add_column(table, sa.Column('signature_policy', postgresql.JSONB(none_as_null=True), nullable=True))
    op.drop_constraint('kind_known', 'job')
    op.create_check_constraint('kind_known', 'job', KINDS)
    op.drop_constraint('purpose_known', 'job_secret')
    op.create_check_constraint('purpose_known', 'job_secret', PURPOSES)
