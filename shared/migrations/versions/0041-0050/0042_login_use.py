"""Store how the logins of registries were used, and which servers they were refused from."""

from alembic import op
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

revision = '0042'
down_revision = '0041'
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True)
JSON = postgresql.JSONB(none_as_null=True)


def upgrade() -> None:
    op.create_table(
        'login_use',
        sa.Column('registry_id', sa.String(), nullable=False),
        sa.Column('organization_id', sa.String(), nullable=False),
        sa.Column('login_revision', sa.String(), nullable=False),
        sa.Column('used_at', TIME, nullable=True),
        sa.Column('used_job_id', sa.String(), nullable=True),
        sa.Column('used_server_id', sa.String(), nullable=True),
        sa.Column('accepted_at', TIME, nullable=True),
        sa.Column('refusals', JSON, nullable=False),
        sa.ForeignKeyConstraint(
            ['organization_id', 'registry_id'], ['registry.organization_id', 'registry.registry_id'],
            ondelete='CASCADE',
        ),
        sa.PrimaryKeyConstraint('registry_id'),
    )
