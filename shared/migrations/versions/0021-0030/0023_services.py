"""Store the runs and failures of the services of each control process."""

from alembic import op
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

revision = '0023'
down_revision = '0022'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column('control', sa.Column('services', postgresql.JSONB(none_as_null=True), nullable=True))
