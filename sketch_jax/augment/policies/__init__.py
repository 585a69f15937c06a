"""Policies: each image goes through operations that are drawn from a table, each with a drawn strength."""
