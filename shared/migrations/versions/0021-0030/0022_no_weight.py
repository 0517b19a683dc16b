"""Organizations share evenly what is released: nobody could set their weights but by SQL."""

from alembic import op

revision = '0022'
down_revision = '0021'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.drop_constraint('limits_positive', 'organization')
    op.drop_column('organization', 'weight')
    op.create_check_constraint('limit_positive', 'organization', 'transfer_limit > 0')
