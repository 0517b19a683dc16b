"""Name the moment of a credential's notice as in all other tables."""

from alembic import op

revision = '0049'
down_revision = '0048'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.alter_column('credential_notice', 'told_at', new_column_name='created_at')
