"""Made from `open_inference.proto` by `make proto`; do not edit."""
