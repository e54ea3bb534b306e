"""Suricata as an intrusion detection system."""
