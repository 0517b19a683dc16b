"""Store the address of a server: the one that is given, and the one that its worker comes from."""

from alembic import op
import sqlalchemy as sa

revision = '0027'
down_revision = '0026'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column('server', sa.Column('ip_address', sa.String(), nullable=True))
    op.add_column('server', sa.Column('seen_address', sa.String(), nullable=True))
