"""Limit members, organizations and servers to source networks."""

from alembic import op
import sqlalchemy as sa

revision = '0059'
down_revision = '0058'
branch_labels = None
depends_on = None


def networks(name: str) -> sa.Column:
    return sa.Column(name, sa.ARRAY(sa.String()), server_default=sa.text("'{}'"), nullable=False)


def upgrade() -> None:
    op.add_column('organization', networks('networks'))
    op.add_column('organization', networks('server_networks'))
    op.add_column('member', networks('networks'))
    op.add_column('server', networks('networks'))
