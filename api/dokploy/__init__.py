"""Procedures that Dokploy's clients call, as views of what is here."""
