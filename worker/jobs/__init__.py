"""Jobs on a server: an attempt, its log, and the tools of every handler."""
