"""Jobs: submitting, showing, watching and cancelling them."""
