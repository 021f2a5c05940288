"""Stored data sets, one file a format."""
