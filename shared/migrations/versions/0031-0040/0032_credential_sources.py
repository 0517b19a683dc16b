"""Store sources of short-lived logins, from which control gets the passwords of registries."""

from alembic import op
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

revision = '0032'
down_revision = '0031'
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True)
JSON = postgresql.JSONB(none_as_null=True)


def upgrade() -> None:
    op.create_table(
        'credential_source',
        sa.Column('registry_id', sa.String(), nullable=False),
        sa.Column('organization_id', sa.String(), nullable=False),
        sa.Column('kind', sa.String(), nullable=False),
        sa.Column('shown', JSON, nullable=False),
        sa.Column('sealed', sa.String(), nullable=False),
        sa.Column('revision', sa.String(), nullable=False),
        sa.Column('renew_at', TIME, server_default=sa.text('now()'), nullable=False),
        sa.Column('claimed_until', TIME, nullable=True),
        sa.Column('failures', sa.Integer(), server_default=sa.text('0'), nullable=False),
        sa.Column('error', JSON, nullable=True),
        sa.Column('minted_at', TIME, nullable=True),
        sa.CheckConstraint("starts_with(sealed, 'v1.')", name='source_sealed'),
        sa.ForeignKeyConstraint(
            ['organization_id', 'registry_id'], ['registry.organization_id', 'registry.registry_id'],
            ondelete='CASCADE',
        ),
        sa.PrimaryKeyConstraint('registry_id'),
    )
    op.create_index('credential_source_due', 'credential_source', ['renew_at'])
    op.alter_column('registry', 'password', nullable=True)
