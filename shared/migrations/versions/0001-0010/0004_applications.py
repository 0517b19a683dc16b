"""Applications: sources, builds, registries, servers."""

from alembic import op
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

revision = '0004'
down_revision = '0003'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('application',
    sa.Column('application_id', sa.String(), nullable=False),
    sa.Column('organization_id', sa.String(), nullable=False),
    sa.Column('name', sa.String(), nullable=False),
    sa.Column('app_name', sa.String(), nullable=False),
    sa.Column('description', sa.String(), nullable=False),
    sa.Column('source_type', sa.String(), nullable=True),
    sa.Column('docker_image', sa.String(), nullable=True),
    sa.Column('git_url', sa.String(), nullable=True),
    sa.Column('git_host', sa.String(), nullable=True),
    sa.Column('git_branch', sa.String(), nullable=True),
    sa.Column('git_commit', sa.String(), nullable=True),
    sa.Column('git_build_path', sa.String(), nullable=False),
    sa.Column('git_username', sa.String(), nullable=True),
    sa.Column('git_token', sa.String(), nullable=True),
    sa.Column('build_type', sa.String(), nullable=False),
    sa.Column('dockerfile', sa.String(), nullable=False),
    sa.Column('docker_context_path', sa.String(), nullable=False),
    sa.Column('docker_build_stage', sa.String(), nullable=True),
    sa.Column('build_args', postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'"), nullable=False),
    sa.Column('build_secrets', sa.String(), nullable=True),
    sa.Column('build_secret_names', sa.ARRAY(sa.String()), server_default=sa.text("'{}'"), nullable=False),
    sa.Column('env', sa.String(), nullable=True),
    sa.Column('env_names', sa.ARRAY(sa.String()), server_default=sa.text("'{}'"), nullable=False),
    sa.Column('platform', sa.String(), nullable=True),
    sa.Column('registry_id', sa.String(), nullable=True),
    sa.Column('build_registry_id', sa.String(), nullable=True),
    sa.Column('rollback_registry_id', sa.String(), nullable=True),
    sa.Column('rollback_active', sa.Boolean(), server_default=sa.text('false'), nullable=False),
    sa.Column('build_server_id', sa.String(), nullable=True),
    sa.Column('health_check', postgresql.JSONB(astext_type=sa.Text()), nullable=True),
    sa.Column('ports', postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'[]'"), nullable=False),
    sa.Column('mounts', postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'[]'"), nullable=False),
    sa.Column('replicas', sa.Integer(), server_default=sa.text('1'), nullable=False),
    sa.Column('rollbacks_to_keep', sa.Integer(), server_default=sa.text('10'), nullable=False),
    sa.Column('latest_wins', sa.Boolean(), server_default=sa.text('true'), nullable=False),
    sa.Column('last_version', sa.Integer(), server_default=sa.text('0'), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.CheckConstraint("source_type IN ('docker', 'git', 'drop')", name='source_type_known'),
    sa.CheckConstraint("build_type IN ('dockerfile')", name='build_type_known'),
    sa.CheckConstraint("starts_with(env, 'v1.')", name='env_sealed'),
    sa.CheckConstraint("starts_with(build_secrets, 'v1.')", name='build_secrets_sealed'),
    sa.CheckConstraint("starts_with(git_token, 'v1.')", name='git_token_sealed'),
    sa.CheckConstraint("source_type <> 'docker' OR docker_image IS NOT NULL", name='docker_has_image'),
    sa.CheckConstraint("source_type <> 'git' OR git_url IS NOT NULL", name='git_has_url'),
    sa.CheckConstraint('(git_url IS NULL) = (git_host IS NULL)', name='git_url_has_host'),
    sa.CheckConstraint('git_token IS NULL OR (git_host IS NOT NULL AND git_username IS NOT NULL)', name='git_token_bound'),
    sa.CheckConstraint("(env IS NULL) = (env_names = '{}')", name='env_named'),
    sa.CheckConstraint("(build_secrets IS NULL) = (build_secret_names = '{}')", name='build_secrets_named'),
    sa.CheckConstraint('replicas > 0 AND rollbacks_to_keep >= 0 AND last_version >= 0', name='counts_positive'),
    sa.ForeignKeyConstraint(['organization_id'], ['organization.organization_id'], ),
    sa.ForeignKeyConstraint(['organization_id', 'registry_id'], ['registry.organization_id', 'registry.registry_id'], ),
    sa.ForeignKeyConstraint(['organization_id', 'build_registry_id'], ['registry.organization_id', 'registry.registry_id'], ),
    sa.ForeignKeyConstraint(['organization_id', 'rollback_registry_id'], ['registry.organization_id', 'registry.registry_id'], ),
    sa.ForeignKeyConstraint(['organization_id', 'build_server_id'], ['server.organization_id', 'server.server_id'], ),
    sa.PrimaryKeyConstraint('application_id'),
    sa.UniqueConstraint('organization_id', 'application_id')
    )
    op.create_index('application_app_name', 'application', ['organization_id', sa.literal_column('lower(app_name)')], unique=True)
    op.create_table('application_server',
    sa.Column('application_id', sa.String(), nullable=False),
    sa.Column('server_id', sa.String(), nullable=False),
    sa.Column('organization_id', sa.String(), nullable=False),
    sa.ForeignKeyConstraint(['organization_id', 'application_id'], ['application.organization_id', 'application.application_id'], ondelete='CASCADE'),
    sa.ForeignKeyConstraint(['organization_id', 'server_id'], ['server.organization_id', 'server.server_id'], ),
    sa.PrimaryKeyConstraint('application_id', 'server_id')
    )
    op.create_index('application_server_server', 'application_server', ['server_id'], unique=False)
