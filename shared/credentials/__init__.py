"""Sources of short-lived logins: what a provider needs to issue one. Only control opens them."""
