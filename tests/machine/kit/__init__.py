"""Emulated boards: what they boot, how a test speaks to them, and the broker beside them."""
