"""Deployments: one more kind of jobs, an environment that goes with it, what came of it where."""

from alembic import op
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

revision = '0011'
down_revision = '0010'
branch_labels = None
depends_on = None

OUTCOMES = "outcome IN ('succeeded', 'failed', 'cancelled', 'expired')"
RULES = {
    ('job', 'kind_known'): "kind IN ('registry.test', 'image.pull', 'image.push', 'image.tag', 'image.build', 'image.copy', 'compose.pull', 'container.replace')",
    ('job_secret', 'purpose_known'): "(purpose IN ('password', 'git_token', 'build_secrets', 'environment') AND attempt = 0) OR (purpose = 'login' AND attempt > 0)",
}
# What is pulled and pushed nowhere is where it was pulled from.
WHERE_PULLED = """
UPDATE build SET reference = split_part(job.command->>'reference', '@', 1) FROM job
 WHERE job.job_id = build.make_job_id AND job.kind = 'image.pull' AND build.push_job_id IS NULL
"""


def upgrade() -> None:
    for (table, name), rule in RULES.items():
        op.drop_constraint(name, table)
        op.create_check_constraint(name, table, rule)
    op.execute(WHERE_PULLED)
    op.create_table('deployment',
    sa.Column('deployment_id', sa.String(), nullable=False),
    sa.Column('organization_id', sa.String(), nullable=False),
    sa.Column('application_id', sa.String(), nullable=False),
    sa.Column('build_id', sa.String(), nullable=False),
    sa.Column('title', sa.String(), nullable=False),
    sa.Column('description', sa.String(), nullable=False),
    sa.Column('reference', sa.String(), nullable=False),
    sa.Column('digest', sa.String(), nullable=False),
    sa.Column('outcome', sa.String(), nullable=True),
    sa.Column('error', postgresql.JSONB(astext_type=sa.Text()), nullable=True),
    sa.Column('requested_by', sa.String(), nullable=True),
    sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.Column('finished_at', sa.DateTime(timezone=True), nullable=True),
    sa.CheckConstraint(OUTCOMES, name='outcome_known'),
    sa.CheckConstraint('(outcome IS NULL) = (finished_at IS NULL)', name='outcome_has_end'),
    sa.CheckConstraint("reference LIKE '%@' || digest", name='reference_pinned'),
    sa.ForeignKeyConstraint(['build_id'], ['build.build_id'], ondelete='CASCADE'),
    sa.ForeignKeyConstraint(['organization_id', 'application_id'], ['application.organization_id', 'application.application_id'], ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('deployment_id'),
    sa.UniqueConstraint('organization_id', 'deployment_id')
    )
    op.create_index('deployment_open', 'deployment', ['deployment_id'], unique=False, postgresql_where=sa.text('outcome IS NULL'))
    op.create_index('deployment_of_application', 'deployment', ['application_id', 'deployment_id'], unique=False)
    op.create_index('deployment_of_build', 'deployment', ['build_id'], unique=False)
    op.create_table('deployment_server',
    sa.Column('deployment_id', sa.String(), nullable=False),
    sa.Column('server_id', sa.String(), nullable=False),
    sa.Column('organization_id', sa.String(), nullable=False),
    sa.Column('pull_job_id', sa.String(), nullable=False),
    sa.Column('replace_job_id', sa.String(), nullable=False),
    sa.Column('outcome', sa.String(), nullable=True),
    sa.Column('error', postgresql.JSONB(astext_type=sa.Text()), nullable=True),
    sa.Column('container_id', sa.String(), nullable=True),
    sa.Column('gap_seconds', sa.Float(), nullable=True),
    sa.Column('finished_at', sa.DateTime(timezone=True), nullable=True),
    sa.CheckConstraint(OUTCOMES, name='outcome_known'),
    sa.CheckConstraint('(outcome IS NULL) = (finished_at IS NULL)', name='outcome_has_end'),
    sa.CheckConstraint('gap_seconds >= 0', name='gap_not_negative'),
    sa.ForeignKeyConstraint(['organization_id', 'deployment_id'], ['deployment.organization_id', 'deployment.deployment_id'], ondelete='CASCADE'),
    sa.ForeignKeyConstraint(['organization_id', 'server_id'], ['server.organization_id', 'server.server_id'], ),
    sa.PrimaryKeyConstraint('deployment_id', 'server_id')
    )
    op.create_index('deployment_server_open', 'deployment_server', ['deployment_id'], unique=False, postgresql_where=sa.text('outcome IS NULL'))
    op.create_index('deployment_server_server', 'deployment_server', ['server_id', 'deployment_id'], unique=False)
