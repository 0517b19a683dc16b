"""Run by the Python of a role's own environment: its modules import, and only from our wheel."""

import importlib
import sys
from importlib.metadata import packages_distributions

OURS = ("api", "worker", "shared", "wharfinger")

for name in sys.argv[1:]:
    module = importlib.import_module(name)
    if not str(module.__file__).startswith(sys.prefix):
        sys.exit(f"{name} came from {module.__file__}, not from the wheel")
    print(f"{name} imports from the wheel")

owners = {name: sorted(set(packages_distributions().get(name, ()))) for name in OURS}
if any(names != ["wharfinger"] for names in owners.values()):
    sys.exit(f"another distribution ships one of our packages: {owners}")
