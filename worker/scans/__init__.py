"""Make SBOMs of images, and scan them for vulnerabilities."""
