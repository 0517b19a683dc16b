"""Limit API keys to procedures and networks."""

from alembic import op
import sqlalchemy as sa

revision = '0047'
down_revision = '0046'
branch_labels = None
depends_on = None


def upgrade() -> None:
    for name in ('procedures', 'networks'):
        op.add_column(
            'api_key',
            sa.Column(name, sa.ARRAY(sa.String()), server_default=sa.text("'{}'"), nullable=False),
        )
