"""Give the login of a registry a revision, and store with which ones an attempt was made."""

from alembic import op
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

revision = '0035'
down_revision = '0034'
branch_labels = None
depends_on = None

JSON = postgresql.JSONB(none_as_null=True)


def upgrade() -> None:
    op.add_column(
        'registry',
        sa.Column('login_revision', sa.String(), server_default=sa.text('(gen_random_uuid())::text'), nullable=False),
    )
    op.add_column('job_attempt', sa.Column('login_revisions', JSON, nullable=True))
