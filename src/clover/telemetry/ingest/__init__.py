"""Where telemetry comes in: OTLP over gRPC."""
