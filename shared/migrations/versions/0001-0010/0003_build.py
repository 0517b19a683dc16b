"""Build and copy: two more kinds of jobs, a class for builds, secrets that are given with a job."""

from alembic import op
import sqlalchemy as sa

revision = '0003'
down_revision = '0002'
branch_labels = None
depends_on = None

RULES = {
    ('job', 'kind_known'): "kind IN ('registry.test', 'image.pull', 'image.push', 'image.tag', 'image.build', 'image.copy')",
    ('job', 'job_class_known'): "job_class IN ('quick', 'transfer', 'build')",
    ('job_secret', 'purpose_known'): "(purpose IN ('password', 'git_token') AND attempt = 0) OR (purpose = 'login' AND attempt > 0)",
    ('server', 'slots_counted'): 'quick_slots >= 0 AND transfer_slots >= 0 AND build_slots >= 0',
    ('server', 'paused_classes_known'): "paused_classes <@ ARRAY['quick', 'transfer', 'build']::varchar[]",
}


def upgrade() -> None:
    op.add_column('server', sa.Column('build_slots', sa.Integer(), server_default=sa.text('2'), nullable=False))
    for (table, name), rule in RULES.items():
        op.drop_constraint(name, table)
        op.create_check_constraint(name, table, rule)
