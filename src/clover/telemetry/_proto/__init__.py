"""The part of OTLP that Clover deals with, as generated code; `script/proto` makes it from `otlp.proto`."""
