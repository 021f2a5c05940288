"""Configs: what they hold, how they are checked, their variants, and their form on disk."""
