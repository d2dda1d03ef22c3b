"""Local replicas: worker processes on this machine, one per replica.

Owns: starting and ending worker processes, the frame link to them, heart-beats, their stderr.
Does not own: when to start or restart one (services/deployments), what runs inside (worker).
"""
