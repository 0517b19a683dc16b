"""Record up to which entry each destination has the audit log."""

from alembic import op
import sqlalchemy as sa

revision = '0058'
down_revision = '0057'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        'audit_forwarded',
        sa.Column('destination', sa.String(), primary_key=True),
        sa.Column('organization_id', sa.String(), sa.ForeignKey('organization.organization_id'), primary_key=True),
        sa.Column('sequence', sa.BigInteger(), nullable=False),
        sa.Column('forwarded_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
        sa.Column('claimed_until', sa.DateTime(timezone=True), nullable=True),
    )
