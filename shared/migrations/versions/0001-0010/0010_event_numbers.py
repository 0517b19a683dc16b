"""Events that are told again after a lost answer are stored once."""

from alembic import op
import sqlalchemy as sa

revision = '0010'
down_revision = '0009'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column('job_attempt', sa.Column('told', sa.Integer(), server_default=sa.text('0'), nullable=False))
