"""Events of jobs: read from the database once, for all their readers."""
