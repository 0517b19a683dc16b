"""Stop an application's container by a signal of its own, within a time of its own."""

from alembic import op
import sqlalchemy as sa

revision = '0030'
down_revision = '0029'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column('application', sa.Column('stop_signal', sa.String(), nullable=True))
    op.add_column('application', sa.Column('stop_grace_seconds', sa.Integer(), server_default=sa.text('10'), nullable=False))
    op.create_check_constraint('stop_grace_bounded', 'application', 'stop_grace_seconds BETWEEN 1 AND 3600')
