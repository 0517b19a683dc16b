"""Stop and start what runs of an application, and store that it is stopped."""

from alembic import op
import sqlalchemy as sa

revision = '0029'
down_revision = '0028'
branch_labels = None
depends_on = None

KINDS = "kind IN ('server.check', 'registry.test', 'image.pull', 'image.push', 'image.tag', 'image.build', 'image.copy', 'image.verify', 'image.delete', 'compose.pull', 'container.replace', 'service.replace', 'application.control')"


def upgrade() -> None:
    op.drop_constraint('kind_known', 'job')
    op.create_check_constraint('kind_known', 'job', KINDS)
    op.add_column('deployment_server', sa.Column('stopped_at', sa.DateTime(timezone=True), nullable=True))
    op.create_index('job_control_open', 'job', ['exclusive_key'], postgresql_where=sa.text("kind = 'application.control' AND state IN ('queued', 'dispatched', 'running')"))
