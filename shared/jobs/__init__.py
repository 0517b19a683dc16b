"""Jobs: their states (`states`), what they are asked (`commands`), their statements (`store`)."""
