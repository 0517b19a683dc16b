"""Jobs: their states (`state`), what they are asked (`commands`), their statements (`store`)."""
