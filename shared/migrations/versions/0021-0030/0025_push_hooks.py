"""Filter pushes of commits by branch and by changed files."""

from alembic import op
import sqlalchemy as sa

revision = '0025'
down_revision = '0024'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column('deploy_hook', sa.Column('branch_filter', sa.String(), nullable=True))
    op.add_column('deploy_hook', sa.Column('path_filters', sa.ARRAY(sa.String()), server_default=sa.text("'{}'"), nullable=False))
