"""The part of OTLP that Clover itself sends, as generated code; `script/proto` makes it from `otlp.proto`."""
