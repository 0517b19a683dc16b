"""Store when the login of an attempt ends, if it is a short-lived one."""

from alembic import op
import sqlalchemy as sa

revision = '0033'
down_revision = '0032'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column('job_attempt', sa.Column('login_expires_at', sa.DateTime(timezone=True), nullable=True))
