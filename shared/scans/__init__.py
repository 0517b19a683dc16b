"""SBOMs and vulnerability scans of images: reports, and the policies that judge them."""
