"""How the broker is, as control sees it; a second worker with a server's own state directory."""

from alembic import op
import sqlalchemy as sa

revision = '0016'
down_revision = '0015'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column('control', sa.Column('broker_error', sa.String(), nullable=True))
    op.add_column('control', sa.Column('broker_memory', sa.Float(), nullable=True))
    op.add_column('server', sa.Column('predecessor', sa.String(), nullable=True))
    op.add_column('server', sa.Column('second_worker_at', sa.DateTime(timezone=True), nullable=True))
