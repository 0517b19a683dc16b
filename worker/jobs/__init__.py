"""Jobs on a server: an attempt, its log, and what every handler works with."""
