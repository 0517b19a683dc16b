"""Builds whose image was deleted; what needs an image is found by its digest, whose-ever it is."""

from alembic import op
import sqlalchemy as sa

revision = '0015'
down_revision = '0014'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.add_column('build', sa.Column('image_deleted_at', sa.DateTime(timezone=True), nullable=True))
    op.create_index('build_digest', 'build', ['digest'], unique=False)
    op.drop_index('deployment_digest', table_name='deployment')
    op.create_index('deployment_digest', 'deployment', ['digest', 'organization_id'], unique=False)
