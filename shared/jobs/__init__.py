"""Jobs: their states (`states`), their commands (`commands`), their statements (`store`)."""
