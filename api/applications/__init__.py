"""Applications: what is built and run, and how."""
