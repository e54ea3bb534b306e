"""Snort 3 as an intrusion detection system."""
