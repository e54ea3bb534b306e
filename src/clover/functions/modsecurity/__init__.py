"""nginx with ModSecurity v3 and the OWASP Core Rule Set, as a firewall."""
