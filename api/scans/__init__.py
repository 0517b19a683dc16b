"""SBOMs and scans of images: policies, reports, and the search for a package."""
