"""Store the days after which a password is due once for an organization, as a default."""

from alembic import op
import sqlalchemy as sa

revision = '0048'
down_revision = '0047'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column('organization', sa.Column('rotate_after_days', sa.Integer(), server_default=sa.text('90'), nullable=False))
    op.create_check_constraint('rotation_positive', 'organization', 'rotate_after_days > 0')
    op.alter_column('registry', 'rotate_after_days', existing_type=sa.Integer(), server_default=None, nullable=True)
    # 90 was the default of each registry.
    op.execute('UPDATE registry SET rotate_after_days = NULL WHERE rotate_after_days = 90')
