"""Limit API keys to applications."""

from alembic import op
import sqlalchemy as sa

revision = '0051'
down_revision = '0050'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        'api_key',
        sa.Column('application_ids', sa.ARRAY(sa.String()), server_default=sa.text("'{}'"), nullable=False),
    )
