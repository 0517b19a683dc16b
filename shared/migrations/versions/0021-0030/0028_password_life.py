"""Store when a registry's password was changed, when it expires and when it is due."""

from alembic import op
import sqlalchemy as sa

revision = '0028'
down_revision = '0027'
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    # Of an older password only the time of its registry is known.
    op.add_column('registry', sa.Column('password_changed_at', TIME, nullable=True))
    op.execute('UPDATE registry SET password_changed_at = created_at')
    op.alter_column('registry', 'password_changed_at', server_default=sa.text('now()'), nullable=False)
    op.add_column('registry', sa.Column('password_expires_at', TIME, nullable=True))
    op.add_column('registry', sa.Column('rotate_after_days', sa.Integer(), server_default=sa.text('90'), nullable=False))
    op.create_check_constraint('rotation_positive', 'registry', 'rotate_after_days > 0')
