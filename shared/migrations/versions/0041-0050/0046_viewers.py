"""Let API keys have the role viewer, which reads and changes nothing."""

from alembic import op

revision = '0046'
down_revision = '0045'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.drop_constraint('role_known', 'api_key')
    op.create_check_constraint('role_known', 'api_key', "role IN ('admin', 'member', 'viewer')")
