"""The documentation: Markdown pages, and the site that shows them below ``/docs``."""
