"""Fields of requests and answers: their shapes, their effects, and what is wrong with an input."""
