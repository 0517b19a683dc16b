"""Keep what registries say about their limits of pulls."""

from alembic import op
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

revision = '0039'
down_revision = '0037'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.create_table(
        'registry_quota',
        sa.Column('quota_key', sa.String(), nullable=False),
        sa.Column('organization_id', sa.String(), nullable=False),
        sa.Column('host', sa.String(), nullable=False),
        sa.Column('registry_id', sa.String(), nullable=True),
        sa.Column('server_id', sa.String(), nullable=True),
        sa.Column('source', sa.String(), nullable=True),
        sa.Column('pull_limit', sa.Integer(), nullable=True),
        sa.Column('remaining', sa.Integer(), nullable=True),
        sa.Column('window_seconds', sa.Integer(), nullable=True),
        sa.Column('window_ends_at', sa.DateTime(timezone=True), nullable=True),
        sa.Column('observed_at', sa.DateTime(timezone=True), nullable=False),
        sa.Column('blocked_until', sa.DateTime(timezone=True), nullable=True),
        sa.Column('refusals', sa.Integer(), server_default=sa.text('0'), nullable=False),
        sa.CheckConstraint('registry_id IS NOT NULL OR server_id IS NOT NULL', name='quota_has_holder'),
        sa.CheckConstraint('pull_limit >= 0 AND remaining >= 0', name='quota_counts_positive'),
        sa.ForeignKeyConstraint(
            ['organization_id', 'registry_id'],
            ['registry.organization_id', 'registry.registry_id'],
            ondelete='CASCADE',
        ),
        sa.ForeignKeyConstraint(
            ['organization_id', 'server_id'], ['server.organization_id', 'server.server_id'],
            ondelete='CASCADE',
        ),
        sa.PrimaryKeyConstraint('quota_key'),
    )
    op.create_index('registry_quota_shared', 'registry_quota', ['organization_id', 'host', 'source'])
    op.create_index('registry_quota_of_registry', 'registry_quota', ['registry_id'])
    op.add_column(
        'job',
        sa.Column(
            'quota_keys', postgresql.ARRAY(sa.String()), server_default=sa.text("'{}'"), nullable=False
        ),
    )
