"""The control interface as generated code; `script/proto` makes it from `clover/control/v1/control.proto`."""
