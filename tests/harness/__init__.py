"""What the tests of running chains share."""
