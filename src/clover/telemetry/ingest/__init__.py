"""Where telemetry comes in: OTLP over gRPC, and the lines that engines print."""
