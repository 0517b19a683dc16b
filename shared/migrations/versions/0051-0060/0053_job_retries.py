"""Record of a job which one it repeats."""

from alembic import op
import sqlalchemy as sa

revision = '0053'
down_revision = '0052'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column('job', sa.Column('retry_of', sa.String(), nullable=True))
