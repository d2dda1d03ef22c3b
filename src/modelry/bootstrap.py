"""The only place that wires objects: settings in, a running server out."""
