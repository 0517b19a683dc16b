"""Deployments: an application's container or Swarm service is replaced."""
