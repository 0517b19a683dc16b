"""HTTP: how a request becomes a procedure call, and its result an answer."""
