"""What all HTTP doors share: endpoints with a declared permission, bodies, errors, streams.

Owns: authentication of requests, body limits, request ids, trace context, disconnects.
Does not own: any door's paths or shapes.
"""
