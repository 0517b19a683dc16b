"""The README walked with the console alone and with the command line alone."""
