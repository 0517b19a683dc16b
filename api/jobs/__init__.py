"""Jobs: submitted, shown, watched, cancelled."""
