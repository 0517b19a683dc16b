"""Store a registry's own CA and client certificate, and the permission for plain HTTP.

Until now, the list of a server's Docker Engine alone decided about plain HTTP. So the registries
that are stored already get the permission, except those that have TLS for certain or need none.
"""

from alembic import op
import sqlalchemy as sa

revision = '0040'
down_revision = '0039'
branch_labels = None
depends_on = None

NEED_NONE = (
    r'^(127\.[0-9.]+|localhost)(:[0-9]+)?$'
    r'|(^|\.)(docker\.io|ghcr\.io|quay\.io|gcr\.io|pkg\.dev|azurecr\.(io|cn|us)|amazonaws\.com(\.cn)?'
    r'|public\.ecr\.aws|registry\.gitlab\.com|registry\.digitalocean\.com|scw\.cloud|ocir\.io)$'
)

PURPOSES = "(purpose IN ('password', 'client_key', 'git_token', 'git_ssh_key', 'build_secrets', 'environment', 'credential_source') AND attempt = 0) OR (purpose = 'login' AND attempt > 0)"


def upgrade() -> None:
    for name in ('ca_certificate', 'client_certificate', 'client_key'):
        op.add_column('registry', sa.Column(name, sa.String(), nullable=True))
    for name in ('install_ca', 'plain_http'):
        column = sa.Column(name, sa.Boolean(), server_default=sa.text('false'), nullable=False)
        op.add_column('registry', column)
    op.create_check_constraint('client_key_sealed', 'registry', "starts_with(client_key, 'v1.')")
    whole = '(client_certificate IS NULL) = (client_key IS NULL)'
    op.create_check_constraint('client_pair_whole', 'registry', whole)
    op.drop_constraint('purpose_known', 'job_secret')
    op.create_check_constraint('purpose_known', 'job_secret', PURPOSES)
    permit = sa.text('UPDATE registry SET plain_http = true WHERE host !~ :secure')
    op.execute(permit.bindparams(secure=NEED_NONE))
