"""The messages of Engines, and the fault that each one reports."""
