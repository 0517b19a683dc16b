"""Events of jobs as they are read from the database, for all who wait for them."""
