"""Record that a server is being drained."""

from alembic import op
import sqlalchemy as sa

revision = '0054'
down_revision = '0053'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column('server', sa.Column('drain_requested_at', sa.DateTime(timezone=True), nullable=True))
