"""Fields of requests and answers: their shapes, their effects, and the issues of an input."""
