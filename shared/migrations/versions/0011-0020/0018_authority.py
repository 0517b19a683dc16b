"""Authority: what is kept of a key proves nothing, servers are approved, registries and applications say who may."""

from alembic import op
import sqlalchemy as sa

revision = '0018'
down_revision = '0017'
branch_labels = None
depends_on = None

NONE = sa.text("'{}'")


def upgrade() -> None:
    # A key's SHA-256 is what shows that the key was here; its SHA-256 again is what is kept.
    for table, column in (('api_key', 'key_hash'), ('server_token', 'token_hash'), ('deploy_hook', 'token_hash')):
        op.execute(f'UPDATE {table} SET {column} = sha256({column})')
    op.add_column('server', sa.Column('approved_at', sa.DateTime(timezone=True), nullable=True))
    op.execute('UPDATE server SET approved_at = now() FROM server_enrolment e WHERE e.server_id = server.server_id')
    op.add_column('registry', sa.Column('allowed_servers', sa.ARRAY(sa.String()), server_default=NONE, nullable=False))
    op.add_column('registry', sa.Column('allowed_applications', sa.ARRAY(sa.String()), server_default=NONE, nullable=False))
    op.add_column('application', sa.Column('allowed_keys', sa.ARRAY(sa.String()), server_default=NONE, nullable=False))
