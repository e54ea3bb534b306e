"""nginx as a server, a load balancer and a cache. Its role as a firewall lives in `modsecurity`."""
